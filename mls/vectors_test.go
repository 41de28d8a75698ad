package mls_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"welcomed/mls"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func TestVectorsPairsMatch(t *testing.T) {
	for file, pairs := range map[string]int{"welcome.json": 7, "passive-client-welcome.json": 56} {
		t.Run(file, func(t *testing.T) {
			var vectors []struct {
				CipherSuite mls.CipherSuite `json:"cipher_suite"`
				KeyPackage  hexBytes        `json:"key_package"`
				Welcome     hexBytes        `json:"welcome"`
			}
			mls.ReadVectors(t, file, &vectors)
			if len(vectors) != pairs {
				t.Errorf("%d vectors, want %d", len(vectors), pairs)
			}
			for i, v := range vectors {
				checkPair(t, i, v.CipherSuite, v.KeyPackage, v.Welcome)
			}
		})
	}
}

func checkPair(t *testing.T, i int, suite mls.CipherSuite, keyPackage, welcome []byte) {
	t.Helper()
	kp, err := mls.ReadKeyPackage(keyPackage)
	if err != nil {
		t.Errorf("vector %d: %v", i, err)
		return
	}
	w, err := mls.ReadWelcome(welcome)
	if err != nil {
		t.Errorf("vector %d: %v", i, err)
		return
	}
	if err := errors.Join(kp.Verify(), w.Verify()); err != nil {
		t.Errorf("vector %d: %v", i, err)
	}
	if kp.CipherSuite != suite || w.CipherSuite != suite {
		t.Errorf("vector %d: suites %s and %s, want %s", i, kp.CipherSuite, w.CipherSuite, suite)
	}
	matches := 0
	for _, s := range w.Secrets {
		if s.NewMember == kp.Ref() {
			matches++
		}
	}
	if matches != 1 {
		t.Errorf("vector %d: the Welcome names the KeyPackage %d times", i, matches)
	}
}

func TestVectorsMessages(t *testing.T) {
	var vectors []map[string]hexBytes
	mls.ReadVectors(t, "messages.json", &vectors)
	// What the readers say to an input, by its name in the vectors: "" is accepted.
	otherType := map[string]string{
		"mls_group_info":             "this is an mls_group_info, ",
		"public_message_application": "this is an mls_public_message, ",
		"public_message_proposal":    "this is an mls_public_message, ",
		"public_message_commit":      "this is an mls_public_message, ",
		"private_message":            "this is an mls_private_message, ",
	}
	for i, v := range vectors {
		for name, b := range v {
			kp, kpErr := mls.ReadKeyPackage(b)
			w, wErr := mls.ReadWelcome(b)
			switch {
			case name == "mls_key_package" || name == "add_proposal": // an Add is a bare KeyPackage
				checkRead(t, i, name, kp != nil, kpErr)
				want := "this is an mls_key_package, "
				if name == "add_proposal" {
					want = "this is a KeyPackage, "
				}
				checkOtherType(t, i, name, wErr, want)
			case name == "mls_welcome":
				checkRead(t, i, name, w != nil, wErr)
				checkOtherType(t, i, name, kpErr, "this is an mls_welcome, ")
			case otherType[name] != "":
				checkOtherType(t, i, name, kpErr, otherType[name])
				checkOtherType(t, i, name, wErr, otherType[name])
			default:
				checkMalformed(t, i, name, kpErr)
				checkMalformed(t, i, name, wErr)
			}
		}
	}
}

func checkRead(t *testing.T, i int, name string, read bool, err error) {
	t.Helper()
	if !read || err != nil {
		t.Errorf("%s of vector %d: %v", name, i, err)
	}
}

func checkOtherType(t *testing.T, i int, name string, err error, detail string) {
	t.Helper()
	if !errors.Is(err, &mls.Error{Code: mls.CodeWrongMessageType}) || !strings.HasPrefix(err.Error(), detail) {
		t.Errorf("%s of vector %d: %v, want %q", name, i, err, detail)
	}
}

func checkMalformed(t *testing.T, i int, name string, err error) {
	t.Helper()
	if !errors.Is(err, mls.ErrMalformed) {
		t.Errorf("%s of vector %d: %v, want ErrMalformed", name, i, err)
	}
}
