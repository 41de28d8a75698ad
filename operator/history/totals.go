// Package history remembers for a day what a server counts, in a fixed amount of memory: about
// a quarter of a megabyte. It is lost when the process ends. The package knows neither who
// counts nor who shows it.
package history

import (
	"slices"
	"time"
)

// Totals has what was counted since the start of the process, or in a part of that time. All
// totals of a process have the same lists in the same order.
type Totals struct {
	Published  uint64  // KeyPackages
	Reserved   []Count // devices, by outcome
	Matched    uint64  // recipients
	Mismatches []Count // recipients, by reason
	Claims     []Count // by outcome
	OverBudget []Count // requests, by budget
	Refused    uint64  // requests and connections, by any cap
	Damaged    uint64  // parts of the store
	Commits    Commits
}

// A Count is how often something happened.
type Count struct {
	Label string
	N     uint64
}

// Commits has how many commits there were, by how long they took.
type Commits struct {
	Bounds []float64 // seconds, ascending
	Counts []uint64  // those that took no longer than the bound, and longer than the one before; the last took longer than all
}

// numbers returns pointers to the numbers of t, always in the same order.
func (t *Totals) numbers() []*uint64 {
	all := []*uint64{&t.Published, &t.Matched, &t.Refused, &t.Damaged}
	for _, counts := range [][]Count{t.Reserved, t.Mismatches, t.Claims, t.OverBudget} {
		for i := range counts {
			all = append(all, &counts[i].N)
		}
	}
	for i := range t.Commits.Counts {
		all = append(all, &t.Commits.Counts[i])
	}
	return all
}

// clone returns a copy that shares no numbers.
func (t Totals) clone() Totals {
	t.Reserved, t.Mismatches = slices.Clone(t.Reserved), slices.Clone(t.Mismatches)
	t.Claims, t.OverBudget = slices.Clone(t.Claims), slices.Clone(t.OverBudget)
	t.Commits.Counts = slices.Clone(t.Commits.Counts)
	return t
}

// zero returns totals of the same shape in which nothing was counted.
func (t Totals) zero() Totals {
	t = t.clone()
	for _, n := range t.numbers() {
		*n = 0
	}
	return t
}

// Sum returns how often anything of these happened.
func Sum(counts []Count) (n uint64) {
	for _, c := range counts {
		n += c.N
	}
	return n
}

// Of returns how often those with that label happened.
func Of(counts []Count, label string) uint64 {
	for _, c := range counts {
		if c.Label == label {
			return c.N
		}
	}
	return 0
}

// Count returns how many commits there were.
func (c Commits) Count() (n uint64) {
	for _, k := range c.Counts {
		n += k
	}
	return n
}

// Quantile returns how long the fastest share q of the commits took at most. It computes that
// as histogram_quantile of Prometheus does: it takes what lies between two bounds to be spread
// evenly, and what is above the last bound to be equal to it. ok is false if there were no
// commits.
func (c Commits) Quantile(q float64) (d time.Duration, ok bool) {
	rank, below := q*float64(c.Count()), 0.0
	if c.Count() == 0 || len(c.Bounds) == 0 {
		return 0, false
	}
	lower := 0.0
	for i, bound := range c.Bounds {
		n := float64(c.Counts[i])
		if n > 0 && below+n >= rank {
			return seconds(lower + (bound-lower)*(rank-below)/n), true
		}
		below, lower = below+n, bound
	}
	return seconds(lower), true
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
