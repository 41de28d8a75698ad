package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"welcomed/delivery"
)

// tombstoneBytes is what the memory of an ended KeyPackage may take, and that of
// an ended recipient of a Welcome, which its poster may ask for.
const tombstoneBytes = 100

// late is how much later than promised the store may forget, besides a step.
const late = 2 * time.Hour

// A census counts what the ledger holds. Of what has ended, least are those that
// the store must remember, most with those that it may be about to forget.
type census struct {
	devices         int
	ok, low, empty  int
	least, most     map[delivery.KeyPackageState]int
	leastW, mostW   map[delivery.WelcomeState]int
	holdsOverdue    int
	oldestPending   time.Time
	keyPackageBytes int
	welcomeBytes    int
	tombstones      int
	outcomes        int // recipients of Welcomes that have ended
}

func (c *census) payload() int {
	return c.keyPackageBytes + c.welcomeBytes + (c.tombstones+c.outcomes)*tombstoneBytes
}

// compareStats counts the ledger, puts away what is forgotten, and compares with
// what the store says it holds.
func (y *year) compareStats(ctx context.Context, now time.Time) error {
	c := &census{
		least: map[delivery.KeyPackageState]int{}, most: map[delivery.KeyPackageState]int{},
		leastW: map[delivery.WelcomeState]int{}, mostW: map[delivery.WelcomeState]int{},
	}
	for _, users := range [][]*user{y.users, y.left} {
		for _, u := range users {
			for _, d := range u.devices {
				d.age(now)
				y.countDevice(c, d, now)
			}
		}
	}
	if err := y.countWelcomes(ctx, c, now); err != nil {
		return err
	}
	s, err := y.store.Stats(ctx)
	if err != nil {
		return disagree("stats: %v", err)
	}
	info, err := os.Stat(y.path)
	if err != nil {
		return err
	}
	y.report.day(y, c, s, info.Size())
	return errors.Join(c.compare(s), y.report.bounded(y))
}

func (y *year) countDevice(c *census, d *device, now time.Time) {
	for _, k := range d.keyPackages {
		c.least[k.rec.State]++
		c.most[k.rec.State]++
		c.keyPackageBytes += k.size
	}
	kept := d.tombstones[:0]
	for _, k := range d.tombstones {
		forget := k.rec.forgetAt(y.limits, k.closed)
		if !now.Before(forget.Add(late + y.step)) {
			continue
		}
		kept = append(kept, k)
		c.tombstones++
		c.most[k.rec.State]++
		if now.Before(forget) {
			c.least[k.rec.State]++
		}
	}
	clear(d.tombstones[len(kept):])
	d.tombstones = kept
	y.countStock(c, d)
}

func (y *year) countStock(c *census, d *device) {
	if d.removed || d.inventory.IsZero() {
		return // gone, or not there yet
	}
	c.devices++
	switch ordinary, _ := d.shelf(); {
	case len(ordinary) == 0:
		c.empty++
	case len(ordinary) < y.limits.LowWatermark:
		c.low++
	default:
		c.ok++
	}
}

func (y *year) countWelcomes(ctx context.Context, c *census, now time.Time) error {
	kept := y.welcomes[:0]
	for _, w := range y.welcomes {
		last, ended := w.ended()
		forget := last.Add(y.limits.OutcomesKept)
		if ended && !now.Before(forget.Add(late+y.step)) {
			if _, err := y.store.Outcome(ctx, w.poster, w.id); !errors.Is(err, delivery.ErrNotFound) {
				return disagree("Welcome %s ended on %s and is not forgotten: %v", w.id, last, err)
			}
			continue
		}
		kept = append(kept, w)
		w.count(c, !ended || now.Before(forget))
		if ended {
			c.outcomes += len(w.recipients)
		}
		if !ended {
			c.welcomeBytes += w.size
			if w.heldTooLong(y.limits, now) {
				c.holdsOverdue++
			}
		}
	}
	clear(y.welcomes[len(kept):])
	y.welcomes = kept
	return nil
}

func (w *welcome) count(c *census, certain bool) {
	for _, m := range w.recipients {
		c.mostW[m.rec.State]++
		if certain {
			c.leastW[m.rec.State]++
		}
		if m.rec.State == delivery.Pending && (c.oldestPending.IsZero() || w.postedAt.Before(c.oldestPending)) {
			c.oldestPending = w.postedAt
		}
	}
}

