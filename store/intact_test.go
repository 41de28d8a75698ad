package store

import (
	"fmt"
	"testing"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// BenchmarkIntact is what it costs to look whether what is handed out is what it was:
// the checksums of a Welcome, on top of reading it, and the ref of a KeyPackage.
func BenchmarkIntact(b *testing.B) {
	s := openTest(b)
	item := randomItems(1)
	_, err := s.Publish(b.Context(), delivery.Unauthenticated(), phone, item)
	must(b, err)
	w, err := mls.ParseWelcome(mlstest.WelcomeSize(870, 1, item[0].Ref))
	must(b, err)
	_, err = s.Post(b.Context(), delivery.Unauthenticated(), delivery.Posting{Welcome: w})
	must(b, err)
	must(b, s.View(b.Context(), func(t *Txn) error {
		_, m := t.someRecipient(rowPending)
		rows := map[string][]byte{}
		for _, key := range t.keys(kindWelcomes, numberKey(m.welcome), 0) {
			rows[string(key)] = cloneBytes(t.get(kindWelcomes, key))
		}
		b.Run("a Welcome", func(b *testing.B) {
			for b.Loop() {
				for key, row := range rows {
					if _, ok := cutSum([]byte(key), row); ok {
						b.Fatal("the parts of a row have one checksum")
					}
				}
			}
		})
		return nil
	}))
	for _, size := range []int{400, 1500, 64 << 10} {
		b.Run(fmt.Sprintf("a KeyPackage of %d bytes", size), func(b *testing.B) {
			bytes := mlstest.Random(size)
			for b.Loop() {
				mls.CipherSuite(1).RefOf(bytes)
			}
		})
	}
	b.Run("a piece of a ratchet tree", func(b *testing.B) {
		key, piece := make([]byte, 10), mlstest.Random(payloadPiece)
		for b.Loop() {
			checksum(key, piece)
		}
	})
}
