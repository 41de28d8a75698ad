package bolt

import (
	"context"
	"fmt"
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
			preload(b, s, b.N, loadPair)
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
			stats, err := s.Stats(b.Context())
			if n := stats.Welcomes[delivery.Delivered]; err != nil || n != b.N {
				b.Errorf("%d delivered of %d, %v", n, b.N, err)
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

// preload makes n devices with what each makes, many in one commit, and has the disk
// wait until all are there.
func preload(b *testing.B, s *Store, n int, make func(*Store, int) error) {
	b.Helper()
	s.db.NoSync = true
	share(n, 500, func(i int) {
		if err := make(s, i); err != nil {
			b.Error(err)
		}
	})
	s.db.NoSync = false
	must(b, s.db.Sync())
	if b.Failed() {
		b.FailNow()
	}
}

func loadKeyPackage(s *Store, i int) error {
	_, err := s.Publish(context.Background(), delivery.Unauthenticated(), deviceNo(i), randomItems(1))
	return err
}

func loadPair(s *Store, i int) error {
	item := randomItems(1)[0]
	if _, err := s.Publish(context.Background(), delivery.Unauthenticated(), deviceNo(i), []delivery.NewKeyPackage{item}); err != nil {
		return err
	}
	w, err := mls.ParseWelcome(mlstest.WelcomeSize(870, 1, item.Ref))
	if err != nil {
		return err
	}
	_, err = s.Post(context.Background(), delivery.Unauthenticated(), delivery.Posting{Welcome: w})
	return err
}

// BenchmarkReserve reserves KeyPackages of 400 B, one of each device. Run it with a
// fixed number of reservations:
// go test ./bolt -run '^$' -bench 'Reserve$' -benchtime 20000x
func BenchmarkReserve(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := openTest(b)
			preload(b, s, b.N, loadKeyPackage)
			started := processorTime(b)
			b.ResetTimer()
			share(b.N, callers, func(i int) {
				r, err := s.Reserve(context.Background(), delivery.Unauthenticated(), delivery.ReserveRequest{Devices: []delivery.DeviceID{deviceNo(i)}})
				if err != nil || r.Users[0].Status != delivery.UserSuccess {
					b.Error(r, err)
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(processorTime(b)-started)/float64(b.N)/1e3, "cpu-µs/op")
		})
	}
}
