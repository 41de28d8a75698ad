package delivery

import (
	"errors"
	"testing"
	"time"
)

type testClock struct {
	now     time.Time
	elapsed time.Duration
}

func (c *testClock) Now() time.Time         { return c.now }
func (c *testClock) Elapsed() time.Duration { return c.elapsed }

// A clockStep lets time pass, sets the wall clock, and expects a judgement.
type clockStep struct {
	passes, jumps time.Duration
	behind, sweep bool
	back          bool // the time that is certain goes back
}

func TestClockGuard(t *testing.T) {
	start := time.Date(2030, time.March, 4, 9, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name  string
		seen  time.Duration // relative to the clock
		fresh bool          // nothing was seen
		trust bool
		steps []clockStep
	}{
		{"a new store trusts its clock", 0, true, false, []clockStep{{sweep: true}}},
		{"time that passes is no jump", 0, false, false, []clockStep{
			{passes: 400 * day, sweep: true}, {passes: 400 * day, sweep: true}}},
		{"a little behind is not behind", 0, false, false, []clockStep{
			{jumps: -time.Hour, sweep: true}, {jumps: -time.Second, behind: true}, {passes: time.Second, sweep: true}}},
		{"a little ahead is no jump", 0, false, false, []clockStep{{jumps: day, sweep: true}}},
		{"a jump ahead is trusted after an hour", 0, false, false, []clockStep{
			{jumps: day + time.Second}, {passes: time.Hour - time.Second}, {passes: time.Second, sweep: true}}},
		{"another jump starts the hour anew", 0, false, false, []clockStep{
			{jumps: 2 * day}, {passes: 50 * time.Minute}, {jumps: 2 * day}, {passes: 50 * time.Minute}, {passes: 10 * time.Minute, sweep: true}}},
		{"a jump that is taken back was none", 0, false, false, []clockStep{
			{jumps: 900 * day}, {passes: time.Minute}, {jumps: -900 * day, sweep: true}}},
		{"a clock corrected from the past has not jumped", 0, false, false, []clockStep{
			{jumps: -900 * day, behind: true}, {jumps: 900 * day, sweep: true}}},
		{"a clock corrected from the past far beyond what was seen has", 0, false, false, []clockStep{
			{jumps: -900 * day, behind: true}, {jumps: 902 * day}, {passes: time.Hour, sweep: true}}},
		{"a start in the past is behind", 2 * time.Hour, false, false, []clockStep{
			{behind: true}, {passes: time.Hour, sweep: true}}},
		{"a start far ahead has jumped", -2 * day, false, false, []clockStep{{}, {passes: time.Hour, sweep: true}}},
		{"a start a little ahead has not", -day, false, false, []clockStep{{sweep: true}}},

		{"a start ahead of the right time is taken back at once", -time.Minute, false, false, []clockStep{
			{jumps: 8 * time.Hour, sweep: true}, {passes: time.Minute, sweep: true}, {jumps: -8 * time.Hour, sweep: true, back: true}}},
		{"so is one that has run for days like that", -time.Minute, false, false, []clockStep{
			{jumps: 8 * time.Hour, sweep: true}, {passes: 5 * day, sweep: true}, {jumps: -8 * time.Hour, sweep: true, back: true}}},
		{"so is a jump that was trusted wrongly", 0, false, false, []clockStep{
			{jumps: 400 * day}, {passes: time.Hour, sweep: true}, {passes: 3 * day, sweep: true}, {jumps: -400 * day, sweep: true, back: true}}},
		{"so is one that was ahead by an hour", -time.Minute, false, false, []clockStep{
			{jumps: time.Hour, sweep: true}, {passes: time.Minute, sweep: true}, {jumps: -time.Hour, sweep: true, back: true}}},
		{"a little behind what was known is not believed, and not doubted", 0, false, false, []clockStep{
			{jumps: -2 * time.Minute, sweep: true}, {passes: time.Minute, sweep: true}}},
		{"nor is an adjustment", -time.Minute, false, false, []clockStep{
			{jumps: time.Minute, sweep: true}, {jumps: -time.Minute, sweep: true}}},
		{"a new store knows nothing that the clock could contradict", 0, true, false, []clockStep{
			{sweep: true}, {passes: day, sweep: true}, {jumps: -400 * day, sweep: true, back: true}}},
		{"a clock that contradicts what was known is not believed", 0, false, false, []clockStep{
			{passes: 30 * day, sweep: true}, {jumps: -29 * day, behind: true}, {passes: 28 * day, behind: true}, {passes: day, sweep: true}}},
		{"unless it is less than a day behind and has held for an hour", 20 * time.Hour, false, false, []clockStep{
			{behind: true}, {passes: time.Hour - time.Second, behind: true}, {passes: time.Second, sweep: true, back: true}, {passes: day, sweep: true}}},
		{"held means since it came within a day", 2 * day, false, false, []clockStep{
			{behind: true}, {passes: 23 * time.Hour, behind: true}, {passes: time.Hour, behind: true}, {passes: time.Hour, sweep: true, back: true}}},
		{"what was believed then is known", 20 * time.Hour, false, false, []clockStep{
			{behind: true}, {passes: time.Hour, sweep: true, back: true}, {jumps: -2 * time.Hour, behind: true}}},

		{"who trusts the clock does not wait", -900 * day, false, true, []clockStep{
			{sweep: true}, {jumps: 900 * day, sweep: true}}},
		{"nor when it is behind", 400 * day, false, true, []clockStep{
			{sweep: true}, {jumps: -2 * day, sweep: true, back: true}, {passes: 3 * day, sweep: true}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &testClock{now: start, elapsed: time.Minute}
			var seen time.Time
			if !test.fresh {
				seen = start.Add(test.seen)
			}
			g := NewClockGuard(c, seen, test.trust)
			last := g.Look().Sure
			for i, step := range test.steps {
				c.now, c.elapsed = c.now.Add(step.passes+step.jumps), c.elapsed+step.passes
				r := g.Look()
				if r.Behind != step.behind || r.Sweep != step.sweep {
					t.Fatalf("step %d: behind %v, sweep %v; want %v, %v", i, r.Behind, r.Sweep, step.behind, step.sweep)
				}
				if !r.Wall.Equal(c.now) || r.Sure.Before(last) != step.back || r.Sweep && r.Sure.Before(r.Wall) || r.Now.Before(r.Sure) || r.Sweep && !r.Now.Equal(r.Sure) {
					t.Fatalf("step %d: %+v, before that %v", i, r, last)
				}
				last = r.Sure
			}
		})
	}
}

