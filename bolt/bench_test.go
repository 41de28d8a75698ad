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
			preload(b, s, b.N, (*txn).preloadPair)
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

// preload makes n devices with what each makes, many in one commit.
func preload(b *testing.B, s *Store, n int, make func(*txn, int) error) {
	b.Helper()
	const each = 500
	for from := 0; from < n; from += each {
		err := s.writer.do(context.Background(), 0, func(t *txn) error {
			for i := from; i < min(n, from+each); i++ {
				if err := make(t, i); err != nil {
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

func (t *txn) preloadKeyPackage(i int) error {
	_, err := t.publish(publication{id: deviceNo(i), items: randomItems(1)})
	return err
}

func (t *txn) preloadPair(i int) error {
	item := randomItems(1)[0]
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

// BenchmarkReserve reserves KeyPackages of 400 B, one of each device. Run it with a
// fixed number of reservations:
// go test ./bolt -run '^$' -bench 'Reserve$' -benchtime 20000x
func BenchmarkReserve(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := openTest(b)
			preload(b, s, b.N, (*txn).preloadKeyPackage)
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

// BenchmarkIntact is what it costs to look whether what is handed out is what it was:
// the checksums of a Welcome, on top of reading it, and the ref of a KeyPackage.
func BenchmarkIntact(b *testing.B) {
	s := openTest(b)
	preload(b, s, 1, (*txn).preloadPair)
	must(b, s.View(b.Context(), func(t *txn) error {
		_, m := t.someMail(rowPending)
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
