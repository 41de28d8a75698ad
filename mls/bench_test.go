package mls_test

import (
	"fmt"
	"testing"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

func benchBySuite(b *testing.B, bench func(*testing.B, *mls.KeyPackage)) {
	for _, suite := range mlstest.Suites {
		b.Run(suite.String(), func(b *testing.B) {
			kp, err := mls.ParseKeyPackage(mlstest.NewSigner(suite, "alice/phone").KeyPackage())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			bench(b, kp)
		})
	}
}

func BenchmarkReadKeyPackage(b *testing.B) {
	benchBySuite(b, func(b *testing.B, kp *mls.KeyPackage) {
		wrapped := mls.Wrap(mls.WireFormatKeyPackage, kp.Bytes())
		for b.Loop() {
			if _, err := mls.ReadKeyPackage(wrapped); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkVerify reports the signature checks of one processor; a KeyPackage
// needs two.
func BenchmarkVerify(b *testing.B) {
	benchBySuite(b, func(b *testing.B, kp *mls.KeyPackage) {
		for b.Loop() {
			if err := kp.Verify(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "checks/s")
	})
}

func BenchmarkRef(b *testing.B) {
	benchBySuite(b, func(b *testing.B, kp *mls.KeyPackage) {
		for b.Loop() {
			kp.Ref()
		}
	})
}

func BenchmarkMakeKeyPackage(b *testing.B) {
	for _, suite := range mlstest.Suites {
		b.Run(suite.String(), func(b *testing.B) {
			s := mlstest.NewSigner(suite, "alice/phone")
			for b.Loop() {
				s.KeyPackage()
			}
		})
	}
}

// A Welcome for a thousand with a tree is about this large.
func benchWelcome(b *testing.B) []byte {
	return mlstest.WelcomeSize(240<<10, 1, refsOf(1, 1000)...)
}

func BenchmarkReadWelcomeForThousand(b *testing.B) {
	input := mls.Wrap(mls.WireFormatWelcome, benchWelcome(b))
	b.ReportAllocs()
	for b.Loop() {
		w, err := mls.ReadWelcome(input)
		if err == nil {
			err = w.Verify()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyWelcomeForMany(b *testing.B) {
	for _, n := range []int{1000, 30000} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			w, err := mls.ParseWelcome(mlstest.Welcome(1, refsOf(1, n)...))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := w.Verify(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSlice(b *testing.B) {
	w, err := mls.ParseWelcome(benchWelcome(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w.Slice(500)
	}
}