// While a jump ahead is not believed, what happens is dated by the clock, and what
// ends ends by the time that has passed.
func TestClockGuardKeepsTwoTimes(t *testing.T) {
	start := time.Date(2030, time.March, 4, 9, 0, 0, 0, time.UTC)
	c := &testClock{now: start}
	g := NewClockGuard(c, start, false)
	c.now = start.Add(40 * day)
	g.Look()
	c.now, c.elapsed = c.now.Add(10*time.Minute), 10*time.Minute
	if r := g.Look(); !r.Now.Equal(c.now) || !r.Sure.Equal(start.Add(10*time.Minute)) {
		t.Fatalf("%+v", r)
	}
	c.now, c.elapsed = c.now.Add(50*time.Minute), time.Hour
	if r := g.Look(); !r.Now.Equal(c.now) || !r.Sure.Equal(c.now) {
		t.Fatalf("after an hour: %+v", r)
	}
}

// What a server wrote down while it did not trust its clock must not make a
// later start trust it.
func TestClockGuardKeepsNoUntrustedTime(t *testing.T) {
	start := time.Date(2030, time.March, 4, 9, 0, 0, 0, time.UTC)
	c := &testClock{now: start.Add(30 * day)}
	if sure := NewClockGuard(c, start, false).Look().Sure; !sure.Equal(start) {
		t.Fatalf("sure is %v", sure)
	}
}

