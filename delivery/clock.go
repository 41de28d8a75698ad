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
	clockBehind   = time.Hour   // further behind the time that has come: not ready
	clockJump     = day         // a jump ahead by more is not believed
	clockSettle   = time.Hour   // until the time has held this long
	clockAdjusted = time.Minute // set back by more: it may have been wrong before
)

// clockFloor has passed, so a clock that shows an earlier time is wrong: it
// starts in 1970 where there is no clock chip, or where the system was built.
// What a first start dated then would have had its time as soon as NTP corrects
// the clock. It is the year of the Go release that go.mod asks for, to be moved
// up at times, and not the date of the commit that a build knows: that is as wrong
// as somebody's clock was, and a floor in the future stops a server whose clock is
// right.
var clockFloor = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// A ClockGuard decides what the clock is believed. Small machines have no clock
// chip, or one that shows local time: they start in the past, or in a wrong future
// until NTP corrects them, and a sweep in a wrong future would end everything.
//
// A clock that jumps ahead by more than a day is believed after an hour. A clock
// that goes back by more than an hour is believed
//
//   - at once, if it agrees with what was known when the guard began and with the
//     time that has passed since: then what it said in between was wrong, also if it
//     was ahead by less than that hour, but more than a minute;
//   - after an hour, if it is at most a day behind;
//   - else only when the operator says so (--trust-clock), or when it has caught up.
//
// The operator's word ends every doubt, except that a time which cannot be does
// not follow one that can, and that none before 1970 can be kept.
type ClockGuard struct {
	clock   Clock
	trust   bool
	known   time.Time     // when the guard began; zero: nothing
	begun   time.Duration // elapsed then
	mu      sync.Mutex
	sure    time.Time     // has come, as far as is known
	wall    time.Time     // at the last look
	elapsed time.Duration // at the last look
	ahead   doubt         // about a jump ahead
	behind  doubt         // about a clock that is behind
	kept    time.Time     // the last that Saw was told
}

// A doubt lasts until the clock has held for clockSettle.
type doubt struct {
	is    bool
	since time.Duration // elapsed
}

func (d *doubt) begin(elapsed time.Duration) { *d = doubt{true, elapsed} }

// settled reports whether the doubt has ended by now.
func (d *doubt) settled(elapsed time.Duration) bool { return elapsed-d.since >= clockSettle }

// NewClockGuard starts from the time that has come as far as a store knows, zero
// if it is new. With trust the clock is taken as it is (--trust-clock).
func NewClockGuard(clock Clock, seen time.Time, trust bool) *ClockGuard {
	g := &ClockGuard{clock: clock, trust: trust, known: seen, sure: seen, wall: seen, elapsed: clock.Elapsed(), kept: seen}
	g.begun = g.elapsed
	if seen.IsZero() {
		g.sure = clock.Now()
		g.wall = g.sure
	}
	g.Look()
	return g
}

// Saw tells the guard of one of several processes which time the database has kept last as
// having come for certain. Another process may have kept a later one: what it has believed
// needs no doubt. If the database has gone back, another process has found that the clock
// was wrong. A process that began while it was wrong cannot find that out by itself.
func (g *ClockGuard) Saw(kept time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.kept
	g.kept = kept
	switch {
	case kept.After(was) && kept.After(g.sure):
		g.sure, g.ahead = kept, doubt{}
	case was.Sub(kept) > clockAdjusted && g.sure.Sub(kept) > clockAdjusted:
		elapsed := g.clock.Elapsed()
		g.sure, g.known, g.begun = kept, kept, elapsed
		g.wall, g.elapsed = kept, elapsed
		g.ahead, g.behind = doubt{}, doubt{}
	}
}

// A ClockReading is one look at a guarded clock.
type ClockReading struct {
	Wall time.Time // what the clock says
	// Sure has come for certain: by it things end. A store keeps it. It goes back
	// only if the clock was wrong.
	Sure time.Time
	// Now is what happens dated by: Sure, or later while a jump ahead is not
	// believed yet, so that what is kept for a time is not kept too short.
	Now    time.Time
	Behind bool // Wall is so far behind Sure, or so early, that the server is not ready
	Sweep  bool // Wall is believed, and may be used to end things
	// Impossible: both Wall and Sure have passed before this program was written.
	// Nothing may be dated by them.
	Impossible bool
}

