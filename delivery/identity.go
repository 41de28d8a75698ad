package delivery

import (
	"fmt"
	"strings"
	"time"
)

// MaxIdentifier is the longest user or device id, in bytes.
const MaxIdentifier = 255

// IdentifierExcluded are the printable ASCII characters, beside the space, that may
// not be in a [UserID] or a device's name: those that cannot stand in a URL as they
// are (RFC 3986), and the slash, which separates the two.
const IdentifierExcluded = "/\\?#%\"<>^`{}"

// IdentifierPattern is what a [UserID] and a device's name match, as a regular
// expression of ECMA-262 and of Go; at most [MaxIdentifier] bytes do.
const IdentifierPattern = `^([!$&-.0-;=@-\[\]_a-z|~]*[!$&--0-;=@-\[\]_a-z|~][!$&-.0-;=@-\[\]_a-z|~]*|\.{3,})$`

// A UserID is an opaque id chosen by the application or by its identity provider:
// 1–255 printable ASCII characters without the space and [IdentifierExcluded], and
// neither "." nor "..". In a path it is percent-encoded where a URL wants it.
type UserID string

// A DeviceID names one MLS client (RFC 9420 §2) of a user. Both parts follow
// the rules of a [UserID].
type DeviceID struct {
	User UserID
	Name string
}

// String returns "user/device"; "/" is in neither part.
func (d DeviceID) String() string { return string(d.User) + "/" + d.Name }

// Valid returns [ErrBadIdentifier] with the reason unless both parts of d are
// well-formed.
func (d DeviceID) Valid() error {
	if err := ValidIdentifier(string(d.User)); err != nil {
		return fmt.Errorf("user id: %w", err)
	}
	if err := ValidIdentifier(d.Name); err != nil {
		return fmt.Errorf("device id: %w", err)
	}
	return nil
}

// ValidIdentifier returns [ErrBadIdentifier] with the reason unless s may name
// a user or a device.
func ValidIdentifier(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: empty", ErrBadIdentifier)
	case len(s) > MaxIdentifier:
		return fmt.Errorf("%w: %d bytes long, at most %d are allowed", ErrBadIdentifier, len(s), MaxIdentifier)
	case s == "." || s == "..":
		return fmt.Errorf("%w: %q", ErrBadIdentifier, s)
	}
	for i := range len(s) {
		if !identifierByte(s[i]) {
			return fmt.Errorf("%w: byte 0x%02x at %d; allowed are printable ASCII characters but space and %s", ErrBadIdentifier, s[i], i, IdentifierExcluded)
		}
	}
	return nil
}

func identifierByte(c byte) bool {
	return ' ' < c && c <= '~' && strings.IndexByte(IdentifierExcluded, c) < 0
}

// A Caller is who asks: a user, or a service that acts for nobody. Changing
// the device or the token changes nothing about who a caller is.
//
// The zero Caller has no power: a [Store] refuses every event of it with
// [ErrNoCaller]. Who is bound by no rule about callers says so, with
// [Unauthenticated] or [Operator].
type Caller struct {
	// User is the user who asks, or for whom a service asks.
	User UserID
	// Device is the device that asks, if the credentials name one.
	Device string
	// Service is the name of a service that acts for no user.
	Service string
	// Bound is when the credentials were issued, if they are those of Device
	// and of nothing else; else zero. They do not outlive the device: once it was
	// removed after that, every event of theirs is [ErrDeviceRemoved], but that the
	// device can be removed again.
	Bound time.Time

	power power
}

// A power is what a Caller may do that is no user and no service.
type power uint8

const (
	noPower power = iota
	unauthenticated
	operator
)

// Unauthenticated returns the one caller of a server without authentication.
// The rules that need a caller do not apply to it.
func Unauthenticated() Caller { return Caller{power: unauthenticated} }

// Operator returns the caller who runs the server, or the server itself when it
// looks something up for the log. The rules that need a caller do not apply to
// it.
func Operator() Caller { return Caller{power: operator} }

// Unrestricted reports whether the rules that need a caller do not apply to c.
func (c Caller) Unrestricted() bool { return c.power != noPower }

// Valid returns [ErrNoCaller] if c is nobody, which the zero Caller is.
func (c Caller) Valid() error {
	if c.User == "" && c.Service == "" && !c.Unrestricted() {
		return ErrNoCaller
	}
	return nil
}

// ID identifies the caller in stored rows and in the id of a Welcome: the user
// id, "service/" and the name of a service, "operator/", or "" for a caller
// without authentication. "/" is in no user id, so the four never meet.
func (c Caller) ID() string {
	switch {
	case c.User != "":
		return string(c.User)
	case c.Service != "":
		return "service/" + c.Service
	case c.power == operator:
		return "operator/"
	}
	return ""
}

// Outlived reports whether the caller's credentials are those of a device that was
// removed, at a time that is zero if it never was, after they had been issued.
func (c Caller) Outlived(removed time.Time) bool {
	return !c.Bound.IsZero() && !removed.IsZero() && !c.Bound.After(removed)
}

// IsDevice reports whether the caller is known to be device d itself.
func (c Caller) IsDevice(d DeviceID) bool {
	return c.Device != "" && c.User == d.User && c.Device == d.Name
}

// May reports whether something bound to owner (the ID of a caller) may be
// used by c. What a caller without authentication left ("") is no user's.
func (c Caller) May(owner string) bool {
	return c.Unrestricted() || owner != "" && c.ID() == owner
}
