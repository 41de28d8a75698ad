package bolt

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// BenchmarkClaim claims Welcomes of 1 KB for KeyPackages of 400 B, one device
// each. Run it with a fixed number of claims:
// go test ./bolt -run '^$' -bench Claim -benchtime 50000x
// What others reach on the same disk is measured by make bench-compare.
func BenchmarkClaim(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := openTest(b)
			preload(b, s, b.N)
			// Devices come back in another order than they were made in, so
			// that neighbours in the file do not share a commit.
			order := rand.Perm(b.N)
			b.ReportAllocs()
			started := processorTime(b)
			b.ResetTimer()
			share(b.N, callers, func(i int) {
				if err := claimOne(s, deviceNo(order[i])); err != nil {
					b.Error(err)
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "claims/s")
			b.ReportMetric(float64(processorTime(b)-started)/float64(b.N)/1e3, "cpu-µs/op")
			if s.state.Load().welcomes[delivery.Delivered] != int64(b.N) {
				b.Errorf("%d delivered of %d", s.state.Load().welcomes[delivery.Delivered], b.N)
			}
		})
	}
}

func claimOne(s *Store, id delivery.DeviceID) error {
	r, err := s.Claim(context.Background(), delivery.Unauthenticated(), id, delivery.ClaimOptions{Max: 10})
	if err == nil && len(r.Deliveries) != 1 {
		err = fmt.Errorf("%d deliveries", len(r.Deliveries))
	}
	return err
}

// share spreads n calls over callers.
func share(n, callers int, call func(int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				call(int(i))
			}
		})
	}
	wg.Wait()
}

func deviceNo(i int) delivery.DeviceID {
	return delivery.DeviceID{User: delivery.UserID(fmt.Sprintf("user-%08d", i)), Name: "phone"}
}

// preload makes n devices with one matched pair each, many in one commit.
func preload(b *testing.B, s *Store, n int) {
	b.Helper()
	const each = 500
	for from := 0; from < n; from += each {
		err := s.writer.do(context.Background(), 0, func(t *txn) error {
			for i := from; i < min(n, from+each); i++ {
				if err := t.preloadPair(i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func (t *txn) preloadPair(i int) error {
	item := delivery.NewKeyPackage{
		Ref: mls.KeyPackageRef(mlstest.Random(32)), Suite: 1, Lifetime: mls.Lifetime{NotAfter: math.MaxUint64},
		InitKey: mlstest.Random(32), Bytes: mlstest.Random(400),
	}
	if _, err := t.publish(publication{id: deviceNo(i), items: []delivery.NewKeyPackage{item}}); err != nil {
		return err
	}
	w, err := mls.ParseWelcome(mlstest.WelcomeSize(870, 1, item.Ref))
	if err != nil {
		return err
	}
	_, err = t.post(delivery.Unauthenticated(), delivery.IDOf(delivery.Unauthenticated(), w.Bytes()), nil, delivery.Posting{Welcome: w}, newShares())
	return err
}