// Doubt returns [ErrClock] with the reason why nothing may be ended, and with what
// ends the doubt; nil if there is none.
func (r ClockReading) Doubt() error {
	wall, sure := r.Wall.UTC().Format(time.RFC3339), r.Sure.UTC().Format(time.RFC3339)
	switch {
	case r.Impossible:
		return fmt.Errorf("%w: it says %s, which cannot be, and nothing is taken until it is right", ErrClock, wall)
	case r.Behind && r.Wall.Before(clockFloor):
		return fmt.Errorf("%w: it says %s, which cannot be, and %s has been seen; set it", ErrClock, wall, sure)
	case r.Behind && r.Sure.Sub(r.Wall) <= clockJump:
		return fmt.Errorf("%w: it says %s, but %s has been seen; it is believed when it has held for an hour, or at a start with --trust-clock", ErrClock, wall, sure)
	case r.Behind:
		return fmt.Errorf("%w: it says %s, but %s has been seen; set it or, if it is right now and was wrong then, start once with --trust-clock", ErrClock, wall, sure)
	case !r.Sweep:
		return fmt.Errorf("%w: it has jumped ahead from %s to %s; it is believed when it has held for an hour, or at a start with --trust-clock", ErrClock, sure, wall)
	}
	return nil
}

// Look reads the clock and judges it.
func (g *ClockGuard) Look() ClockReading {
	g.mu.Lock()
	defer g.mu.Unlock()
	wall, elapsed := g.clock.Now(), g.clock.Elapsed()
	passed := elapsed - g.elapsed
	if g.ahead.is {
		g.sure = g.sure.Add(passed) // whatever the clock says
	}
	// A clock that comes back from the past to the time that has come has not
	// jumped: it was corrected.
	due := later(g.sure, g.wall.Add(passed))
	g.wall, g.elapsed = wall, elapsed
	possible := !wall.Before(clockFloor)
	switch {
	case g.trust && (possible || g.sure.Before(clockFloor) && wall.Unix() > 0):
		g.believe()
	case wall.Sub(g.sure) > clockJump:
		g.lookAhead(due)
	case g.sure.Sub(wall) > clockBehind && possible:
		g.lookBehind()
	case g.sure.Sub(wall) > clockAdjusted && possible && !wall.Before(g.known.Add(elapsed-g.begun-clockAdjusted)):
		g.believe()
	case wall.After(g.sure):
		g.believe()
	default:
		g.ahead, g.behind = doubt{}, doubt{}
	}
	r := ClockReading{Wall: wall, Sure: g.sure, Now: g.sure}
	if g.ahead.is {
		r.Now = wall
	}
	r.Impossible = !g.trust && g.sure.Before(clockFloor) && !possible
	r.Behind = r.Impossible || g.sure.Sub(wall) > clockBehind
	r.Sweep = !r.Behind && !g.ahead.is
	return r
}

// believe takes the time as it is.
func (g *ClockGuard) believe() {
	g.sure, g.ahead, g.behind = g.wall, doubt{}, doubt{}
}

// lookAhead judges a clock that is more than clockJump ahead of the time that has
// come; due is what it would show if it had not jumped since the last look.
func (g *ClockGuard) lookAhead(due time.Time) {
	g.behind = doubt{}
	switch {
	case g.wall.Sub(due) > clockJump:
		g.ahead.begin(g.elapsed)
	case !g.ahead.is, g.ahead.settled(g.elapsed):
		g.believe()
	}
}

// lookBehind judges a clock that is more than clockBehind behind.
func (g *ClockGuard) lookBehind() {
	g.ahead = doubt{}
	switch {
	case !g.wall.Before(g.known.Add(g.elapsed - g.begun - clockBehind)):
		g.believe()
	case g.sure.Sub(g.wall) > clockJump:
		g.behind = doubt{}
	case !g.behind.is:
		g.behind.begin(g.elapsed)
	case g.behind.settled(g.elapsed):
		g.believe()
		g.known, g.begun = g.wall, g.elapsed
	}
}