// A machine without a clock chip starts in 1970, also the second time.
func TestClockGuardKnowsATimeThatCannotBe(t *testing.T) {
	early, right := time.Unix(20, 0).UTC(), time.Date(2030, time.March, 4, 9, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name                     string
		seen, now                time.Time
		trust                    bool
		impossible, behind, ends bool
	}{
		{"a first start in 1970", time.Time{}, early, false, true, true, false},
		{"a second one", early, early.Add(time.Minute), false, true, true, false},
		{"a start when the system was built", time.Time{}, clockFloor.Add(-time.Second), false, true, true, false},
		{"the first moment that can be", time.Time{}, clockFloor, false, false, false, true},
		{"a first start at the right time", time.Time{}, right, false, false, false, true},
		{"1970 after the right time was seen", right, early, false, false, true, false},
		{"the right time after 1970 was seen", early, right, false, false, false, false},
		{"who trusts the clock starts in 1970", time.Time{}, early, true, false, false, true},
		{"who trusts the clock is behind nevertheless", right, early, true, false, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &testClock{now: test.now}
			r := NewClockGuard(c, test.seen, test.trust).Look()
			if r.Impossible != test.impossible || r.Behind != test.behind || r.Sweep != test.ends {
				t.Errorf("impossible %v, behind %v, sweep %v", r.Impossible, r.Behind, r.Sweep)
			}
			if doubt := r.Doubt(); (doubt == nil) != r.Sweep || !r.Sweep && !errors.Is(doubt, ErrClock) {
				t.Errorf("doubt %v", doubt)
			}
		})
	}
}

// The floor is what is known of the time by whoever wrote this. If it were ahead
// of it, no new server would start.
func TestClockFloorHasPassed(t *testing.T) {
	if now := time.Now(); now.Before(clockFloor) {
		t.Errorf("%v is before %v", now, clockFloor)
	}
}

// Each of several processes looks at its own clock, at other times than the others, and is
// told what the database has kept.
func TestClockGuardLearnsFromOtherProcesses(t *testing.T) {
	start := time.Date(2030, time.March, 4, 9, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name  string
		known time.Duration // when the guard began, relative to the start
		kept  time.Duration // by another process, since
		wall  time.Duration
		sure  time.Duration // what the guard says then
		sweep bool
	}{
		{"another has believed a jump ahead", 0, 3 * day, 3*day + time.Hour, 3*day + time.Hour, true},
		{"one that is alone has not", 0, 0, 3 * day, 0, false},
		{"a clock that was ahead when this one began was wrong", 12 * time.Hour, 0, time.Minute, time.Minute, true},
		{"nobody has found that out yet", 12 * time.Hour, 12 * time.Hour, time.Minute, 12 * time.Hour, false},
		{"it was years ahead", 900 * day, 0, time.Minute, time.Minute, true},
		{"a commit that is a little older says nothing", time.Second, 0, time.Second, time.Second, true},
		{"another's clock is ahead of this one by hours", 0, 3 * time.Hour, time.Minute, time.Minute, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &testClock{now: start.Add(test.known)}
			g := NewClockGuard(c, start.Add(test.known), false)
			c.now = start.Add(test.wall)
			g.Saw(start.Add(test.kept))
			if r := g.Look(); !r.Sure.Equal(start.Add(test.sure)) || r.Sweep != test.sweep {
				t.Errorf("%v is sure, not %v; sweep %v", r.Sure, start.Add(test.sure), r.Sweep)
			}
			g.Saw(start.Add(test.kept)) // again
			if r := g.Look(); !r.Sure.Equal(start.Add(test.sure)) {
				t.Errorf("then %v is sure", r.Sure)
			}
		})
	}
}
