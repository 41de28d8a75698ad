// Package storetest is the suite that every [delivery.Store] passes: one test
// for each promise of the contract, none for how it is kept.
//
// It owns the clock, waits for events and never for time, and assumes neither
// one writer nor many. After every test it recounts what [delivery.Stats]
// claims, and again after the store was closed and opened.
package storetest

import (
	"sync"
	"testing"
	"time"

	"welcomed/delivery"
)

// A Fixture is a place where one store can be kept.
type Fixture struct {
	// Open opens the store, which is empty the first time. It is called again
	// only after Close.
	Open func(t *testing.T, clock delivery.Clock, limits delivery.Limits) delivery.Store
	// Commits returns how many transactions were committed so far, -1 if that
	// is not known. It may be nil.
	Commits func() int
	// MarkRestored makes the store, which is closed, one that was put back to a
	// backup. It may be nil.
	MarkRestored func(t *testing.T)
	// Damage flips a bit of the store, which is closed. It may be nil: then the tests of
	// damage are skipped.
	Damage func(t *testing.T, d Damage)
	// Moves says that Open moves the store to another place, so that its events stay behind.
	Moves bool
}

// A promise is a test whose name is a sentence.
type promise struct {
	sentence string
	test     func(w *world)
}

// start returns when the clock stands at the store's first opening: a promise
// whose sentence begins with a date is about that day.
func (p promise) start() time.Time {
	if date, err := time.Parse(time.DateOnly, p.sentence[:min(len(time.DateOnly), len(p.sentence))]); err == nil {
		return date.Add(12 * time.Hour)
	}
	return NewClock().Now()
}

var chapters = []struct {
	name     string
	promises []promise
}{
	{"Publish", publishPromises},
	{"Replace", replacePromises},
	{"List", listPromises},
	{"Reserve", reservePromises},
	{"GiveBack", giveBackPromises},
	{"LastResort", lastResortPromises},
	{"Spent", spentPromises},
	{"Post", postPromises},
	{"Hold", holdPromises},
	{"Claim", claimPromises},
	{"Settle", settlePromises},
	{"Inventory", inventoryPromises},
	{"Remove", removePromises},
	{"Idle", idlePromises},
	{"History", historyPromises},
	{"Caller", callerPromises},
	{"Token", tokenPromises},
	{"Time", timePromises},
	{"Clock", clockPromises},
	{"FirstStart", firstStartPromises},
	{"Lifetime", lifetimePromises},
	{"Calendar", calendarPromises},
	{"Restore", restorePromises},
	{"Stats", statsPromises},
	{"Durability", durabilityPromises},
	{"Concurrency", concurrencyPromises},
	{"Sweeping", sweepingPromises},
	{"Damage", damagePromises},
	{"Events", eventPromises},
	{"Hints", hintPromises},
}

// Run tests the stores that are kept in the fixtures of newFixture, of which
// every test gets its own.
func Run(t *testing.T, newFixture func(t *testing.T) Fixture) {
	for _, c := range chapters {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range c.promises {
				t.Run(p.sentence, func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, newFixture(t), p.start())
					p.test(w)
					w.audit()
				})
			}
		})
	}
}

// A Clock is a [delivery.Clock] that stands still until it is moved.
type Clock struct {
	mu      sync.Mutex
	now     time.Time
	elapsed time.Duration
}

// NewClock returns a clock that shows a morning in 2030.
func NewClock() *Clock {
	return &Clock{now: time.Date(2030, time.March, 4, 9, 0, 0, 0, time.UTC)}
}

// Now implements [delivery.Clock].
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Elapsed implements [delivery.Clock].
func (c *Clock) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.elapsed
}

// Advance lets d pass.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.elapsed = c.now.Add(d), c.elapsed+d
}

// Jump sets the wall clock ahead by d, or back, while no time passes.
func (c *Clock) Jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
