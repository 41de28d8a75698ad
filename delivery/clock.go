package delivery

import (
	"fmt"
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

// clockFloor has passed, so a clock that shows an earlier time is wrong: it
// starts in 1970 where there is no clock chip, or where the system was built.
// What a first start dated then would have had its time as soon as NTP corrects
// the clock. It is the year of the Go release that go.mod asks for, to be moved
// up at times, and not the date of the commit that a build knows: that is as wrong
// as somebody's clock was, and a floor in the future stops a server whose clock is
// right.
var clockFloor = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

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
// is new. With trust the clock is taken as it is (--trust-clock), also where it
// shows a time that cannot be, except that it still may not be behind.
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
	Behind bool      // Now is so far behind Seen, or so early, that the server is not ready
	Sweep  bool      // Now may be used to end things
	// Impossible: both Now and Seen have passed before this program was written.
	// Nothing may be dated by them.
	Impossible bool
}

// Doubt returns [ErrClock] with the reason why Now may not be used to end
// things; nil if it may.
func (r ClockReading) Doubt() error {
	now, seen := r.Now.UTC().Format(time.RFC3339), r.Seen.UTC().Format(time.RFC3339)
	switch {
	case r.Impossible:
		return fmt.Errorf("%w: it says %s, which cannot be", ErrClock, now)
	case r.Behind:
		return fmt.Errorf("%w: it says %s, but %s has been seen", ErrClock, now, seen)
	case !r.Sweep:
		return fmt.Errorf("%w: it has jumped ahead from %s to %s", ErrClock, seen, now)
	}
	return nil
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
	impossible := !g.trust && later(g.seen, now).Before(clockFloor)
	behind := impossible || g.seen.Sub(now) > clockBehind
	return ClockReading{Now: now, Seen: g.seen, Behind: behind, Sweep: !behind && !g.waiting, Impossible: impossible}
}
