package bolt

import (
	"bytes"
	"context"
	"time"

	"welcomed/delivery"
)

// Stats implements delivery.Store.
func (s *Store) Stats(ctx context.Context) (stats delivery.Stats, err error) {
	err = s.view(ctx, func(t *txn) error {
		state := decodeState(t.get(bucketMeta, keyState))
		stats = delivery.Stats{
			KeyPackages:  make(map[delivery.KeyPackageState]int),
			Welcomes:     make(map[delivery.WelcomeState]int),
			DevicesOK:    int(state.stock[stockOK]),
			DevicesLow:   int(state.stock[stockLow]),
			DevicesEmpty: int(state.stock[stockEmpty]),
			Overdue:      int(state.overdue),
			HoldsOverdue: int(state.holdsOver),
		}
		for _, k := range delivery.KeyPackageStates {
			stats.KeyPackages[k] = int(state.keyPackages[k])
		}
		for _, w := range delivery.WelcomeStates {
			stats.Welcomes[w] = int(state.welcomes[w])
		}
		if state.welcomes[delivery.Pending] > 0 {
			stats.OldestPending = t.oldestPending()
		}
		stats.UsedBytes = t.tx.Size()
		return nil
	})
	file := s.db.Stats()
	stats.FreeBytes = int64(file.FreePageN+file.PendingPageN) * pageSize
	stats.UsedBytes -= stats.FreeBytes
	stats.LimitBytes = s.opts.MaxSize
	stats.OpenReads = file.OpenTxN
	return stats, err
}

// oldestPending returns when the Welcome that waits longest was posted, zero if
// none waits. Entries of timers are in the order of posting, and most of them
// are stale. What is stale stays so: each call starts where the last one found
// the first that was not.
func (t *txn) oldestPending() time.Time {
	const most = 10_000 // entries in one call
	s := t.store
	s.pendingMu.Lock()
	defer s.pendingMu.Unlock()
	var first []byte // that is not stale
	looked := 0
	for key := range t.scan(bucketTimers, []byte{timerPending}, s.pendingFrom) {
		state := t.timerState(key)
		if first == nil && state != 0 {
			first = bytes.Clone(key)
			s.pendingFrom = first
		}
		if state == delivery.Pending || looked == most {
			if first == nil {
				s.pendingFrom = bytes.Clone(key)
			}
			return fromMillis(readU64(key[1:])).Add(-t.limits.WelcomeKept)
		}
		looked++
	}
	return time.Time{}
}

// timerState returns Held or Pending if the entry is not stale, else 0.
func (t *txn) timerState(key []byte) delivery.WelcomeState {
	d := t.deviceByNumber(readU64(key[9:]))
	if d == nil {
		return 0
	}
	m := t.mail(d, readMailKey(key[17:]))
	if m == nil || m.rec.State != delivery.Held && m.rec.State != delivery.Pending {
		return 0
	}
	return m.rec.State
}
