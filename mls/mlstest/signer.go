package mlstest

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	_ "crypto/sha256" // the hashes that crypto.Hash.New makes
	_ "crypto/sha512"
	"fmt"

	"github.com/cloudflare/circl/sign/ed448"

	"welcomed/mls"
)

// A Signer is the part of an MLS client that makes KeyPackages: an identity and a
// signature key. It may be used by several goroutines.
type Signer struct {
	suite    mls.CipherSuite
	identity string
	public   []byte
	private  crypto.Signer
	hash     crypto.Hash // of what is signed; 0: the scheme has its own
}

// NewSigner makes a client with a new signature key, whose credential is the
// basic one of identity.
func NewSigner(suite mls.CipherSuite, identity string) *Signer {
	s := &Signer{suite: suite, identity: identity}
	switch suite {
	case 1, 3:
		public, private := newKey(ed25519.GenerateKey(rand.Reader))
		s.public, s.private = public, private
	case 2:
		s.useECDSA(elliptic.P256(), crypto.SHA256)
	case 4, 6:
		public, private := newKey(ed448.GenerateKey(rand.Reader))
		s.public, s.private = public, private
	case 5:
		s.useECDSA(elliptic.P521(), crypto.SHA512)
	case 7:
		s.useECDSA(elliptic.P384(), crypto.SHA384)
	default:
		panic(fmt.Sprintf("mlstest: no cipher suite %s", suite))
	}
	return s
}

// Suite returns the cipher suite of the signer.
func (s *Signer) Suite() mls.CipherSuite { return s.suite }

// Identity returns the identity in the signer's credential.
func (s *Signer) Identity() string { return s.identity }

// PublicKey returns the signature_key of the signer's KeyPackages.
func (s *Signer) PublicKey() []byte { return s.public }

// SignWithLabel is SignWithLabel of RFC 9420 s5.1.2 with the signer's key.
func (s *Signer) SignWithLabel(label string, content []byte) []byte {
	b := appendVector(nil, []byte("MLS 1.0 "+label))
	return s.Sign(appendVector(b, content))
}

// Sign signs content as it is, without a label.
func (s *Signer) Sign(content []byte) []byte { return s.SignHash(s.hash, content) }

// SignHash signs content with another hash than that of the suite, which is no
// valid signature. crypto.SHA512 makes Ed25519 the variant that hashes first.
func (s *Signer) SignHash(hash crypto.Hash, content []byte) []byte {
	if hash != 0 {
		h := hash.New()
		h.Write(content)
		content = h.Sum(nil)
	}
	return must(s.private.Sign(rand.Reader, content, hash))
}

func newKey[P, S any](public P, private S, err error) (P, S) {
	must(public, err)
	return public, private
}

func (s *Signer) useECDSA(curve elliptic.Curve, hash crypto.Hash) {
	private := must(ecdsa.GenerateKey(curve, rand.Reader))
	s.public, s.private, s.hash = must(private.PublicKey.Bytes()), private, hash
}

// KEMKey returns a new public key of the suite's KEM. On the NIST curves it is a
// point of which nobody keeps the private key; for X25519 and X448, where every
// string is a public key, it is random bytes. To be able to decrypt, make your own
// key and pass it with WithInitKey and WithEncryptionKey.
func KEMKey(suite mls.CipherSuite) []byte {
	switch suite {
	case 1, 3:
		return Random(32)
	case 4, 6:
		return Random(56)
	case 2:
		return newPoint(ecdh.P256())
	case 5:
		return newPoint(ecdh.P521())
	case 7:
		return newPoint(ecdh.P384())
	}
	panic(fmt.Sprintf("mlstest: no cipher suite %s", suite))
}

func newPoint(curve ecdh.Curve) []byte {
	return must(curve.GenerateKey(rand.Reader)).PublicKey().Bytes()
}
