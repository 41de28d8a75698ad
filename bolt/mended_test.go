package bolt

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// What reviews found in this package, each with a test that failed before it was
// mended.

func unsigned(n int) delivery.NewKeyPackage {
	h := sha256.Sum256(fmt.Append(nil, n))
	return delivery.NewKeyPackage{Ref: mls.CipherSuite(1).RefOf(h[:]), Suite: 1, Lifetime: mls.Lifetime{NotAfter: math.MaxUint64}, InitKey: h[:], Bytes: h[:]}
}

// A commit that failed left slots behind that are not in the file.
func TestAFileOpensAfterCommitsThatFailed(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 1))
		path := filepath.Join(t.TempDir(), "welcomed.db")
		opts := Options{Limits: delivery.DefaultLimits(), LogSize: 64 << 10, idleAfter: time.Hour}
		s, err := Open(path, opts)
		must(t, err)
		s.db.NoSync = true
		for range 200 {
			if r.IntN(20) == 0 {
				failWhileFull(t, s)
			}
			must(t, s.writer.do(t.Context(), 0, func(x *txn) error {
				for j := range 1 + r.IntN(30) {
					x.put(kindNames, fmt.Append(nil, r.IntN(1000)+j), make([]byte, r.IntN(400)))
				}
				return nil
			}))
		}
		must(t, s.db.Sync())
		crash(t, s)
		s, err = Open(path, opts)
		must(t, err)
		must(t, s.Close())
	}
}

// failWhileFull has one commit fail for want of room.
func failWhileFull(t *testing.T, s *Store) {
	t.Helper()
	s.db.MaxSize = 1
	err := s.writer.do(t.Context(), 0, func(x *txn) error {
		x.put(kindNames, []byte("full"), make([]byte, 10000))
		x.put(kindKeyPackages, numberKey(1<<40), make([]byte, 16<<20))
		return nil
	})
	s.db.MaxSize = 0
	if !errors.Is(err, delivery.ErrFull) {
		t.Fatal(err)
	}
}

