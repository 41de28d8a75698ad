package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/trials/harness"
)

// A year is one that is being lived.
type year struct {
	config
	limits   delivery.Limits
	clock    *storetest.Clock
	begun    time.Time // by the clock
	path     string
	store    *bolt.Store
	commits  int // before the store was last opened
	written  int64
	random   *rand.Rand
	users    []*user // those that have left are replaced
	left     []*user // and remembered
	byDevice map[delivery.DeviceID]*device
	byUser   map[delivery.UserID]*user
	sessions map[time.Time][]*device // by the step in which they begin
	groups   []*group                // under way
	welcomes []*welcome              // that the store still knows
	made     int                     // groups, ever
	joined   int                     // users, ever
	report   report

	mu     sync.Mutex
	counts map[string]int // what has happened
}

// arrivals is how long it takes until the first users are all there: people do
// not all come, and their KeyPackages do not all end, on one day.
const arrivals = 45 * day

func newYear(c config, dir string, out io.Writer) (*year, error) {
	y := &year{
		config: c, limits: delivery.DefaultLimits(), clock: storetest.NewClock(), path: filepath.Join(dir, "year.db"),
		random: rand.New(rand.NewPCG(c.seed, 0)), byDevice: map[delivery.DeviceID]*device{},
		byUser: map[delivery.UserID]*user{}, sessions: map[time.Time][]*device{}, counts: map[string]int{},
	}
	y.begun = y.clock.Now()
	y.report.begin(y, out)
	within := min(arrivals, time.Duration(c.days)*day/4)
	for range c.users / c.scale {
		y.arrive(y.begun.Add(time.Duration(y.random.Int64N(int64(within)))))
	}
	return y, y.open()
}

func (y *year) open() (err error) {
	y.store, err = bolt.Open(y.path, bolt.Options{Limits: y.limits, Clock: y.clock, LogSize: y.logSize})
	return err
}

func (y *year) close() { _ = y.store.Close() }

// arrive adds a user, who signs up at a time.
func (y *year) arrive(at time.Time) {
	y.joined++
	u := newUser(y.seed, y.joined)
	for range u.howMany() {
		u.newDevice(at)
	}
	y.users = append(y.users, u)
	y.byUser[u.id] = u
	for _, d := range u.devices {
		y.expect(d)
	}
}

// expect puts the device's next session into the calendar.
func (y *year) expect(d *device) {
	if y.byDevice[d.id] == nil {
		y.byDevice[d.id] = d
	}
	if !d.next.IsZero() {
		at := d.next.Truncate(y.step)
		if !at.After(y.clock.Now()) {
			at = y.clock.Now().Truncate(y.step).Add(y.step)
		}
		y.sessions[at] = append(y.sessions[at], d)
	}
}

func (y *year) device(id delivery.DeviceID) *device { return y.byDevice[id] }

func (y *year) count(what string, n int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.counts[what] += n
}

// live lets time pass, step by step, until that many days have.
func (y *year) live(ctx context.Context, days int) error {
	end := y.begun.Add(time.Duration(days) * day)
	for y.clock.Now().Before(end) {
		y.clock.Advance(y.step)
		if err := y.oneStep(ctx); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			return fmt.Errorf("day %d: %w", y.today(), err)
		}
	}
	return nil
}

func (y *year) today() int { return int(y.clock.Now().Sub(y.begun) / day) }

// oneStep is all that happens until the clock moves again. Those who act at the
// same time do so from several goroutines; the ledger is written when all of them
// have their answers, and does not depend on who was first.
func (y *year) oneStep(ctx context.Context) error {
	now := y.clock.Now()
	if _, err := y.store.Sweep(ctx); err != nil {
		return disagree("sweep: %v", err)
	}
	if now.Sub(y.begun)%day < y.step {
		if err := y.endOfDay(ctx, now); err != nil {
			return err
		}
	}
	if err := y.online(ctx, now); err != nil {
		return err
	}
	y.ageMembers(now)
	for _, phase := range []func(context.Context, time.Time) error{y.listing, y.reserving, y.posting, y.ending} {
		if err := phase(ctx, now); err != nil {
			return err
		}
	}
	y.groups = slices.DeleteFunc(y.groups, func(g *group) bool { return g.stage == done || g.adder.removed })
	return nil
}

