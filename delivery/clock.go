package delivery

import (
	"sync"
	"time"
)

// A Clock tells the time. Tests own one; the server uses [SystemClock].
type Clock interface {
	// Now is the wall clock, which people and NTP may set.
	Now() time.Time
	// Elapsed is the time since some fixed moment by a clock that only runs
	// forward.
	Elapsed() time.Duration
}

// SystemClock returns the clock of the machine.
func SystemClock() Clock { return systemClock{time.Now()} }

type systemClock struct{ started time.Time }

func (c systemClock) Now() time.Time         { return time.Now().UTC() }
func (c systemClock) Elapsed() time.Duration { return time.Since(c.started) }

const (
	clockBehind = time.Hour // further behind the latest time seen: not ready
	clockJump   = day       // a jump ahead by more is not trusted
	clockSettle = time.Hour // until the time has held this long
)

// A ClockGuard decides whether the clock can be trusted. Small machines have
// no clock chip: they start in the past, or in a wrong future until NTP
// corrects them, and a sweep in a wrong future would end everything.
type ClockGuard struct {
	clock   Clock
	trust   bool
	mu      sync.Mutex
	seen    time.Time     // the latest time known
	wall    time.Time     // at the last look
	elapsed time.Duration // at the last look
	jumped  time.Duration // elapsed at the last jump ahead
	waiting bool          // for a jump to have held
}

// NewClockGuard starts from the latest time that a store has seen, zero if it
// is new. With trust the clock is taken as it is (--trust-clock), except that
// it still may not be behind.
func NewClockGuard(clock Clock, seen time.Time, trust bool) *ClockGuard {
	g := &ClockGuard{clock: clock, trust: trust, seen: seen, wall: seen, elapsed: clock.Elapsed()}
	if seen.IsZero() {
		g.seen = clock.Now()
		g.wall = g.seen
	}
	g.Look()
	return g
}

// A ClockReading is one look at a guarded clock.
type ClockReading struct {
	Now    time.Time
	Seen   time.Time // the latest time known, to be kept by the store
	Behind bool      // Now is so far behind Seen that the server is not ready
	Sweep  bool      // Now may be used to end things
}

// Look reads the clock and judges it.
func (g *ClockGuard) Look() ClockReading {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, elapsed := g.clock.Now(), g.clock.Elapsed()
	// A clock that comes back from the past to the time last seen has not
	// jumped: it was corrected.
	ahead := now.Sub(later(g.seen, g.wall.Add(elapsed-g.elapsed)))
	if ahead > clockJump {
		g.waiting, g.jumped = true, elapsed
	}
	if now.Sub(g.seen) <= clockJump {
		g.waiting = false
	}
	g.wall, g.elapsed = now, elapsed
	if g.waiting && (g.trust || elapsed-g.jumped >= clockSettle) {
		g.waiting = false
	}
	if !g.waiting && now.After(g.seen) {
		g.seen = now
	}
	behind := g.seen.Sub(now) > clockBehind
	return ClockReading{Now: now, Seen: g.seen, Behind: behind, Sweep: !behind && !g.waiting}
}
