package bolt

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
)

// What a file of format 4 does not say about last resorts is found out when it is
// brought to this format: how many are on each shelf, and which devices have never had
// anything else.
func TestLastResortsOfAnOlderFileAreCounted(t *testing.T) {
	clock, path := storetest.NewClock(), filepath.Join(t.TempDir(), "welcomed.db")
	opts := Options{Limits: delivery.DefaultLimits(), Clock: clock}
	s, err := Open(path, opts)
	must(t, err)
	publish := func(id delivery.DeviceID, lastResort bool) delivery.NewKeyPackage {
		t.Helper()
		item := randomItems(1)
		item[0].LastResort = lastResort
		_, err := s.Publish(t.Context(), delivery.Unauthenticated(), id, item)
		must(t, err)
		return item[0]
	}
	only, emptied, ok, none := deviceNo(0), deviceNo(1), deviceNo(2), deviceNo(3)
	publish(only, true)
	clock.Advance(time.Hour)
	publish(only, true)
	publish(emptied, true)
	must(t, s.Withdraw(t.Context(), delivery.Unauthenticated(), emptied, publish(emptied, false).Ref))
	publish(ok, true)
	publish(ok, false)
	must(t, s.Withdraw(t.Context(), delivery.Unauthenticated(), none, publish(none, true).Ref))
	stockOf := func(s *Store) []int {
		stats, err := s.Stats(t.Context())
		must(t, err)
		return []int{stats.DevicesOK, stats.DevicesLow, stats.DevicesEmpty, stats.DevicesLastResort}
	}
	want := []int{0, 1, 2, 1}
	requireInts(t, "before", stockOf(s), want)

	must(t, s.writer.do(t.Context(), 0, func(t *txn) error {
		for n := range 4 {
			d := t.device(deviceNo(n))
			d.lastResorts, d.onlySince = 0, time.Time{}
			t.changed(d)
		}
		return nil
	}))
	must(t, s.Close())
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, PageSize: pageSize})
	must(t, err)
	must(t, errors.Join(db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta.name)
		state := cloneBytes(meta.Get(keyState))[:(3+counters4)*8]
		return errors.Join(meta.Put(keyState, state), meta.Delete(keyCommit), meta.Delete(keyRestoreEpoch),
			meta.Put(keyFormat, binary.BigEndian.AppendUint32(nil, 4)))
	}), db.Close()))
	must(t, Check(t.Context(), path))

	s, err = Open(path, opts)
	must(t, err)
	requireInts(t, "after", stockOf(s), want)
	clock.Advance(byDesign)
	for id, low := range map[delivery.DeviceID]bool{only: false, emptied: true, ok: true, none: true} {
		r, err := s.Claim(t.Context(), delivery.Unauthenticated(), id, delivery.ClaimOptions{})
		must(t, err)
		if r.Stock.Low != low {
			t.Errorf("%s: %+v", id, r.Stock)
		}
	}
	must(t, s.Close())
	must(t, Check(t.Context(), path))
}

func requireInts(t *testing.T, what string, got, want []int) {
	t.Helper()
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s: %v, want %v", what, got, want)
			return
		}
	}
}
