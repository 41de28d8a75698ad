package mls

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"

	"github.com/cloudflare/circl/sign/ed448"
)

// A signatureScheme checks keys and signatures in the encodings of RFC 9420
// s5.1.1 and s5.1.2: EdDSA as in RFC 8032, ECDSA with uncompressed points and
// DER signatures over the scheme's hash of the content.
type signatureScheme struct {
	validKey func(key []byte) bool
	// sameKey reports whether two encodings are of one key.
	sameKey func(a, b []byte) bool
	verify  func(key, content, signature []byte) bool
}

var (
	ed25519Scheme   = signatureScheme{validEd25519Key, bytes.Equal, verifyEd25519}
	ed448Scheme     = signatureScheme{validEd448Key, bytes.Equal, verifyEd448}
	ecdsaP256Scheme = ecdsaScheme(elliptic.P256(), crypto.SHA256)
	ecdsaP384Scheme = ecdsaScheme(elliptic.P384(), crypto.SHA384)
	ecdsaP521Scheme = ecdsaScheme(elliptic.P521(), crypto.SHA512)
)

func validEd25519Key(key []byte) bool {
	return len(key) == ed25519.PublicKeySize && !lowOrderEd25519.has(key)
}

func verifyEd25519(key, content, signature []byte) bool {
	return validEd25519Key(key) && ed25519.Verify(key, content, signature)
}

func validEd448Key(key []byte) bool {
	return len(key) == ed448.PublicKeySize && !lowOrderEd448.has(key)
}

func verifyEd448(key, content, signature []byte) bool {
	return validEd448Key(key) && ed448.Verify(key, content, signature, "")
}

func ecdsaScheme(curve elliptic.Curve, hash crypto.Hash) signatureScheme {
	return signatureScheme{
		validKey: func(key []byte) bool {
			_, err := parseECDSAKey(curve, key)
			return err == nil
		},
		sameKey: func(a, b []byte) bool {
			if bytes.Equal(a, b) {
				return true
			}
			keyA, errA := parseECDSAKey(curve, a)
			keyB, errB := parseECDSAKey(curve, b)
			return errA == nil && errB == nil && keyA.Equal(keyB)
		},
		verify: func(key, content, signature []byte) bool {
			public, err := parseECDSAKey(curve, key)
			if err != nil {
				return false
			}
			h := hash.New()
			h.Write(content)
			return ecdsa.VerifyASN1(public, h.Sum(nil), signature)
		},
	}
}

// parseECDSAKey reads an uncompressed point, as RFC 9420 s5.1.1 has it, and also a
// compressed one, as ts-mls writes it (in signature_key only) and reads it. To
// refuse those would shut out its clients from suites 2, 5 and 7.
func parseECDSAKey(curve elliptic.Curve, key []byte) (*ecdsa.PublicKey, error) {
	size := (curve.Params().BitSize + 7) / 8
	if len(key) == 1+size {
		x, y := elliptic.UnmarshalCompressed(curve, key)
		if x == nil {
			return nil, errors.New("not a compressed point")
		}
		key = make([]byte, 1+2*size)
		key[0] = 4
		x.FillBytes(key[1 : 1+size])
		y.FillBytes(key[1+size:])
	}
	return ecdsa.ParseUncompressedPublicKey(curve, key)
}

// verifyWithLabel is VerifyWithLabel of RFC 9420 s5.1.2. What is signed is
//
//	struct {
//	    opaque label<V>;    // "MLS 1.0 " + Label
//	    opaque content<V>;
//	} SignContent;
func (s signatureScheme) verifyWithLabel(key []byte, label string, content, signature []byte) bool {
	return s.verify(key, signContent(label, content), signature)
}

func signContent(label string, content []byte) []byte {
	b := make([]byte, 0, len("MLS 1.0 ")+len(label)+len(content)+5)
	b = appendVector(b, []byte("MLS 1.0 "+label))
	return appendVector(b, content)
}
