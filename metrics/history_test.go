package metrics

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"welcomed/delivery"
)

func TestTotalsAreWhatAScrapeSees(t *testing.T) {
	registry, m, _ := newMetrics(&answering{})
	some := func() float64 { return float64(1 + rand.IntN(1000)) }
	m.published.Add(some())
	m.matched.Add(some())
	for _, outcome := range append(delivery.DeviceReserveStatuses, reservationAbandoned) {
		m.reserved.of(outcome).Add(some())
	}
	for _, reason := range append(delivery.Mismatches, mismatchWithheld, mismatchRejected) {
		m.mismatchesFor(reason).Add(some())
	}
	for _, outcome := range claimOutcomes {
		m.claims.of(outcome).Add(some())
	}
	for _, b := range allBudgets {
		m.exceeded.of(b).Add(some())
	}
	for _, c := range caps {
		m.refused.of(c).Add(some())
	}
	for _, kind := range delivery.DamagedKinds {
		m.ObserveDamage(delivery.DamagedPart{Kind: kind})
	}
	for _, took := range []time.Duration{0, time.Millisecond, 2 * time.Millisecond, time.Minute} {
		m.ObserveCommit(1, took)
	}

	got, scraped := m.Totals(), samples(t, registry)
	same := func(series string, n uint64) {
		t.Helper()
		if want, ok := scraped[series]; !ok || float64(n) != want {
			t.Errorf("%s: %d, scraped %v", series, n, want)
		}
	}
	same("key_packages_published_total", got.Published)
	same("welcome_matches_total", got.Matched)
	same("store_commit_seconds", got.Commits.Count())
	for _, c := range got.Reserved {
		same("key_packages_reserved_total{outcome="+c.Label+"}", c.N)
	}
	for _, c := range got.Claims {
		same("welcome_claims_total{outcome="+c.Label+"}", c.N)
	}
	for _, c := range got.OverBudget {
		same("budget_exceeded_total{budget="+c.Label+"}", c.N)
	}
	at := map[string]string{"withheld": "claim", "rejected": "reject"}
	for _, c := range got.Mismatches {
		place := at[c.Label]
		if place == "" {
			place = "post"
		}
		same("welcome_mismatches_total{at="+place+",reason="+c.Label+"}", c.N)
	}
	refused := 0.0
	for _, c := range caps {
		refused += scraped["refused_requests_total{cap="+string(c)+"}"]
	}
	if float64(got.Refused) != refused {
		t.Errorf("%d refused, scraped %v", got.Refused, refused)
	}
	if got.Damaged != uint64(len(delivery.DamagedKinds)) {
		t.Errorf("%d damaged", got.Damaged)
	}
	if n := got.Commits.Counts; n[0] != 1 || n[1] != 1 || n[2] != 1 || n[len(n)-1] != 1 {
		t.Errorf("commits by duration: %v", n)
	}
	// Every series of these counters is among the totals.
	if got, want := len(got.Mismatches), countSeries(scraped, "welcome_mismatches_total{"); got != want {
		t.Errorf("%d mismatches, scraped %d series", got, want)
	}
}

func countSeries(scraped map[string]float64, prefix string) (n int) {
	for series := range scraped {
		if len(series) > len(prefix) && series[:len(prefix)] == prefix {
			n++
		}
	}
	return n
}

func TestTheHistoryIsOfWhatTheStoreHolds(t *testing.T) {
	a := &answering{stats: delivery.Stats{
		KeyPackages: map[delivery.KeyPackageState]int{delivery.Available: 7},
		Welcomes:    map[delivery.WelcomeState]int{delivery.Pending: 3},
	}}
	_, m, s := newMetrics(a)
	h := m.History(s, time.Minute, delivery.SystemClock())
	h.Sample(t.Context())
	if c := h.Columns(1, 1)[0]; c.Available != 7 || c.Pending != 3 {
		t.Errorf("%+v", c)
	}
	a.err = errors.New("closed")
	h.Sample(t.Context())
	if c := h.Columns(1, 1)[0]; c.Available != 7 {
		t.Errorf("after a store that does not answer: %+v", c)
	}
	if !m.SweptAt().IsZero() {
		t.Error("swept before the first sweep")
	}
	a.err = nil
	_, _ = s.Sweep(t.Context())
	if got := m.SweptAt(); !got.Equal(time.Unix(1000, 0)) {
		t.Errorf("swept at %s", got)
	}
}
