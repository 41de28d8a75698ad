package history

import (
	"context"
	"sync"
	"time"

	"welcomed/delivery"
)

// Kept is how many samples are kept: one a minute, for a day.
const Kept = 24 * 60

// Options say what a History samples.
type Options struct {
	Every  time.Duration // between two samples
	Totals func() Totals // since the start of the process
	Levels func(context.Context) (Levels, error)
	Clock  delivery.Clock
}

// Levels has what there was at a moment.
type Levels struct {
	Available int // KeyPackages on all shelves
	Pending   int // Welcomes that wait
}

// unknown stands for a level that could not be read.
const unknown = ^uint32(0)

// A sample has what was known at a moment. Numbers are counted since the start, modulo 2³².
// Only differences of them are used, and no day has as many.
type sample struct {
	elapsed            time.Duration
	numbers            []uint32
	available, pending uint32
}

// A History samples counters. Its times are by a clock that only runs forward.
type History struct {
	options Options
	started time.Time
	begin   time.Duration // on the clock

	mu      sync.Mutex
	samples []sample // a ring of at most Kept+1
	oldest  int      // its place in samples
}

// New returns a History that begins now.
func New(o Options) *History {
	h := &History{options: o, started: o.Clock.Now(), begin: o.Clock.Elapsed()}
	h.add(h.read(o.Totals(), Levels{-1, -1}))
	return h
}

// Run samples until ctx is done.
func (h *History) Run(ctx context.Context) {
	tick := time.NewTicker(h.options.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.Sample(ctx)
		}
	}
}

// Sample takes one sample, without levels that cannot be read.
func (h *History) Sample(ctx context.Context) {
	levels, err := h.options.Levels(ctx)
	if err != nil {
		levels = Levels{-1, -1}
	}
	h.add(h.read(h.options.Totals(), levels))
}

func (h *History) read(t Totals, l Levels) sample {
	places := t.numbers()
	s := sample{elapsed: h.elapsed(), numbers: make([]uint32, len(places)), available: level(l.Available), pending: level(l.Pending)}
	for i, n := range places {
		s.numbers[i] = uint32(*n)
	}
	return s
}

func level(n int) uint32 {
	if n < 0 || int64(n) >= int64(unknown) {
		return unknown
	}
	return uint32(n)
}

func (h *History) elapsed() time.Duration { return h.options.Clock.Elapsed() - h.begin }

func (h *History) add(s sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.samples) <= Kept {
		h.samples = append(h.samples, s)
		return
	}
	h.samples[h.oldest] = s
	h.oldest = (h.oldest + 1) % len(h.samples)
}

// at returns the i-th sample, from 0 for the oldest.
func (h *History) at(i int) *sample { return &h.samples[(h.oldest+i)%len(h.samples)] }

// Started returns when the History began, by the wall clock at that time.
func (h *History) Started() time.Time { return h.started }

// Uptime returns for how long it has been going on.
func (h *History) Uptime() time.Duration { return h.elapsed() }

// Totals returns what was counted since the start of the process.
func (h *History) Totals() Totals { return h.options.Totals() }

// Last returns what was counted within the last d, or a little more: since the last sample that
// is at least as old, or since the start if there is none. It also returns how long that is.
func (h *History) Last(d time.Duration) (Totals, time.Duration) {
	now := h.options.Totals()
	h.mu.Lock()
	defer h.mu.Unlock()
	elapsed := h.elapsed()
	from := h.at(0)
	for i := len(h.samples) - 1; i >= 0; i-- {
		if s := h.at(i); elapsed-s.elapsed >= d {
			from = s
			break
		}
	}
	return since(now, from.numbers), elapsed - from.elapsed
}

// since returns the differences between t and an earlier sample.
func since(t Totals, earlier []uint32) Totals {
	t = t.clone()
	for i, n := range t.numbers() {
		*n = uint64(uint32(*n) - earlier[i])
	}
	return t
}

// A Column has what was counted in one of several equal parts of time, and the levels at its
// end.
type Column struct {
	Known     bool // false: before the start, or no sample was taken
	Totals    Totals
	Available int // -1: not known
	Pending   int // -1: not known
}

// Columns returns what was counted in the last n parts of time. The last one is not over yet.
// Each part is width times the time between two samples.
func (h *History) Columns(n, width int) []Column {
	now := h.options.Totals()
	h.mu.Lock()
	defer h.mu.Unlock()
	columns := make([]Column, n)
	for i := range columns {
		columns[i] = Column{Totals: now.zero(), Available: -1, Pending: -1}
	}
	live := h.read(now, Levels{-1, -1})
	last := h.column(live.elapsed, width)
	before := h.at(0)
	for i := 1; i <= len(h.samples); i++ {
		s := &live
		if i < len(h.samples) {
			s = h.at(i)
		}
		// A sample that is taken at the very end of a column, or a little later,
		// belongs to that one.
		at := h.column(s.elapsed-h.options.Every/2, width)
		if i == len(h.samples) {
			at = last
		}
		if place := n - 1 - (last - at); place >= 0 {
			columns[place].add(before, s)
		}
		before = s
	}
	return columns
}

// column returns the number of the column in which a time is.
func (h *History) column(elapsed time.Duration, width int) int {
	return int(max(0, elapsed) / (h.options.Every * time.Duration(width)))
}

func (c *Column) add(from, to *sample) {
	c.Known = true
	for i, n := range c.Totals.numbers() {
		*n += uint64(to.numbers[i] - from.numbers[i])
	}
	if to.available != unknown {
		c.Available = int(to.available)
	}
	if to.pending != unknown {
		c.Pending = int(to.pending)
	}
}

// Every returns the time between two samples.
func (h *History) Every() time.Duration { return h.options.Every }
