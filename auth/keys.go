package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// asymmetric are the algorithms with which a checker cannot sign (RFC 7518,
// section 3.1, and RFC 8037).
func asymmetric() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// validAlgorithm returns the reason unless tokens may be signed with name.
func validAlgorithm(name string) error {
	switch {
	case slices.Contains(asymmetric(), name):
		return nil
	case strings.EqualFold(name, "none"):
		return errors.New("algorithm none would let everybody make tokens")
	case strings.HasPrefix(strings.ToUpper(name), "HS"):
		return fmt.Errorf("algorithm %s would let whoever can check tokens make them", name)
	}
	return fmt.Errorf("algorithm %s is not known; there are %s", name, strings.Join(asymmetric(), ", "))
}

// errUnknownKey: the token may be valid if the issuer has new keys.
var errUnknownKey = fmt.Errorf("%w: the issuer does not publish the key that signed it", ErrInvalid)

// A keySet is what an issuer published at a time. It does not change.
type keySet struct {
	hash    [sha256.Size]byte // of the JSON
	keys    []jose.JSONWebKey
	skipped []string // why others are not among them
}

// minRSA is the shortest modulus that RFC 7518, section 3.3, allows.
const minRSA = 2048

// parseKeys reads a JWK Set (RFC 7517, section 5), without the keys that are for
// something else and those that cannot be used.
func parseKeys(text []byte) (*keySet, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil || set.Keys == nil {
		return nil, errors.New("not a JWK Set")
	}
	s := &keySet{hash: sha256.Sum256(text)}
	for i, raw := range set.Keys {
		var key jose.JSONWebKey
		err := json.Unmarshal(raw, &key)
		if err == nil && key.Use != "" && key.Use != "sig" {
			continue
		}
		if err == nil {
			err = usable(key)
		}
		if err != nil {
			s.skipped = append(s.skipped, fmt.Sprintf("number %d: %v", i+1, err))
			continue
		}
		s.keys = append(s.keys, key)
	}
	return s, nil
}

func usable(key jose.JSONWebKey) error {
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return fmt.Errorf("an RSA key of %d bits, at least %d are needed", k.N.BitLen(), minRSA)
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return errors.New("not a public key")
	}
	return nil
}

// verify returns errUnknownKey if a token names a key that is not in s, or names
// none and the one that there is did not sign it. A nil s knows no key.
func (s *keySet) verify(jws *jose.JSONWebSignature) error {
	if s == nil {
		return errUnknownKey
	}
	header := jws.Signatures[0].Protected
	known, fitting := s.find(header)
	if header.KeyID == "" && len(fitting) > 1 { // OpenID Connect Core, section 10.1
		return invalid("it names no key, and the issuer has several")
	}
	for _, key := range fitting {
		if _, err := jws.Verify(key); err == nil {
			return nil
		}
	}
	if !known || header.KeyID == "" {
		return errUnknownKey
	}
	return invalid("its signature is wrong")
}

// find returns the keys that may have signed what has the header. A key makes
// signatures of one kind only, whatever the header says.
func (s *keySet) find(header jose.Header) (known bool, fitting []jose.JSONWebKey) {
	for _, key := range s.keys {
		if header.KeyID != "" && key.KeyID != header.KeyID {
			continue
		}
		known = true
		if key.Algorithm == "" || key.Algorithm == header.Algorithm {
			if slices.Contains(algorithmsOf(key.Key), header.Algorithm) {
				fitting = append(fitting, key)
			}
		}
	}
	return known, fitting
}

func algorithmsOf(key any) []string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []string{"ES256"}
		case elliptic.P384():
			return []string{"ES384"}
		case elliptic.P521():
			return []string{"ES512"}
		}
	}
	return nil
}
