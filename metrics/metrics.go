// Package metrics has every metric of welcomed in one place. Their names and
// labels are API: dashboards and alert rules rely on them.
//
// They answer two questions as rates: are joiners being lost, and are devices
// running out of KeyPackages? What happens is counted from what the store
// answers, so a retry that is told an earlier answer counts nothing. What the
// store holds is asked of it at each scrape, so it agrees after a restart.
//
// Label values are constants of package delivery and routes of package server,
// never a part of a request, and every series of a counter exists from zero at
// the start. Only http_request_duration_seconds does not: its series come with
// the first request, because most of routes × methods × codes never happens.
package metrics

import (
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"welcomed/delivery"
)

const namespace = "welcomed"

// Metrics is every metric of one server.
type Metrics struct {
	registry prometheus.Registerer
	now      func() time.Time

	published  prometheus.Counter
	reserved   family[delivery.DeviceReserveStatus] // outcome
	givenBack  family[delivery.GiveBackReason]      // reason
	damaged    family[delivery.DamagedKind]         // kind
	withdrawn  prometheus.Counter
	matched    prometheus.Counter
	mismatches *prometheus.CounterVec  // at, reason
	claims     family[claimOutcome]    // outcome
	rejections family[delivery.Reason] // reason
	givenOften prometheus.Counter
	unclaimed  prometheus.Counter
	lapsed     prometheus.Counter
	swept      prometheus.Gauge
	exceeded   family[budget]
	backups    backups
	webhooks   webhooks
	refused    family[capName]
	eventsSent prometheus.Counter
	tlsExpires prometheus.Gauge

	streamsEnded family[streamEnd]
	clockTrusted prometheus.Gauge

	commitSeconds prometheus.Histogram
	commitEvents  prometheus.Histogram
	requests      requests
}

// New registers every metric with registry, and those of the Go runtime and of
// the process, except what is asked of a store: see Store. It panics if one is
// registered there already.
func New(registry prometheus.Registerer, version string) *Metrics {
	m := &Metrics{registry: registry, now: time.Now}
	m.countDelivery()
	m.observe()
	m.describeServer(version)
	m.countRefused()
	m.describeBackups()
	m.describeWebhooks()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// A claimOutcome is what a claim found.
type claimOutcome string

const (
	claimDelivered   claimOutcome = "delivered"
	claimRedelivered claimOutcome = "redelivered"
	claimEmpty       claimOutcome = "empty"
)

var claimOutcomes = []claimOutcome{claimDelivered, claimRedelivered, claimEmpty}

// reservationAbandoned is counted beside delivery.DeviceReserveStatuses.
const reservationAbandoned delivery.DeviceReserveStatus = "abandoned"

// A budget is what callers may take of others' KeyPackages, or have the server
// check and store, as package server names it.
type budget string

var allBudgets = []budget{"caller", "pair", "list", "target", "check_time", "publish", "store"}

// A place is where it was found that a KeyPackage cannot open a Welcome.
type place string

const (
	atPost   place = "post"
	atClaim  place = "claim"
	atReject place = "reject"
)

// The mismatches that only a device finds; the others are delivery.Mismatches.
const (
	mismatchWithheld delivery.Status = "withheld"
	mismatchRejected                 = delivery.StatusRejected
)

func (m *Metrics) countDelivery() {
	m.published = m.counter("key_packages_published_total",
		"KeyPackages stored. Ones that were published before are not counted again.")
	m.reserved = newFamily(m.counters("key_packages_reserved_total",
		"Reservations by device and outcome; abandoned: nobody used it in time.", "outcome"),
		append(slices.Clip(delivery.DeviceReserveStatuses), reservationAbandoned))
	m.givenBack = newFamily(m.counters("key_packages_given_back_total",
		"Reserved KeyPackages that whoever had reserved them gave back, by reason.", "reason"), delivery.GiveBackReasons)
	m.withdrawn = m.counter("key_packages_withdrawn_fresh_total",
		"KeyPackages that a sync withdrew from the shelf less than a day after their publication. If it goes on, installations share a device id, or lose their keys.")
	m.matched = m.counter("welcome_matches_total",
		"Recipients of posted Welcomes whose KeyPackage can open it.")
	m.mismatches = m.counters("welcome_mismatches_total",
		"Recipients of Welcomes whose KeyPackage cannot open it, by where that was found.", "at", "reason")
	m.claims = newFamily(m.counters("welcome_claims_total",
		"Welcomes that claims returned, and looks into a mailbox that returned none (empty).", "outcome"), claimOutcomes)
	m.rejections = newFamily(m.counters("welcome_rejections_total",
		"Recipients that could not join, by the device's reason.", "reason"), delivery.Reasons)
	m.givenOften = m.counter("welcomes_given_often_total",
		"Welcomes that a device was given three times since the start and has not settled; replies are lost, or not acknowledged.")
	m.unclaimed = m.counter("welcomes_expired_unclaimed_total",
		"Recipients that never claimed their Welcome.")
	m.lapsed = m.counter("welcomes_lapsed_total",
		"Recipients that claimed their Welcome and neither acknowledged nor rejected it in time.")
	m.damaged = newFamily(m.counters("damaged_total",
		"Damaged parts of the store that were found when they were to be handed out: KeyPackages, Welcomes, and what single recipients have of a Welcome.", "kind"), delivery.DamagedKinds)
	m.exceeded = newFamily(m.counters("budget_exceeded_total",
		"Requests beyond a budget; target: a user's KeyPackages are being drained.", "budget"), allBudgets)
	for _, reason := range delivery.Mismatches {
		m.mismatch(atPost, reason, 0)
	}
	m.mismatch(atClaim, mismatchWithheld, 0)
	m.mismatch(atReject, mismatchRejected, 0)
}

func (m *Metrics) observe() {
	m.commitSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "store_commit_seconds",
		Help:    "How long a commit of the store took.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
	})
	m.commitEvents = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "store_commit_events",
		Help:    "How many events shared a commit of the store.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 10),
	})
	m.requests.vec = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "http_request_duration_seconds",
		Help:    "How long requests took, long-polling claims included. A series exists from its first request.",
		Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60},
	}, []string{"route", "method", "code"})
	m.registry.MustRegister(m.commitSeconds, m.commitEvents, m.requests.vec)
}

