package bolt

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/store"
)

// What reviews found in this package, each with a test that failed before it was
// mended.

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
			must(t, s.writer.do(t.Context(), 0, func(x *store.Txn) error {
				for j := range 1 + r.IntN(30) {
					x.Rows().Put(kindNames, fmt.Append(nil, r.IntN(1000)+j), make([]byte, r.IntN(400)))
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
	err := s.writer.do(t.Context(), 0, func(x *store.Txn) error {
		x.Rows().Put(kindNames, []byte("full"), make([]byte, 10000))
		x.Rows().Put(kindKeyPackages, numberKey(1<<40), make([]byte, 16<<20))
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
	share(400*60, 60, func(n int) {
		id := delivery.DeviceID{User: delivery.UserID(fmt.Sprintf("u%08x", uint32(n)*2654435761)), Name: "phone"}
		items := []delivery.NewKeyPackage{unsigned(3 * n), unsigned(3*n + 1), unsigned(3*n + 2)}
		if _, err := s.Publish(t.Context(), delivery.Unauthenticated(), id, items); err != nil {
			t.Error(err)
		}
	})
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
			err = s.writer.do(t.Context(), size, func(x *store.Txn) error {
				x.Rows().Put(kindKeyPackages, numberKey(n), make([]byte, size))
				return nil
			})
		}
		if !errors.Is(err, delivery.ErrFull) {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		must(t, s.writer.do(t.Context(), 0, func(x *store.Txn) error {
			for j := range 80 { // what twenty claims change
				x.Rows().Put(kindNames, fmt.Appendf(nil, "%06d", (80*i+j)*7919%4000), make([]byte, 60))
			}
			return nil
		}))
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
	if err := MarkRestored(t.Context(), path); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("MarkRestored says %v", err)
	}
	if err := Compact(t.Context(), path, filepath.Join(dir, "small.db"), nil); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Compact says %v", err)
	}
}