// New devices have higher numbers than all before: the hand chased them and the
// round never ended.
func TestTheLogStaysWithinItsBoundsWhenAllRowsAreNew(t *testing.T) {
	const limit = 512 << 10
	s, err := Open(filepath.Join(t.TempDir(), "welcomed.db"), Options{Limits: delivery.DefaultLimits(), LogSize: limit, idleAfter: time.Hour})
	must(t, err)
	defer s.Close()
	s.db.NoSync = true
	n := 0
	for range 400 {
		must(t, s.writer.do(t.Context(), 0, func(x *txn) error {
			for range 60 {
				n++
				id := delivery.DeviceID{User: delivery.UserID(fmt.Sprintf("u%08x", uint32(n)*2654435761)), Name: "phone"}
				items := []delivery.NewKeyPackage{unsigned(3 * n), unsigned(3*n + 1), unsigned(3*n + 2)}
				if _, err := x.publish(publication{id: id, items: items}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	if waiting := s.writer.log.bytes; waiting > limit {
		t.Errorf("%d bytes wait to be merged, the limit is %d", waiting, limit)
	}
}

// Payloads were admitted until nothing was left for claims, in files larger
// than what bbolt grows by.
func TestClaimsGoOnInAFullFile(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "welcomed.db"), Options{Limits: delivery.DefaultLimits(), MaxSize: 96 << 20, idleAfter: 20 * time.Millisecond})
	must(t, err)
	defer s.Close()
	s.db.NoSync = true
	n := uint64(1000)
	for _, size := range []int{60 << 10, 4 << 10, 300} {
		for err = nil; err == nil; n++ {
			err = s.writer.do(t.Context(), size, func(x *txn) error {
				x.put(kindKeyPackages, numberKey(n), make([]byte, size))
				return nil
			})
		}
		if !errors.Is(err, delivery.ErrFull) {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		must(t, s.writer.do(t.Context(), 0, func(x *txn) error {
			for j := range 80 { // what twenty claims change
				x.put(kindNames, fmt.Appendf(nil, "%06d", (80*i+j)*7919%4000), make([]byte, 60))
			}
			return nil
		}))
	}
}

// One device with tens of thousands of KeyPackages made one transaction of any
// size.
func TestASweepOfOneDeviceIsInParts(t *testing.T) {
	clock := storetest.NewClock()
	s, err := Open(filepath.Join(t.TempDir(), "welcomed.db"), Options{Limits: delivery.DefaultLimits(), Clock: clock, TrustClock: true})
	must(t, err)
	defer s.Close()
	s.db.NoSync = true
	for i := range 100 {
		var items []delivery.NewKeyPackage
		for j := range 100 {
			items = append(items, unsigned(100*i+j))
		}
		must(t, s.writer.do(t.Context(), 0, func(x *txn) error {
			_, err := x.publish(publication{id: phone, items: items, replace: true})
			return err
		}))
	}
	clock.Advance(100 * 24 * time.Hour)
	var r delivery.SweepResult
	more, _, err := s.sweepBatch(t.Context(), sweepers[0], 1, new(int), &r)
	must(t, err)
	if !more || r.Expired > sweepWrites || r.Expired == 0 {
		t.Errorf("one transaction ended %d KeyPackages", r.Expired)
	}
	all, err := s.Sweep(t.Context())
	must(t, err)
	if all.Expired+r.Expired != 9900 || all.Retired+r.Retired != 100 {
		t.Errorf("%d expired, %d retired", all.Expired+r.Expired, all.Retired+r.Retired)
	}
	forgotten := 0
	for range 2 { // those that were on the shelf end in the first
		clock.Advance(501 * 24 * time.Hour)
		all, err = s.Sweep(t.Context())
		must(t, err)
		forgotten += all.ForgottenKeyPackage
	}
	if forgotten != 10_000 {
		t.Errorf("%d forgotten", forgotten)
	}
}

// A KeyPackage that had expired was matchable again after a restore.
func TestARestoreDoesNotReviveWhatHasExpired(t *testing.T) {
	clock, path := storetest.NewClock(), filepath.Join(t.TempDir(), "welcomed.db")
	opts := Options{Limits: delivery.DefaultLimits(), Clock: clock, TrustClock: true}
	s, err := Open(path, opts)
	must(t, err)
	item := publishOne(t, s, phone)
	must(t, s.Close())
	must(t, MarkRestored(t.Context(), path))
	clock.Advance(200 * 24 * time.Hour)
	s, err = Open(path, opts)
	must(t, err)
	defer s.Close()
	w, err := mls.ParseWelcome(mlstest.Welcome(item.Suite, item.Ref))
	must(t, err)
	if _, err := s.Post(t.Context(), delivery.Unauthenticated(), delivery.Posting{Welcome: w}); !errors.Is(err, delivery.ErrNoMatchingKeyPackage) {
		t.Errorf("a Welcome for it: %v", err)
	}
	_, err = s.Sweep(t.Context())
	must(t, err)
	status, err := s.KeyPackage(t.Context(), delivery.Unauthenticated(), item.Ref)
	must(t, err)
	if status.State != delivery.Expired {
		t.Errorf("it is %v", status.State)
	}
}

// What is damaged panicked where no request was there to turn it into an error.
func TestADamagedStateRowIsAnError(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "welcomed.db")
	s, err := Open(path, Options{Limits: delivery.DefaultLimits()})
	must(t, err)
	must(t, s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta.name).Delete(keyState) }))
	must(t, s.Close())
	if err := MarkRestored(t.Context(), path); !errors.Is(err, errCorrupt) {
		t.Errorf("MarkRestored says %v", err)
	}
	if err := Compact(t.Context(), path, filepath.Join(dir, "small.db"), nil); !errors.Is(err, errCorrupt) {
		t.Errorf("Compact says %v", err)
	}
}
