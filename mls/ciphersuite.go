package mls

import (
	"crypto"
	"crypto/ecdh"
	_ "crypto/sha256" // the hashes that crypto.Hash.New makes
	_ "crypto/sha512"
	"fmt"
)

// A ProtocolVersion is an MLS version (RFC 9420 s6).
type ProtocolVersion uint16

// MLS10 is mls10, the only version there is.
const MLS10 ProtocolVersion = 1

// String returns "mls10", or the number in hexadecimal.
func (v ProtocolVersion) String() string {
	if v == MLS10 {
		return "mls10"
	}
	return fmt.Sprintf("0x%04x", uint16(v))
}

// A CipherSuite is an MLS cipher suite number (RFC 9420 s17.1).
type CipherSuite uint16

// The cipher suites of RFC 9420 s17.1, by their names there.
const (
	MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519        CipherSuite = 1
	MLS_128_DHKEMP256_AES128GCM_SHA256_P256             CipherSuite = 2
	MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519 CipherSuite = 3
	MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448            CipherSuite = 4
	MLS_256_DHKEMP521_AES256GCM_SHA512_P521             CipherSuite = 5
	MLS_256_DHKEMX448_CHACHA20POLY1305_SHA512_Ed448     CipherSuite = 6
	MLS_256_DHKEMP384_AES256GCM_SHA384_P384             CipherSuite = 7
)

// A suite is what this package has to know about a cipher suite. Sizes are in
// bytes (RFC 9180 s7.1; the size of a public key is also that of a kem_output).
type suite struct {
	name      string
	hash      crypto.Hash
	kemKey    int
	curve     ecdh.Curve // nil: all but a few strings of the right size are public keys
	signature signatureScheme
}

var suites = [...]suite{
	1: {"MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519", crypto.SHA256, 32, nil, ed25519Scheme},
	2: {"MLS_128_DHKEMP256_AES128GCM_SHA256_P256", crypto.SHA256, 65, ecdh.P256(), ecdsaP256Scheme},
	3: {"MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519", crypto.SHA256, 32, nil, ed25519Scheme},
	4: {"MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448", crypto.SHA512, 56, nil, ed448Scheme},
	5: {"MLS_256_DHKEMP521_AES256GCM_SHA512_P521", crypto.SHA512, 133, ecdh.P521(), ecdsaP521Scheme},
	6: {"MLS_256_DHKEMX448_CHACHA20POLY1305_SHA512_Ed448", crypto.SHA512, 56, nil, ed448Scheme},
	7: {"MLS_256_DHKEMP384_AES256GCM_SHA384_P384", crypto.SHA384, 97, ecdh.P384(), ecdsaP384Scheme},
}

// Known reports whether c is one of the suites 1 to 7, whose hash, sizes and
// signature scheme this package knows.
func (c CipherSuite) Known() bool {
	return c != 0 && int(c) < len(suites)
}

// RefSize returns the size of a KeyPackageRef of the suite, which is the size of
// its hash: 32, 48 or 64 bytes; 0 if the suite is not known.
func (c CipherSuite) RefSize() int {
	if !c.Known() {
		return 0
	}
	return suites[c].hash.Size()
}

// String returns the suite's name in RFC 9420, or the number in hexadecimal
// ("0x004d").
func (c CipherSuite) String() string {
	if !c.Known() {
		return fmt.Sprintf("0x%04x", uint16(c))
	}
	return suites[c].name
}

// lookup returns what is known about c, or the refusal that nothing is.
func (c CipherSuite) lookup() (suite, error) {
	if !c.Known() {
		return suite{}, refuse(CodeUnsupportedCipherSuite, "cipher suite %s is not supported", c)
	}
	return suites[c], nil
}

// validKEMKey reports whether key is a public key of the suite's KEM (RFC 9420
// s5.1.1) that somebody can encrypt to: of the right size and on the curve, for
// X25519 and X448 not of low order.
func (s suite) validKEMKey(key []byte) bool {
	if len(key) != s.kemKey {
		return false
	}
	if s.curve == nil {
		return !lowOrderX25519.has(key) && !lowOrderX448.has(key)
	}
	_, err := s.curve.NewPublicKey(key)
	return err == nil
}

// aeadTag is the tag size of the AEADs of all suites.
const aeadTag = 16

// minGroupSecrets returns the size of the smallest ciphertext of a GroupSecrets
// (RFC 9420 s12.4.3.1): a joiner_secret<V> as long as the hash, no path_secret,
// no psks.
func (s suite) minGroupSecrets() int {
	n := s.hash.Size()
	return varintSize(uint32(n)) + n + 1 + 1 + aeadTag
}
