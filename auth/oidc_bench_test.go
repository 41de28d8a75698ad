package auth

import (
	"context"
	"testing"
)

// BenchmarkAuthenticate is what a request costs with a token that is seen for
// the first time, and again.
func BenchmarkAuthenticate(b *testing.B) {
	for _, key := range []testKey{rsaKey(), es256Key(), edKey()} {
		p := meet(b, newIssuer(b, key), nil)
		token := p.draft(key).token()
		b.Run(key.alg+"/first", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.verified = newVerifiedTokens()
				if _, err := p.Authenticate(context.Background(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(key.alg+"/again", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Authenticate(context.Background(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
