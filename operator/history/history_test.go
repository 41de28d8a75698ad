package history

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A handClock is moved by a test.
type handClock struct{ elapsed time.Duration }

func (c *handClock) Now() time.Time {
	return time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC).Add(c.elapsed)
}
func (c *handClock) Elapsed() time.Duration { return c.elapsed }

// A counted thing is a History of numbers that a test counts up.
type counted struct {
	*History
	clock  *handClock
	totals Totals
	levels Levels
	err    error
}

func count() *counted {
	c := &counted{clock: &handClock{elapsed: 7 * time.Hour}}
	c.totals = Totals{
		Reserved: []Count{{"reserved", 0}}, Mismatches: []Count{{"unknown", 0}, {"taken", 0}}, Claims: []Count{{"delivered", 0}},
		OverBudget: []Count{{"target", 0}}, Commits: Commits{Bounds: []float64{.001, .01}, Counts: []uint64{0, 0, 0}},
	}
	c.History = New(Options{
		Every: time.Minute, Clock: c.clock,
		Totals: func() Totals { return c.totals.clone() },
		Levels: func(context.Context) (Levels, error) { return c.levels, c.err },
	})
	return c
}

func (c *counted) sample(t *testing.T, after time.Duration) {
	t.Helper()
	c.clock.elapsed += after
	c.Sample(t.Context())
}

func published(columns []Column) (n []uint64) {
	for _, c := range columns {
		n = append(n, c.Totals.Published)
	}
	return n
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: got %v, want %v", what, got, want)
		}
	}
}

func TestWhatIsCountedIsInTheColumnOfItsTime(t *testing.T) {
	c := count()
	c.totals.Published = 5
	c.sample(t, time.Minute+3*time.Millisecond) // a tick is never early
	c.totals.Published = 7
	c.sample(t, time.Minute)
	c.totals.Published = 8
	c.clock.elapsed += 20 * time.Second
	equal(t, "a minute each", published(c.Columns(4, 1)), []uint64{0, 5, 2, 1})
	equal(t, "two minutes each", published(c.Columns(3, 2)), []uint64{0, 7, 1})
	known := []bool{}
	for _, column := range c.Columns(4, 1) {
		known = append(known, column.Known)
	}
	equal(t, "known", known, []bool{false, true, true, true})
}

func TestEveryNumberIsInTheColumns(t *testing.T) {
	c := count()
	for i, n := range c.totals.numbers() {
		*n = uint64(i + 1)
	}
	c.sample(t, time.Minute)
	for i, n := range c.totals.numbers() {
		*n += uint64(10 * (i + 1))
	}
	sum := c.totals.zero()
	for _, column := range c.Columns(5, 1) {
		for i, n := range column.Totals.numbers() {
			*sum.numbers()[i] += *n
		}
	}
	for i, n := range sum.numbers() {
		if *n != uint64(11*(i+1)) {
			t.Errorf("number %d: %d, want %d", i, *n, 11*(i+1))
		}
	}
}

func TestAMinuteWithoutASampleIsAGap(t *testing.T) {
	c := count()
	c.totals.Published = 1
	c.sample(t, time.Minute)
	c.totals.Published = 9
	c.sample(t, 3*time.Minute) // a machine that was busy
	columns := c.Columns(6, 1)
	equal(t, "published", published(columns), []uint64{0, 1, 0, 0, 8, 0})
	if columns[2].Known || columns[3].Known {
		t.Error("what was not sampled is known")
	}
}

func TestLevelsThatAreNotKnownAreLeftOut(t *testing.T) {
	c := count()
	c.levels = Levels{Available: 3, Pending: 0}
	c.sample(t, time.Minute)
	c.err = errors.New("closed")
	c.sample(t, time.Minute)
	columns := c.Columns(3, 1)
	if columns[0].Available != 3 || columns[0].Pending != 0 || columns[1].Available != -1 || columns[1].Pending != -1 {
		t.Errorf("%+v", columns)
	}
}

func TestADayIsKeptAndNoMore(t *testing.T) {
	c := count()
	for range Kept + 500 {
		c.totals.Published++
		c.sample(t, time.Minute)
	}
	if len(c.samples) != Kept+1 {
		t.Fatalf("%d samples are kept", len(c.samples))
	}
	columns := c.Columns(120, Kept/120)
	sum := uint64(0)
	for i, n := range published(columns) {
		sum += n
		if i > 0 && i < 119 && n != 12 {
			t.Errorf("column %d has %d, want 12", i, n)
		}
	}
	if sum < Kept-12 || sum > Kept {
		t.Errorf("%d in a day", sum)
	}
	last, took := c.Last(time.Hour)
	if last.Published != 60 || took != time.Hour {
		t.Errorf("%d in %s", last.Published, took)
	}
}

func TestTheLastHourOfAYoungServerIsShorter(t *testing.T) {
	c := count()
	c.totals.Mismatches[1].N = 4
	c.clock.elapsed += 10 * time.Second
	last, took := c.Last(time.Hour)
	if Sum(last.Mismatches) != 4 || took != 10*time.Second {
		t.Errorf("%+v in %s", last, took)
	}
}

func TestCountersMayPass32Bits(t *testing.T) {
	c := count()
	c.totals.Published = 1<<32 - 2
	c.sample(t, time.Minute)
	c.totals.Published += 5
	c.sample(t, time.Minute)
	equal(t, "published", published(c.Columns(2, 1)), []uint64{5, 0})
}

func TestQuantilesAreThoseOfPrometheus(t *testing.T) {
	c := Commits{Bounds: []float64{.001, .01, .1}, Counts: []uint64{10, 80, 10, 0}}
	for q, want := range map[float64]time.Duration{
		.05: 500 * time.Microsecond,
		.5:  5500 * time.Microsecond,
		.99: 91 * time.Millisecond,
	} {
		if got, ok := c.Quantile(q); !ok || (got-want).Abs() > time.Microsecond {
			t.Errorf("%v: %s, want %s", q, got, want)
		}
	}
	if got, ok := (Commits{Bounds: []float64{1}, Counts: []uint64{0, 3}}).Quantile(.5); !ok || got != time.Second {
		t.Errorf("above all bounds: %s", got)
	}
	if _, ok := (Commits{Bounds: []float64{1}, Counts: []uint64{0, 0}}).Quantile(.5); ok {
		t.Error("no commits have a quantile")
	}
}
