package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"welcomed/delivery"
)

const (
	// idleDevices is how many devices a sweep looks at: a small machine does that in
	// tens of milliseconds, and with a sweep a minute it sees a million in two hours.
	idleDevices = 10_000
	// idleLook is how many it looks at in one read transaction, and idleBatch how many it
	// changes in one transaction of the writer.
	idleLook  = 1000
	idleBatch = 200
	// idleWatched is for how long sweeps have to have seen the time pass before a device is
	// forgotten, and idleGap is more than passes between two of them. A server that was off
	// for a year, or whose clock says so, gives devices time to come back.
	idleWatched = 12 * time.Hour
	idleGap     = 7 * 24 * time.Hour
)

// An idleWalk looks for devices that have become idle, devices that are idle no longer, and
// devices to forget. It goes over the names of all devices that exist. Each sweep looks at some
// of them.
type idleWalk struct {
	mu     sync.Mutex
	from   []byte          // the name where it goes on; nil: at the start
	since  time.Time       // since when sweeps have seen the time pass
	last   time.Time       // of the last sweep
	spoilt map[uint64]bool // devices whose rows cannot be read, which was said
}

// look takes note of the time of a sweep.
func (w *idleWalk) look(sure time.Time) {
	if passed := sure.Sub(w.last); w.last.IsZero() || passed < 0 || passed > idleGap {
		w.since = sure
	}
	w.last = sure
}

// watched reports whether devices have had time to come back.
func (w *idleWalk) watched(sure time.Time) bool { return !sure.Before(w.since.Add(idleWatched)) }

// sweepIdle goes on with the walk. It reads outside the writer, and only devices that change
// enter the writer. It skips a device whose rows cannot be read, and reports it once.
func (s *Store) sweepIdle(ctx context.Context, result *delivery.SweepResult) error {
	w := &s.idle
	w.mu.Lock()
	defer w.mu.Unlock()
	w.look(s.Time().Sure.UTC().Truncate(time.Millisecond))
	var passed []error
	for looked := 0; looked < idleDevices; looked += idleLook {
		var found []uint64
		next := w.from
		err := s.engine.View(ctx, func(t *Txn) (err error) {
			found, next, err = t.idleFrom(w, &passed)
			return err
		})
		if err == nil {
			err = s.changeIdle(ctx, w, found, result, &passed)
		}
		if err != nil {
			return errors.Join(append(passed, err)...)
		}
		if w.from = next; next == nil {
			break
		}
	}
	return errors.Join(passed...)
}

// passes takes note of a device that cannot be read.
func (w *idleWalk) passes(number uint64, err error, passed *[]error) {
	if w.spoilt == nil {
		w.spoilt = map[uint64]bool{}
	}
	w.spoilt[number] = true
	*passed = append(*passed, err)
}

// idleFrom looks at the next idleLook devices. It returns those that change, and where to go
// on.
func (t *Txn) idleFrom(w *idleWalk, passed *[]error) (found []uint64, next []byte, err error) {
	looked := 0
	t.aheadOfIdle(w)
	for name, number := range t.scan(kindNames, nil, w.from) {
		if looked++; looked > idleLook {
			return found, cloneBytes(name), nil
		}
		n := readNumber(number)
		if w.spoilt[n] {
			continue
		}
		err := Recovering(func() error {
			if d := t.deviceByNumber(n); d != nil && (t.forgettable(w, d) || t.becomesIdle(d) != d.idle) {
				found = append(found, n)
			}
			t.devices = nil // remembers none
			return nil
		})
		switch {
		case IsDamage(err):
			w.passes(n, err, passed)
		case err != nil:
			return nil, nil, err
		}
	}
	return found, nil, nil
}

// changeIdle writes the new state of devices, several in one transaction. If the disk has no
// room for the pages that they need, it tries fewer. If one of them is damaged, it writes each
// by itself.
func (s *Store) changeIdle(ctx context.Context, w *idleWalk, found []uint64, result *delivery.SweepResult, passed *[]error) error {
	for size := idleBatch; len(found) > 0; {
		done, forgotten := 0, 0
		err := s.run(ctx, func(t *Txn) error {
			done, forgotten = 0, 0
			t.aheadOfForgotten(w, found[:min(size, len(found))])
			for before := t.writes; done < min(size, len(found)) && t.writes-before < sweepWrites; done++ {
				if t.changeIdle(w, found[done]) {
					forgotten++
				}
			}
			return nil
		})
		switch {
		case errors.Is(err, delivery.ErrFull) && size > 1:
			size /= 2
			continue
		case IsDamage(err) && size > 1:
			size = 1
			continue
		case IsDamage(err):
			w.passes(found[0], err, passed)
			found, size = found[1:], idleBatch
			continue
		case err != nil:
			return err
		}
		found = found[done:]
		result.ForgottenDevices += forgotten
	}
	return nil
}

func (t *Txn) changeIdle(w *idleWalk, number uint64) (forgotten bool) {
	d := t.deviceByNumber(number)
	switch {
	case d == nil || d.removed:
	case t.forgettable(w, d):
		t.forgetDevice(d)
		return true
	case t.becomesIdle(d) != d.idle:
		d.idle = !d.idle
		t.changed(d)
	}
	return false
}

// becomesIdle reports whether a device is to be counted as idle. A device whose last-seen time
// a wrong clock set to the future is not.
func (t *Txn) becomesIdle(d *device) bool { return t.idleFor(d, delivery.IdleApart) }

func (t *Txn) idleFor(d *device, least time.Duration) bool {
	return !d.seenAt.IsZero() && !t.sure.Before(d.seenAt.Add(least))
}

// forgettable reports whether a device that does not come back can be removed: no Welcome waits
// for it or for its answer, and none can come, so it needs no private key any more.
func (t *Txn) forgettable(w *idleWalk, d *device) bool {
	after := t.limits.ForgetDevicesAfter
	if after == 0 || !t.idleFor(d, after) || !w.watched(t.sure) {
		return false
	}
	if d.waiting+d.delivered+d.available+d.retired > 0 || len(t.keys(kindDevices, d.key(rowKeyPackage), 1)) > 0 {
		return false
	}
	empty := true
	t.eachOnShelf(d, 0, func(*keyPackage) bool { empty = false; return false })
	return empty
}

// forgetDevice removes a device that does not come back, as RemoveDevice does. Nobody has asked
// for it, so the file of revocations gets no line. A restore may bring the device back with its
// tokens; then sweeps forget it again.
func (t *Txn) forgetDevice(d *device) {
	t.revokeTokens(delivery.TokenOwner{User: d.id.User, Device: d.id.Name})
	// A moment before now, so that whoever removes it now removes it once more: that has
	// a line in the file of revocations, which forgetting has not.
	t.removeDevice(d, t.now.Add(-time.Millisecond), t.next())
}
