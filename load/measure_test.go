package load

import (
	"testing"
	"time"
)

func TestPercentilesAreExact(t *testing.T) {
	took := make([]time.Duration, 1000)
	for i := range took {
		took[i] = time.Duration(1000 - i)
	}
	m := newMeasure("claim", 1, took)
	for p, want := range map[float64]time.Duration{0.0001: 1, 0.5: 500, 0.99: 990, 0.999: 999, 0.9991: 1000, 1: 1000} {
		if got := m.Percentile(p); got != want {
			t.Errorf("percentile %g is %d, want %d", p, got, want)
		}
	}
	if got := newMeasure("claim", 1, []time.Duration{7}).Percentile(0.5); got != 7 {
		t.Errorf("the median of one is %d", got)
	}
	if got := (Measure{}).Percentile(0.5); got != 0 {
		t.Errorf("the median of nothing is %d", got)
	}
}

func TestMeasuresJoin(t *testing.T) {
	room := append(make([]time.Duration, 0, 8), 3, 1)
	one, two := newMeasure("claim", 4, room), newMeasure("claim", 4, []time.Duration{2})
	one.Elapsed, two.Elapsed, one.Received, two.Throttled = time.Second, time.Second, 10, 1
	all := join(one, two)
	if all.Requests != 3 || all.PerSecond() != 1.5 || all.Received != 10 || all.Throttled != 1 || all.Percentile(0.5) != 2 {
		t.Errorf("got %+v", all)
	}
	if one.Percentile(0.5) != 1 || one.Percentile(1) != 3 || one.Requests != 2 {
		t.Error("joining changed what was joined")
	}
}
