package bolt

import (
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
// none waits. Welcomes are in the order of posting, and most of them wait no
// longer. That does not change: each call starts where the last one found the
// first that does.
func (t *txn) oldestPending() time.Time {
	const most = 10_000 // Welcomes in one call
	s := t.store
	s.pendingMu.Lock()
	defer s.pendingMu.Unlock()
	var first uint64 // that waits, or is held
	looked := 0
	for key := range t.scan(bucketPosted, nil, numberKey(s.pendingFrom)) {
		number := readNumber(key)
		held, pending := t.waiting(number)
		if first == 0 && (held || pending) {
			first = number
			s.pendingFrom = first
		}
		if pending || looked == most {
			if first == 0 {
				s.pendingFrom = number
			}
			return t.header(number).postedAt
		}
		looked++
	}
	return time.Time{}
}

// waiting reports in which of these states recipients of a Welcome are.
func (t *txn) waiting(number uint64) (held, pending bool) {
	w := t.welcome(number)
	if w == nil || w.open == 0 {
		return false, false
	}
	t.eachMail(w, func(_ *device, m *mail) {
		held = held || m.rec.State == delivery.Held
		pending = pending || m.rec.State == delivery.Pending
	})
	return held, pending
}
