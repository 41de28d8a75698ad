package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"welcomed/delivery"
)

// scrapeTimeout is how long a scrape may wait for the store.
const scrapeTimeout = 5 * time.Second

// A stockLevel says how many KeyPackages a device has left.
type stockLevel string

const (
	stockOK    stockLevel = "ok"
	stockLow   stockLevel = "low"
	stockEmpty stockLevel = "empty"
)

// holdings collects what a store holds, by asking it.
type holdings struct {
	store delivery.Store
	now   func() time.Time

	keyPackages, welcomes, devices         *prometheus.Desc
	overdue, holdsOverdue, oldestPending   *prometheus.Desc
	usedBytes, freeBytes, limitBytes, open *prometheus.Desc
}

func newHoldings(store delivery.Store, now func() time.Time) *holdings {
	return &holdings{
		store: store, now: now,
		keyPackages:   describe("key_packages", "KeyPackages by state; ended ones while they are remembered.", "state"),
		welcomes:      describe("welcomes", "Recipients of Welcomes by state; ended ones while their outcome is kept.", "state"),
		devices:       describe("devices", "Devices by how many KeyPackages they have left, last resort not counted.", "stock"),
		overdue:       describe("welcomes_overdue", "Welcomes pending although the device has claimed since. Should be 0."),
		holdsOverdue:  describe("holds_overdue", "Welcomes whose hold nobody has ended in time."),
		oldestPending: describe("oldest_pending_welcome_seconds", "Age of the Welcome that waits longest; 0 if none does."),
		usedBytes:     describe("store_used_bytes", "Bytes in use in the store."),
		freeBytes:     describe("store_free_bytes", "Bytes inside the file that can be used again."),
		limitBytes:    describe("store_limit_bytes", "What the store may grow to; 0 if there is no limit."),
		open:          describe("store_open_read_transactions", "Read transactions that are open."),
	}
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// Describe implements prometheus.Collector.
func (h *holdings) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{h.keyPackages, h.welcomes, h.devices, h.overdue, h.holdsOverdue,
		h.oldestPending, h.usedBytes, h.freeBytes, h.limitBytes, h.open} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. If the store does not answer, its
// series are missing from this scrape, and the error is the handler's to log.
func (h *holdings) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	stats, err := h.store.Stats(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(h.keyPackages, err)
		return
	}
	h.collect(stats, func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	})
}

func (h *holdings) collect(s delivery.Stats, gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	for _, state := range delivery.KeyPackageStates {
		gauge(h.keyPackages, float64(s.KeyPackages[state]), state.String())
	}
	for _, state := range delivery.WelcomeStates {
		gauge(h.welcomes, float64(s.Welcomes[state]), state.String())
	}
	gauge(h.devices, float64(s.DevicesOK), string(stockOK))
	gauge(h.devices, float64(s.DevicesLow), string(stockLow))
	gauge(h.devices, float64(s.DevicesEmpty), string(stockEmpty))
	gauge(h.overdue, float64(s.Overdue))
	gauge(h.holdsOverdue, float64(s.HoldsOverdue))
	gauge(h.oldestPending, h.age(s.OldestPending))
	gauge(h.usedBytes, float64(s.UsedBytes))
	gauge(h.freeBytes, float64(s.FreeBytes))
	gauge(h.limitBytes, float64(s.LimitBytes))
	gauge(h.open, float64(s.OpenReads))
}

func (h *holdings) age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, h.now().Sub(t).Seconds())
}