func (m *Metrics) describeServer(version string) {
	m.swept = m.gauge("sweep_last_success_timestamp_seconds",
		"When the last sweep ended well; 0 before the first, and while the clock is not trusted it stands still.")
	m.clockTrusted = m.gauge("clock_trusted", "Whether the last sweep could trust the clock (1) or not (0), in which case nothing expires.")
	m.clockTrusted.Set(1)
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the labels say what is running.",
	}, []string{"version", "goversion"})
	m.registry.MustRegister(build)
	build.WithLabelValues(version, runtime.Version()).Set(1)
}

// ObserveCommit counts a commit of the store.
func (m *Metrics) ObserveCommit(events int, took time.Duration) {
	m.commitEvents.Observe(float64(events))
	m.commitSeconds.Observe(took.Seconds())
}

// ObserveRequest counts a request. The route is one of the server's patterns,
// never a path, and the method one that HTTP defines or "other".
func (m *Metrics) ObserveRequest(route, method string, code int, took time.Duration) {
	m.requests.of(request{route, method, code}).Observe(took.Seconds())
}

// ObserveOverBudget counts a request that was beyond a budget.
func (m *Metrics) ObserveOverBudget(name string) { m.exceeded.of(budget(name)).Inc() }

// ObserveGivenOften counts a Welcome that a device was given three times and has
// not settled.
func (m *Metrics) ObserveGivenOften() { m.givenOften.Inc() }

// ObserveDamage counts a damaged part of the store.
func (m *Metrics) ObserveDamage(part delivery.DamagedPart) { m.damaged.of(part.Kind).Inc() }

// ObserveSweep counts what a sweep did.
func (m *Metrics) ObserveSweep(r delivery.SweepResult) {
	m.reserved.of(reservationAbandoned).Add(float64(r.Abandoned))
	m.unclaimed.Add(float64(r.ExpiredUnclaimed))
	m.lapsed.Add(float64(r.Lapsed))
}

// A ProblemKind is a status of HTTP and a code that a request may be answered
// with.
type ProblemKind struct {
	Status int
	Code   string
}

// Problems returns what counts answers that are problems of one of these kinds.
// It is called once.
func (m *Metrics) Problems(kinds []ProblemKind) (observe func(ProblemKind)) {
	vec := m.counters("http_problems_total",
		"Requests answered with a problem, by status (code) and by the code in the answer (problem).", "code", "problem")
	known := make(map[ProblemKind]prometheus.Counter, len(kinds))
	for _, k := range kinds {
		known[k] = vec.WithLabelValues(strconv.Itoa(k.Status), k.Code)
	}
	return func(k ProblemKind) {
		if c, ok := known[k]; ok {
			c.Inc()
		}
	}
}

func (m *Metrics) mismatch(at place, reason delivery.Status, n int) {
	m.mismatches.WithLabelValues(string(at), string(reason)).Add(float64(n))
}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	m.registry.MustRegister(g)
	return g
}
