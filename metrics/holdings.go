package metrics

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"welcomed/delivery"
	"welcomed/mls"
)

// lastSuite is the last of the suites that can be accepted, from 1.
const lastSuite mls.CipherSuite = 7

// scrapeTimeout is how long a scrape may wait for the store.
const scrapeTimeout = 5 * time.Second

// A stockLevel says how many KeyPackages a device has left.
type stockLevel string

const (
	stockOK    stockLevel = "ok"
	stockLow   stockLevel = "low"
	stockEmpty stockLevel = "empty"
	// by design, and there is one
	stockLastResort stockLevel = "last_resort"
)

// holdings collects what a store holds, by asking it.
type holdings struct {
	store delivery.Store
	now   func() time.Time

	keyPackages, welcomes, devices         *prometheus.Desc
	overdue, holdsOverdue, oldestPending   *prometheus.Desc
	usedBytes, freeBytes, limitBytes, open *prometheus.Desc
	onShelf, soonestEnd, diskFree          *prometheus.Desc
	restored, backedUp, idle, hints        *prometheus.Desc
}

func newHoldings(store delivery.Store, now func() time.Time) *holdings {
	return &holdings{
		store: store, now: now,
		keyPackages:   describe("key_packages", "KeyPackages by state; ended ones while they are remembered.", "state"),
		welcomes:      describe("welcomes", "Recipients of Welcomes by state; ended ones while their outcome is kept.", "state"),
		devices:       describe("devices", "Devices by how many KeyPackages they have left that are valid, last resort not counted; last_resort: it publishes nothing else, and has one. Idle ones are left out.", "stock"),
		idle:          describe("devices_idle", "Devices that were not seen for 90 days."),
		overdue:       describe("welcomes_overdue", "Welcomes pending although the device has claimed since. Should be 0."),
		holdsOverdue:  describe("holds_overdue", "Welcomes whose hold nobody has ended in time."),
		oldestPending: describe("oldest_pending_welcome_seconds", "Age of the Welcome that waits longest; 0 if none does."),
		usedBytes:     describe("store_used_bytes", "Bytes in use in the store."),
		freeBytes:     describe("store_free_bytes", "Bytes inside the file that can be used again."),
		limitBytes:    describe("store_limit_bytes", "What the store may grow to; 0 if there is no limit."),
		open:          describe("store_open_read_transactions", "Read transactions that are open."),
		onShelf:       describe("shelf_key_packages", "KeyPackages that can be handed out, of all devices together.", "cipher_suite", "last_resort"),
		soonestEnd:    describe("shelf_soonest_end_timestamp_seconds", "When the next KeyPackage leaves its shelf because of its age or lifetime; 0 if none is on one."),
		diskFree:      describe("store_disk_free_bytes", "Bytes that the file system of the store has left; -1 if it does not say."),
		restored:      describe("store_restored_timestamp_seconds", "When the shelves were retired because the store was a copy; 0 if never."),
		backedUp:      describe("backup_last_success_timestamp_seconds", "When the last backup was safe where it was to go; 0 if none ever was."),
		hints:         describe("webhook_waiting_hints", "Hints that wait for the webhook, or are being sent."),
	}
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// Describe implements prometheus.Collector.
func (h *holdings) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{h.keyPackages, h.welcomes, h.devices, h.idle, h.overdue, h.holdsOverdue,
		h.oldestPending, h.usedBytes, h.freeBytes, h.limitBytes, h.open, h.onShelf, h.soonestEnd, h.diskFree, h.restored, h.backedUp, h.hints} {
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
	gauge(h.devices, float64(s.DevicesLastResort), string(stockLastResort))
	gauge(h.idle, float64(s.DevicesIdle))
	gauge(h.overdue, float64(s.Overdue))
	gauge(h.holdsOverdue, float64(s.HoldsOverdue))
	gauge(h.oldestPending, h.age(s.OldestPending))
	gauge(h.usedBytes, float64(s.UsedBytes))
	gauge(h.freeBytes, float64(s.FreeBytes))
	gauge(h.limitBytes, float64(s.LimitBytes))
	gauge(h.open, float64(s.OpenReads))
	for suite := mls.CipherSuite(1); suite <= lastSuite; suite++ {
		gauge(h.onShelf, float64(s.Shelves[suite].Available), suiteLabel(suite), "false")
		gauge(h.onShelf, float64(s.Shelves[suite].LastResort), suiteLabel(suite), "true")
	}
	gauge(h.soonestEnd, timestamp(s.SoonestEnd))
	gauge(h.diskFree, float64(s.DiskFreeBytes))
	gauge(h.restored, timestamp(s.RestoredAt))
	gauge(h.backedUp, timestamp(s.BackedUpAt))
	gauge(h.hints, float64(s.Hints[delivery.HintWebhook]))
}

func suiteLabel(suite mls.CipherSuite) string { return strconv.Itoa(int(suite)) }

// timestamp is 0 for no time.
func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func (h *holdings) age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, h.now().Sub(t).Seconds())
}
