package store

import (
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
)

// What a database of format 4 does not say about last resorts is found out when it is
// brought to this format: how many are on each shelf, and which devices have never had
// anything else.
func TestLastResortsOfAnOlderFormatAreCounted(t *testing.T) {
	clock, memory, tt := storetest.NewClock(), NewMemory(), t
	open := func() *MemoryStore {
		s, err := memory.Open(clock, false, Options{Limits: delivery.DefaultLimits()})
		must(t, err)
		return s
	}
	s := open()
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
	stockOf := func(s *MemoryStore) []int {
		stats, err := s.Stats(t.Context())
		must(t, err)
		return []int{stats.DevicesOK, stats.DevicesLow, stats.DevicesEmpty, stats.DevicesLastResort}
	}
	want := []int{0, 1, 2, 1}
	requireInts(t, "before", stockOf(s), want)

	must(t, s.run(t.Context(), func(t *Txn) error {
		for n := range 4 {
			d := t.device(deviceNo(n))
			d.lastResorts, d.onlySince = 0, time.Time{}
			t.changed(d)
		}
		return nil
	}))
	must(t, s.Close())
	memory.totals.stock[stockLastResort], memory.totals.stock[stockIdle] = 0, 0
	memory.Change(func(rows Rows) {
		rows.Delete(KindMeta, keyRestoreEpoch)
		rows.Put(KindMeta, keyFormat, encodeFormat(4))
	})
	sound(t, memory)

	must(t, memory.change(func(t *Txn) { must(tt, t.Migrate()) }))
	s = open()
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
	sound(t, memory)
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
