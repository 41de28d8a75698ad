package server

import (
	"errors"
	"fmt"
	"strings"

	"welcomed/delivery"
	"welcomed/mls"
)

// itemWrongIdentity is the code of an item whose credential does not name the
// device that publishes it, or is of a type that the server cannot read.
const itemWrongIdentity delivery.ItemCode = "wrong_identity"

// An IdentityTemplate says what the identity in a basic credential has to be, for the device
// that publishes the KeyPackage. An example is "{user}/{device}". The zero value allows any
// credential.
type IdentityTemplate string

const (
	userPlace   = "{user}"
	devicePlace = "{device}"
)

// Check returns an error unless the template has {user}, and nothing else in braces but
// {device}.
func (t IdentityTemplate) Check() error {
	if t == "" {
		return nil
	}
	rest := strings.NewReplacer(userPlace, "", devicePlace, "").Replace(string(t))
	switch {
	case strings.ContainsAny(rest, "{}"):
		return fmt.Errorf("%q has braces around something else than %s and %s", string(t), userPlace, devicePlace)
	case !strings.Contains(string(t), userPlace):
		return fmt.Errorf("%q does not say where the user is named, %s", string(t), userPlace)
	}
	return nil
}

// Ambiguous reports whether devices of different users may have the same identity. They may if
// nothing stands between the two names that cannot be part of a name.
func (t IdentityTemplate) Ambiguous() bool {
	between := strings.Split(strings.ReplaceAll(string(t), devicePlace, userPlace), userPlace)
	for i := 1; i < len(between)-1; i++ {
		if between[i] == "" || delivery.ValidIdentifier("x"+between[i]) == nil {
			return true
		}
	}
	return false
}

// of returns the identity of a device.
func (t IdentityTemplate) of(d delivery.DeviceID) string {
	return strings.NewReplacer(userPlace, string(d.User), devicePlace, d.Name).Replace(string(t))
}

var errOtherCredential = errors.New("the credential is not a basic one, and only those can be compared with the publisher")

// allows returns an error if d may not publish a KeyPackage with that credential.
func (t IdentityTemplate) allows(c mls.Credential, d delivery.DeviceID) error {
	switch {
	case t == "":
		return nil
	case c.Type != mls.CredentialBasic:
		return errOtherCredential
	case string(c.Identity) != t.of(d):
		return fmt.Errorf("the credential's identity is not %q", t.of(d))
	}
	return nil
}