func (w *welcome) heldTooLong(l delivery.Limits, now time.Time) bool {
	for _, m := range w.recipients {
		if !m.rec.releasedAt.IsZero() {
			return false
		}
	}
	return w.hold && !w.cancelled && !now.Before(w.postedAt.Add(l.HoldOverdue))
}

// compare checks what the store says it holds.
func (c *census) compare(s delivery.Stats) error {
	var errs []error
	for _, state := range delivery.KeyPackageStates {
		if n := s.KeyPackages[state]; n < c.least[state] || n > c.most[state] {
			errs = append(errs, disagree("%d KeyPackages are %s, by the ledger %d to %d", n, state, c.least[state], c.most[state]))
		}
	}
	for _, state := range delivery.WelcomeStates {
		if n := s.Welcomes[state]; n < c.leastW[state] || n > c.mostW[state] {
			errs = append(errs, disagree("%d recipients are %s, by the ledger %d to %d", n, state, c.leastW[state], c.mostW[state]))
		}
	}
	// Those that were not seen for long are counted apart, whatever they have. Since when
	// that is, the store knows to a day.
	empty := s.DevicesEmpty + s.DevicesLastResort
	if s.DevicesOK > c.ok || s.DevicesLow > c.low || empty > c.empty || s.DevicesOK+s.DevicesLow+empty+s.DevicesIdle != c.ok+c.low+c.empty {
		errs = append(errs, disagree("%d devices are well stocked, %d low, %d empty, %d idle; by the ledger %d, %d, %d, those that are idle among them",
			s.DevicesOK, s.DevicesLow, empty, s.DevicesIdle, c.ok, c.low, c.empty))
	}
	if s.Overdue != 0 || s.HoldsOverdue != c.holdsOverdue {
		errs = append(errs, disagree("%d Welcomes are overdue, and %d holds; by the ledger 0 and %d", s.Overdue, s.HoldsOverdue, c.holdsOverdue))
	}
	if !s.OldestPending.Equal(c.oldestPending) {
		errs = append(errs, disagree("the oldest Welcome that waits is of %s, by the ledger of %s", s.OldestPending, c.oldestPending))
	}
	return errors.Join(errs...)
}

// compareOutcomes asks what has become of every Welcome that the store remembers.
func (y *year) compareOutcomes(ctx context.Context, now time.Time) error {
	return y.together(len(y.welcomes), func(i int) error {
		w := y.welcomes[i]
		last, ended := w.ended()
		o, err := y.store.Outcome(ctx, w.poster, w.id)
		if errors.Is(err, delivery.ErrNotFound) && ended && !now.Before(last.Add(y.limits.OutcomesKept)) {
			return nil
		}
		if err != nil {
			return disagree("outcome of Welcome %s: %v", w.id, err)
		}
		return w.compare(o)
	})
}

// compareAll compares everything that the store can be asked for: also what each
// device has, and what has become of each KeyPackage.
func (y *year) compareAll(ctx context.Context, now time.Time) error {
	if err := y.compareStats(ctx, now); err != nil {
		return err
	}
	if err := y.compareOutcomes(ctx, now); err != nil {
		return err
	}
	for _, u := range y.users {
		for _, d := range u.devices {
			if err := y.compareDevice(ctx, d, now); err != nil {
				return err
			}
		}
	}
	return nil
}

func (y *year) compareDevice(ctx context.Context, d *device, now time.Time) error {
	inventory, err := y.store.Inventory(ctx, d.self, d.id)
	if err != nil {
		return disagree("inventory of %s: %v", d.id, err)
	}
	if needed := d.needed(now); !slices.Equal(needed, inventory.Refs) {
		return disagree("%s needs %d keys, by the ledger %d", d.id, len(inventory.Refs), len(needed))
	}
	for _, k := range slices.Concat(d.keyPackages, d.tombstones) {
		status, err := y.store.KeyPackage(ctx, d.self, k.rec.Ref)
		if errors.Is(err, delivery.ErrNotFound) && !k.closed.IsZero() && !now.Before(k.rec.forgetAt(y.limits, k.closed)) {
			continue
		}
		if err != nil || status.State != k.rec.State || status.Device != d.id {
			return disagree("%s of %s is %s, by the ledger %s: %v", k.rec.Ref, d.id, status.State, k.rec.State, err)
		}
	}
	return nil
}
