package store

import (
	"context"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// Stats implements delivery.Store.
func (s *Store) Stats(ctx context.Context) (stats delivery.Stats, err error) {
	err = s.engine.View(ctx, func(t *Txn) error {
		totals := t.rows.Totals()
		stats = delivery.Stats{
			KeyPackages:       make(map[delivery.KeyPackageState]int),
			Welcomes:          make(map[delivery.WelcomeState]int),
			DevicesOK:         int(totals.stock[stockOK]),
			DevicesLow:        int(totals.stock[stockLow]),
			DevicesEmpty:      int(totals.stock[stockEmpty]),
			DevicesLastResort: int(totals.stock[stockLastResort]),
			DevicesIdle:       int(totals.stock[stockIdle]),
			Overdue:           int(totals.overdue),
			HoldsOverdue:      int(totals.holdsOver),
			Shelves:           totals.onShelves(),
			RestoredAt:        t.restoredAt(),
			BackedUpAt:        t.noted(keyBackedUpAt),
		}
		for i, c := range channels {
			if n := int(totals.hints[i]); n > 0 {
				if stats.Hints == nil {
					stats.Hints = make(map[delivery.HintChannel]int)
				}
				stats.Hints[c.name] = n
			}
		}
		for _, k := range delivery.KeyPackageStates {
			stats.KeyPackages[k] = int(totals.keyPackages[k])
		}
		for _, w := range delivery.WelcomeStates {
			stats.Welcomes[w] = int(totals.welcomes[w])
		}
		if totals.welcomes[delivery.Pending] > 0 {
			stats.OldestPending = t.oldestPending()
		}
		if totals.keyPackages[delivery.Available] > 0 {
			stats.SoonestEnd = t.soonestEnd(soonestRows)
		}
		return nil
	})
	return stats, err
}

func (c *Totals) onShelves() map[mls.CipherSuite]delivery.Shelf {
	all := make(map[mls.CipherSuite]delivery.Shelf)
	for at, n := range c.shelves {
		if n == 0 {
			continue
		}
		suite := shelf(at).suite()
		counts := all[suite]
		if shelf(at).lastResort() {
			counts.LastResort = int(n)
		} else {
			counts.Available = int(n)
		}
		all[suite] = counts
	}
	return all
}

// noted returns the time in a row of meta; zero if there is no such row.
func (t *Txn) noted(key []byte) time.Time {
	at := t.get(KindMeta, key)
	if at == nil {
		return time.Time{}
	}
	return FromMillis(readNumber(at))
}

// NoteBackup notes that a backup has arrived where it was to go.
func (s *Store) NoteBackup(ctx context.Context) error {
	return s.run(ctx, func(t *Txn) error {
		t.put(KindMeta, keyBackedUpAt, numberKey(Millis(t.now)))
		return nil
	})
}

// A shelfWalk looks for the KeyPackage that leaves its shelf first. The entry of a device in
// timers is never later than that, so the walk can end when it has passed all earlier entries.
type shelfWalk struct {
	from []byte    // where it goes on; nil: at the start
	best time.Time // of those that it has passed; zero if there were none
	last time.Time // what it found when it last came to an end
}

// soonestRows is how many rows a walk looks at in one call.
const soonestRows = 10_000

// soonestEnd goes on with the walk. An entry may be early because the device has another reason
// to be looked at. If there are very many such entries, the walk takes several calls. Meanwhile
// each call returns what the last complete walk has found.
func (t *Txn) soonestEnd(most int) time.Time {
	s := t.store
	s.walkMu.Lock()
	defer s.walkMu.Unlock()
	w, looked := &s.walk, 0
	prefix := []byte{timerDevice}
	for key := range t.scan(kindTimers, prefix, w.from) {
		due := FromMillis(readNumber(key[1:]))
		if !w.best.IsZero() && !due.Before(w.best) {
			break
		}
		if looked >= most {
			w.from = cloneBytes(key)
			if w.last.IsZero() {
				return due // the first walk has got so far
			}
			return w.last
		}
		looked += 1 + t.walkShelf(readNumber(key[1+numberBytes:]), due, w)
	}
	*w = shelfWalk{last: w.best}
	return w.last
}

// walkShelf looks at the shelf of a device whose entry is due at that time, unless the entry is
// stale. It returns how many rows it has read.
func (t *Txn) walkShelf(number uint64, due time.Time, w *shelfWalk) (rows int) {
	d := t.deviceByNumber(number)
	t.devices = nil // remembers none: there may be thousands
	if d == nil || d.removed || !d.live.set.Equal(due) {
		return 0
	}
	t.eachOnShelf(d, 0, func(k *keyPackage) bool {
		rows++
		if at := k.rec.ShelfUntil; w.best.IsZero() || at.Before(w.best) {
			w.best = at
		}
		return true
	})
	return rows
}

// oldestPending returns when the Welcome that waits longest was posted; zero if none waits.
// Welcomes are in the order of posting, and most of them have ended, which they stay. So each
// call starts where the one before has found the first that waits.
func (t *Txn) oldestPending() time.Time {
	const most = 10_000 // Welcomes in one call
	s := t.store
	s.pendingMu.Lock()
	defer s.pendingMu.Unlock()
	var first uint64 // that waits, or is held
	looked := 0
	for key := range t.scan(kindPosted, nil, numberKey(s.pendingFrom)) {
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
			if w := t.header(number); w != nil {
				return w.postedAt
			}
			return time.Time{}
		}
		looked++
	}
	return time.Time{}
}

// waiting reports whether a Welcome has held recipients, and whether it has pending ones.
func (t *Txn) waiting(number uint64) (held, pending bool) {
	w := t.welcome(number)
	if w == nil || w.open == 0 {
		return false, false
	}
	t.eachRecipient(number, func(_ *device, m *recipient) {
		held = held || m.rec.State == delivery.Held
		pending = pending || m.rec.State == delivery.Pending
	})
	return held, pending
}
