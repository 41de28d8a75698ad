package load

import (
	"slices"
	"time"
)

// A Measure is what the requests of one kind took, at one number of callers.
type Measure struct {
	Operation string
	Callers   int
	Requests  int
	Objects   int           // that the requests were about: KeyPackages, Welcomes or recipients
	Elapsed   time.Duration // from the first request to the last answer; 0 if they had their own times
	Processor time.Duration // that this process took meanwhile; 0 if nobody counted
	Received  int64         // bytes of the answers, headers too; 0 if nobody counted
	Throttled int           // requests that were sent again because of a 429

	took []time.Duration // sorted
}

func newMeasure(operation string, callers int, took []time.Duration) Measure {
	slices.Sort(took)
	return Measure{Operation: operation, Callers: callers, Requests: len(took), Objects: len(took), took: took}
}

// PerSecond returns how many objects were served in a second, or 0 if there was
// no stretch of time in which nothing else happened.
func (m Measure) PerSecond() float64 {
	if m.Elapsed == 0 {
		return 0
	}
	return float64(m.Objects) / m.Elapsed.Seconds()
}

// Percentile returns the time within which at least p of all requests were
// answered, 0 < p <= 1: exactly, by nearest rank.
func (m Measure) Percentile(p float64) time.Duration {
	if len(m.took) == 0 {
		return 0
	}
	rank := int(p * float64(len(m.took)))
	if float64(rank) < p*float64(len(m.took)) {
		rank++
	}
	return m.took[min(max(rank, 1), len(m.took))-1]
}

// join returns what measures of the same operation are together.
func join(measures ...Measure) Measure {
	all := measures[0]
	all.took = slices.Clone(all.took)
	for _, m := range measures[1:] {
		all.took = append(all.took, m.took...)
		all.Requests += m.Requests
		all.Objects += m.Objects
		all.Elapsed += m.Elapsed
		all.Processor += m.Processor
		all.Received += m.Received
		all.Throttled += m.Throttled
	}
	slices.Sort(all.took)
	return all
}
