package mls

import (
	"crypto"
	"encoding/hex"
	"strings"
)

// A KeyPackageRef is the hash that names a KeyPackage (RFC 9420 s5.2): the raw
// 32, 48 or 64 bytes, comparable and usable as a map key.
type KeyPackageRef string

// String returns the ref in lower-case hexadecimal.
func (r KeyPackageRef) String() string {
	var text [2 * 64]byte
	return string(hex.AppendEncode(text[:0], []byte(r)))
}

// ParseKeyPackageRef reads what String returns. A ref has one spelling: anything
// but the lower-case hexadecimal of 32, 48 or 64 bytes is ErrMalformed.
func ParseKeyPackageRef(s string) (KeyPackageRef, error) {
	b, err := hex.DecodeString(s)
	r := KeyPackageRef(b)
	if err != nil || !r.validSize() || strings.ContainsAny(s, "ABCDEF") {
		return "", refuse(CodeMalformed, "read KeyPackageRef: not the lower-case hexadecimal of 32, 48 or 64 bytes")
	}
	return r, nil
}

// RefOf returns the KeyPackageRef of a bare KeyPackage of the suite, which is not
// parsed; empty if the suite is not known.
func (c CipherSuite) RefOf(bare []byte) KeyPackageRef {
	s, err := c.lookup()
	if err != nil {
		return ""
	}
	return KeyPackageRef(refHash(s.hash, "MLS 1.0 KeyPackage Reference", bare))
}

func (r KeyPackageRef) validSize() bool {
	return len(r) == 32 || len(r) == 48 || len(r) == 64
}

// refHash is RefHash of RFC 9420 s5.2, the suite's hash of
//
//	struct {
//	    opaque label<V>;
//	    opaque value<V>;
//	} RefHashInput;
func refHash(hash crypto.Hash, label string, value []byte) []byte {
	h := hash.New()
	h.Write(appendVector(nil, []byte(label)))
	h.Write(appendVarint(nil, len(value)))
	h.Write(value)
	return h.Sum(nil)
}
