package mlstest

import (
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"welcomed/mls"
)

// WithCertificates makes the credential an x509 one with this chain, the
// client's own certificate first.
func WithCertificates(chain ...[]byte) Option {
	var list []byte
	for _, c := range chain {
		list = appendVector(list, c)
	}
	return WithCredential(mls.CredentialX509, Vector(list))
}

// Certificate returns an X.509 certificate for key, with nothing else in it.
func Certificate(key []byte) []byte {
	sequence := func(b *cryptobyte.Builder, content func(*cryptobyte.Builder)) { b.AddASN1(asn1.SEQUENCE, content) }
	empty := func(*cryptobyte.Builder) {}
	var b cryptobyte.Builder
	sequence(&b, func(b *cryptobyte.Builder) {
		sequence(b, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { b.AddASN1Int64(2) })
			b.AddASN1Int64(1)
			for range 4 { // signature, issuer, validity, subject
				sequence(b, empty)
			}
			sequence(b, func(b *cryptobyte.Builder) {
				sequence(b, empty)
				b.AddASN1BitString(key)
			})
		})
		sequence(b, empty)
		b.AddASN1BitString(nil)
	})
	return b.BytesOrPanic()
}