// online has every device whose session it is act, those of one user one after
// the other.
func (y *year) online(ctx context.Context, now time.Time) error {
	at := now.Truncate(y.step)
	devices := y.sessions[at]
	delete(y.sessions, at)
	byUser := map[*user][]*device{}
	var users []*user
	for _, d := range devices {
		if byUser[d.user] == nil {
			users = append(users, d.user)
		}
		byUser[d.user] = append(byUser[d.user], d)
	}
	made := make([]int, len(users))
	err := y.together(len(users), func(i int) error {
		made[i] = len(users[i].devices)
		for _, d := range byUser[users[i]] {
			if d.removed {
				continue
			}
			y.count("session", 1)
			if err := y.session(ctx, d); err != nil {
				return err
			}
		}
		return nil
	})
	for i, u := range users {
		for _, d := range append(byUser[u], u.devices[made[i]:]...) {
			if !d.removed {
				y.expect(d)
			}
		}
	}
	y.replaceGone(now)
	return err
}

// replaceGone has somebody sign up for everybody who has left.
func (y *year) replaceGone(now time.Time) {
	for i := 0; i < len(y.users); i++ {
		if !y.users[i].gone {
			continue
		}
		y.left = append(y.left, y.users[i])
		y.arrive(now.Add(day))
		y.users[i] = y.users[len(y.users)-1]
		y.users = y.users[:len(y.users)-1]
	}
}

// ageMembers brings the ledger of everybody up to date with whom a group deals in
// this step.
func (y *year) ageMembers(now time.Time) {
	y.groups = append(y.groups, y.newGroups(now)...)
	for _, g := range y.groups {
		for _, id := range g.members {
			for _, d := range y.byUser[id].devices {
				d.age(now)
			}
		}
	}
}

func (y *year) listing(ctx context.Context, _ time.Time) error {
	groups := y.at(toList)
	return y.together(len(groups), func(i int) error { return y.list(ctx, groups[i]) })
}

func (y *year) reserving(ctx context.Context, now time.Time) error {
	return y.phase(ctx, now, toReserve, y.reserve, y.reserved, y.compareShelves)
}

func (y *year) posting(ctx context.Context, now time.Time) error {
	return y.phase(ctx, now, toPost, y.post, y.posted, y.judged)
}

func (y *year) ending(ctx context.Context, now time.Time) error {
	return y.phase(ctx, now, toEnd, y.end, y.finished)
}

// phase has all groups of a stage act together, and then notes what came of it.
func (y *year) phase(ctx context.Context, now time.Time, s stage, act func(context.Context, *group) error, note ...func(*group, time.Time) error) error {
	groups := y.at(s)
	if err := y.together(len(groups), func(i int) error { return act(ctx, groups[i]) }); err != nil {
		return err
	}
	for _, n := range note {
		for _, g := range groups {
			if err := n(g, now); err != nil {
				return err
			}
		}
	}
	return nil
}

func (y *year) at(s stage) (groups []*group) {
	for _, g := range y.groups {
		if g.stage == s && !g.adder.removed {
			groups = append(groups, g)
		}
	}
	return groups
}

// together makes n calls from several goroutines and returns the first error.
func (y *year) together(n int, call func(i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, y.callers)
	for range min(y.callers, n) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := call(int(i)); err != nil {
					next.Store(int64(n))
					errs <- err
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// endOfDay compares the books, and once a month restarts the store.
func (y *year) endOfDay(ctx context.Context, now time.Time) error {
	if err := y.compareStats(ctx, now); err != nil {
		return err
	}
	today := y.today()
	if today%7 == 0 || today == y.days {
		if err := y.compareOutcomes(ctx, now); err != nil {
			return err
		}
		y.report.week(y)
	}
	if today%30 == 0 {
		return y.restart()
	}
	return nil
}

func (y *year) restart() error {
	y.commits += y.store.Commits()
	if err := y.store.Close(); err != nil {
		return err
	}
	return y.open()
}

// finish compacts the file, looks whether all is still in it, and prints what the
// year comes to.
func (y *year) finish(ctx context.Context) error {
	y.commits += y.store.Commits()
	if err := y.store.Close(); err != nil {
		return err
	}
	y.written, _ = harness.BytesWritten() // before the compaction; unknown if this is not Linux
	before, err := os.Stat(y.path)
	if err != nil {
		return err
	}
	compacted := y.path + ".compacted"
	if err := bolt.Compact(ctx, y.path, compacted, nil); err != nil {
		return err
	}
	after, err := os.Stat(compacted)
	if err != nil {
		return err
	}
	y.path = compacted
	if err := y.open(); err != nil {
		return err
	}
	if _, err := y.store.Sweep(ctx); err != nil { // counts what the last removals have ended
		return disagree("sweep: %v", err)
	}
	if err := y.compareAll(ctx, y.clock.Now()); err != nil {
		return fmt.Errorf("after a compaction: %w", err)
	}
	return y.report.end(y, before.Size(), after.Size())
}
