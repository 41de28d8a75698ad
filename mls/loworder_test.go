package mls

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"testing"

	"github.com/cloudflare/circl/dh/x448"
	"github.com/cloudflare/circl/sign/ed448"
)

// withIgnored calls use with every point of s, also where bits are set that do not
// count.
func (s pointSet) withIgnored(use func(key []byte)) {
	for point := range s.points {
		key := []byte(point)
		use(key)
		if s.ignored != 0 {
			key[len(key)-1] |= s.ignored
			use(key)
		}
	}
}

func TestPointsOfLowOrderAgreeOnNothing(t *testing.T) {
	private, err := ecdh.X25519().GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	lowOrderX25519.withIgnored(func(key []byte) {
		public, err := ecdh.X25519().NewPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := private.ECDH(public); err == nil || !lowOrderX25519.has(key) {
			t.Errorf("X25519: %x is an ordinary key", key)
		}
	})
	lowOrderX448.withIgnored(func(key []byte) {
		var shared, secret x448.Key
		secret[3] = 7
		if x448.Shared(&shared, &secret, (*x448.Key)(key)) || !lowOrderX448.has(key) {
			t.Errorf("X448: %x is an ordinary key", key)
		}
	})
}

// A signature of a point of low order and the number 0 is valid for one message in
// a few.
func TestEverybodyCanSignUnderAKeyOfLowOrder(t *testing.T) {
	const messages = 200
	lowOrderEd25519.withIgnored(func(key []byte) {
		valid := false
		lowOrderEd25519.withIgnored(func(r []byte) {
			signature := append(append([]byte{}, r...), make([]byte, 32)...)
			for i := range messages {
				valid = valid || ed25519.Verify(key, []byte{byte(i)}, signature)
			}
		})
		if !valid || !lowOrderEd25519.has(key) {
			t.Errorf("Ed25519: %x is an ordinary key", key)
		}
	})
	for point := range lowOrderEd448.points { // with the bit, some are no points
		key, valid := []byte(point), false
		lowOrderEd448.withIgnored(func(r []byte) {
			signature := append(append([]byte{}, r...), make([]byte, 57)...)
			for i := range messages {
				valid = valid || ed448.Verify(key, []byte{byte(i)}, signature, "")
			}
		})
		if !valid || !lowOrderEd448.has(key) {
			t.Errorf("Ed448: %x is an ordinary key", key)
		}
	}
}
