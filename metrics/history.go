package metrics

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"welcomed/delivery"
	"welcomed/operator/history"
)

// History returns a history of these metrics and of what store holds, with a
// sample every so often once it runs.
func (m *Metrics) History(store delivery.Store, every time.Duration, clock delivery.Clock) *history.History {
	return history.New(history.Options{
		Every:  every,
		Totals: m.Totals,
		Clock:  clock,
		Levels: func(ctx context.Context) (history.Levels, error) {
			ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
			defer cancel()
			stats, err := store.Stats(ctx)
			return history.Levels{
				Available: stats.KeyPackages[delivery.Available],
				Pending:   stats.Welcomes[delivery.Pending],
			}, err
		},
	})
}

// Totals reads the counters that a scrape reads.
func (m *Metrics) Totals() history.Totals {
	reasons := append(slices.Clip(delivery.Mismatches), mismatchWithheld, mismatchRejected)
	return history.Totals{
		Published:  read(m.published),
		Matched:    read(m.matched),
		Reserved:   counts(append(slices.Clip(delivery.DeviceReserveStatuses), reservationAbandoned), m.reserved.of),
		Mismatches: counts(reasons, m.mismatchesFor),
		Claims:     counts(claimOutcomes, m.claims.of),
		OverBudget: counts(allBudgets, m.exceeded.of),
		Refused:    history.Sum(counts(caps, m.refused.of)),
		Damaged:    history.Sum(counts(delivery.DamagedKinds, m.damaged.of)),
		Commits:    readCommits(m.commitSeconds),
	}
}

// mismatchesFor returns the one counter with that reason.
func (m *Metrics) mismatchesFor(reason delivery.Status) prometheus.Counter {
	at := atPost
	switch reason {
	case mismatchWithheld:
		at = atClaim
	case mismatchRejected:
		at = atReject
	}
	return m.mismatches.WithLabelValues(string(at), string(reason))
}

// SweptAt returns when the last sweep ended well; zero before the first.
func (m *Metrics) SweptAt() time.Time {
	if t := value(m.swept).GetGauge().GetValue(); t > 0 {
		return time.Unix(int64(t), 0)
	}
	return time.Time{}
}

func counts[T ~string](labels []T, of func(T) prometheus.Counter) []history.Count {
	all := make([]history.Count, len(labels))
	for i, label := range labels {
		all[i] = history.Count{Label: string(label), N: read(of(label))}
	}
	return all
}

func read(c prometheus.Counter) uint64 { return uint64(value(c).GetCounter().GetValue()) }

func value(m prometheus.Metric) *dto.Metric {
	var v dto.Metric
	_ = m.Write(&v) // only a metric that is not valid has an error
	return &v
}

func readCommits(h prometheus.Histogram) (c history.Commits) {
	seen := value(h).GetHistogram()
	var below uint64
	for _, b := range seen.GetBucket() {
		c.Bounds = append(c.Bounds, b.GetUpperBound())
		c.Counts = append(c.Counts, b.GetCumulativeCount()-below)
		below = b.GetCumulativeCount()
	}
	c.Counts = append(c.Counts, seen.GetSampleCount()-below)
	return c
}
