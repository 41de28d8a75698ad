package metrics

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"welcomed/delivery"
	"welcomed/mls"
)

// An answering store gives the answers that a test wants.
type answering struct {
	delivery.Store
	published   delivery.Publications
	reservation delivery.Reservation
	outcome     delivery.Outcome
	claim       delivery.ClaimResult
	sync        delivery.SyncResult
	sweep       delivery.SweepResult
	stats       delivery.Stats
	settled     int
	load        Load
	problem     func(ProblemKind)
	err         error
}

func (a *answering) Publish(context.Context, delivery.Caller, delivery.DeviceID, []delivery.NewKeyPackage) (delivery.Publications, error) {
	return a.published, a.err
}

func (a *answering) Replace(context.Context, delivery.Caller, delivery.DeviceID, mls.CipherSuite, []delivery.NewKeyPackage) (delivery.Publications, error) {
	return a.published, a.err
}

func (a *answering) Reserve(context.Context, delivery.Caller, delivery.ReserveRequest) (delivery.Reservation, error) {
	return a.reservation, a.err
}

func (a *answering) Post(context.Context, delivery.Caller, delivery.Posting) (delivery.Outcome, error) {
	return a.outcome, a.err
}

func (a *answering) Claim(context.Context, delivery.Caller, delivery.DeviceID, delivery.ClaimOptions) (delivery.ClaimResult, error) {
	return a.claim, a.err
}

func (a *answering) Reject(context.Context, delivery.Caller, delivery.DeviceID, delivery.WelcomeID, mls.KeyPackageRef, delivery.Reason, string) (int, error) {
	return a.settled, a.err
}

func (a *answering) Sync(context.Context, delivery.Caller, delivery.DeviceID, delivery.Digest, []mls.KeyPackageRef) (delivery.SyncResult, error) {
	return a.sync, a.err
}

func (a *answering) Sweep(context.Context) (delivery.SweepResult, error) { return a.sweep, a.err }

func (a *answering) Stats(context.Context) (delivery.Stats, error) { return a.stats, a.err }

func (a *answering) Ready(context.Context) error { return a.err }

var errFailed = errors.New("failed")

func newMetrics(a *answering) (*prometheus.Registry, *Metrics, delivery.Store) {
	registry := prometheus.NewPedanticRegistry()
	m := New(registry, "v1")
	m.now = func() time.Time { return time.Unix(1000, 0) }
	m.Serving(func() Load { return a.load })
	a.problem = m.Problems([]ProblemKind{{404, "not_found"}, {503, "overloaded"}})
	return registry, m, m.Store(a)
}

// samples returns every sample of the welcomed_ metrics as in the text format,
// histograms as their counts.
func samples(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			name := strings.TrimPrefix(f.GetName(), "welcomed_")
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			all[name] = s.GetCounter().GetValue() + s.GetGauge().GetValue() + float64(s.GetHistogram().GetSampleCount())
		}
	}
	return all
}

func TestLint(t *testing.T) {
	registry, m, _ := newMetrics(&answering{})
	m.ObserveRequest("/v1", "GET", 200, time.Second)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestEverySeriesExistsFromTheStart(t *testing.T) {
	registry, _, _ := newMetrics(&answering{})
	got := samples(t, registry)
	want := []string{
		"key_packages_published_total",
		"key_packages_reserved_total{outcome=reserved}", "key_packages_reserved_total{outcome=last_resort}",
		"key_packages_reserved_total{outcome=exhausted}", "key_packages_reserved_total{outcome=incompatible}",
		"key_packages_reserved_total{outcome=not_yet_valid}", "key_packages_reserved_total{outcome=unknown_device}",
		"key_packages_reserved_total{outcome=given_back}", "key_packages_reserved_total{outcome=idle}",
		"key_packages_reserved_total{outcome=damaged}", "welcomes{state=damaged}",
		"damaged_total{kind=key_package}", "damaged_total{kind=welcome}", "damaged_total{kind=recipient}",
		"key_packages_given_back_total{reason=unused}", "key_packages_given_back_total{reason=incompatible}", "key_packages_given_back_total{reason=invalid}",
		"key_packages_reserved_total{outcome=abandoned}",
		"key_packages_withdrawn_fresh_total",
		"welcome_matches_total",
		"welcome_mismatches_total{at=post,reason=unknown}", "welcome_mismatches_total{at=post,reason=consumed}",
		"welcome_mismatches_total{at=post,reason=taken}", "welcome_mismatches_total{at=post,reason=expired}",
		"welcome_mismatches_total{at=post,reason=withdrawn}", "welcome_mismatches_total{at=post,reason=wrong_suite}",
		"welcome_mismatches_total{at=post,reason=mailbox_full}", "welcome_mismatches_total{at=post,reason=not_reserved}",
		"welcome_mismatches_total{at=claim,reason=withheld}",
		"welcome_mismatches_total{at=reject,reason=rejected}",
		"welcome_claims_total{outcome=delivered}", "welcome_claims_total{outcome=redelivered}", "welcome_claims_total{outcome=empty}",
		"welcome_rejections_total{reason=no_matching_key_package}", "welcome_rejections_total{reason=undecryptable}",
		"welcome_rejections_total{reason=declined}", "welcome_rejections_total{reason=unsupported}",
		"welcome_rejections_total{reason=other}",
		"welcomes_given_often_total", "welcomes_expired_unclaimed_total", "welcomes_lapsed_total",
		"key_packages{state=available}", "key_packages{state=reserved}", "key_packages{state=retired}",
		"key_packages{state=matched}", "key_packages{state=consumed}", "key_packages{state=expired}", "key_packages{state=withdrawn}",
		"welcomes{state=held}", "welcomes{state=pending}", "welcomes{state=delivered}", "welcomes{state=acknowledged}",
		"welcomes{state=rejected}", "welcomes{state=lapsed}", "welcomes{state=cancelled}", "welcomes{state=withdrawn}", "welcomes{state=expired}",
		"devices{stock=ok}", "devices{stock=low}", "devices{stock=empty}", "devices{stock=last_resort}", "devices_idle",
		"welcomes_overdue", "holds_overdue", "oldest_pending_welcome_seconds",
		"store_used_bytes", "store_free_bytes", "store_limit_bytes", "store_open_read_transactions",
		"store_commit_seconds", "store_commit_events",
		"budget_exceeded_total{budget=caller}", "budget_exceeded_total{budget=list}", "budget_exceeded_total{budget=pair}", "budget_exceeded_total{budget=target}",
		"budget_exceeded_total{budget=check_time}", "budget_exceeded_total{budget=publish}", "budget_exceeded_total{budget=store}",
		"http_problems_total{code=404,problem=not_found}", "http_problems_total{code=503,problem=overloaded}",
		"refused_requests_total{cap=connections}", "refused_requests_total{cap=connections_per_address}",
		"refused_requests_total{cap=requests}", "refused_requests_total{cap=requests_per_caller}",
		"refused_requests_total{cap=waits}", "refused_requests_total{cap=waits_per_caller}", "refused_requests_total{cap=waits_per_device}",
		"refused_requests_total{cap=body_memory}", "refused_requests_total{cap=body_memory_per_caller}",
		"connections", "requests_under_way", "waiting_claims", "open_streams", "body_memory_bytes", "tls_certificate_expiry_timestamp_seconds",
		"events_sent_total", "streams_ended_total{reason=client_left}", "streams_ended_total{reason=shutting_down}",
		"streams_ended_total{reason=displaced}", "streams_ended_total{reason=too_slow}", "streams_ended_total{reason=device_removed}",
		"streams_ended_total{reason=refused}", "streams_ended_total{reason=failed}",
		"backup_interval_seconds",
		"backups_total{outcome=made,to=directory}", "backups_total{outcome=failed,to=directory}",
		"backups_total{outcome=made,to=s3}", "backups_total{outcome=failed,to=s3}",
		"revocation_copies_total{outcome=made,to=directory}", "revocation_copies_total{outcome=failed,to=directory}",
		"revocation_copies_total{outcome=made,to=s3}", "revocation_copies_total{outcome=failed,to=s3}",
		"backup_newest_timestamp_seconds{to=directory}", "backup_newest_timestamp_seconds{to=s3}",
		"backup_last_size_bytes{to=directory}", "backup_last_size_bytes{to=s3}",
		"backup_last_duration_seconds{to=directory}", "backup_last_duration_seconds{to=s3}",
		"backup_last_success_timestamp_seconds", "sweep_last_success_timestamp_seconds",
		"webhook_hints_total{result=sent}", "webhook_hints_total{result=failed}", "webhook_hints_total{result=given_up}",
		"webhook_hints_total{result=over}", "webhook_hints_total{result=full}", "webhook_failing", "webhook_waiting_hints",
		"shelf_soonest_end_timestamp_seconds", "store_restored_timestamp_seconds", "store_disk_free_bytes",
	}
	for suite := 1; suite <= 7; suite++ {
		want = append(want, fmt.Sprintf("shelf_key_packages{cipher_suite=%d,last_resort=false}", suite),
			fmt.Sprintf("shelf_key_packages{cipher_suite=%d,last_resort=true}", suite))
	}
	for _, name := range want {
		if v, ok := got[name]; !ok || v != 0 {
			t.Errorf("%s = %v, %v; want 0", name, v, ok)
		}
		delete(got, name)
	}
	for _, name := range []string{"ready", "clock_trusted"} {
		if got[name] != 1 {
			t.Errorf("%s = %v; want 1", name, got[name])
		}
	}
	for name := range got {
		if !usual(name) {
			t.Errorf("%s is in no list", name)
		}
	}
}

// usual reports whether a metric is not zero from the start.
func usual(name string) bool {
	return strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "build_info{") ||
		name == "ready" || name == "clock_trusted"
}

func TestCounting(t *testing.T) {
	recipients := func(rs ...delivery.Recipient) []delivery.Recipient { return rs }
	matched := delivery.Recipient{Status: delivery.StatusPending, Matched: true}
	// One that ended since and is reported by a state that is also a mismatch.
	ended := delivery.Recipient{Status: delivery.StatusExpired, Matched: true}
	taken := delivery.Recipient{Status: delivery.StatusTaken}
	unknown := delivery.Recipient{Status: delivery.StatusUnknown}

	publish := func(s delivery.Store) { s.Publish(t.Context(), delivery.Unauthenticated(), delivery.DeviceID{}, nil) }
	replace := func(s delivery.Store) {
		s.Replace(t.Context(), delivery.Unauthenticated(), delivery.DeviceID{}, 0, nil)
	}
	reserve := func(s delivery.Store) { s.Reserve(t.Context(), delivery.Unauthenticated(), delivery.ReserveRequest{}) }
	post := func(s delivery.Store) { s.Post(t.Context(), delivery.Unauthenticated(), delivery.Posting{}) }
	dryRun := func(s delivery.Store) {
		s.Post(t.Context(), delivery.Unauthenticated(), delivery.Posting{DryRun: true})
	}
	claim := func(s delivery.Store) {
		s.Claim(t.Context(), delivery.Unauthenticated(), delivery.DeviceID{}, delivery.ClaimOptions{})
	}
	reject := func(s delivery.Store) {
		s.Reject(t.Context(), delivery.Unauthenticated(), delivery.DeviceID{}, delivery.WelcomeID{}, "", delivery.ReasonDeclined, "")
	}
	sync := func(s delivery.Store) {
		s.Sync(t.Context(), delivery.Unauthenticated(), delivery.DeviceID{}, delivery.Digest{}, nil)
	}
	sweep := func(s delivery.Store) { s.Sweep(t.Context()) }

	published := delivery.Publications{Items: []delivery.Published{{Status: delivery.Stored, New: true}, {Status: delivery.NotAfterRestore, New: true}, {Status: delivery.AlreadyStored}, {Status: delivery.Spent}}}
	users := []delivery.ReservedUser{{Devices: []delivery.ReservedDevice{{Status: delivery.DeviceReserved}, {Status: delivery.DeviceExhausted}}}, {Devices: []delivery.ReservedDevice{{Status: delivery.DeviceReserved}}}}
	posted := delivery.Outcome{Recipients: recipients(matched, ended, taken, unknown)}
	repeated := posted
	repeated.Repeated = true
	noMatch := &delivery.NoMatchError{Recipients: recipients(matched, taken)}

	for _, test := range []struct {
		name  string
		store answering
		do    func(delivery.Store)
		want  map[string]float64
	}{
		{"only what is stored counts as published", answering{published: published}, publish, map[string]float64{"key_packages_published_total": 2}},
		{"a replacement publishes", answering{published: published}, replace, map[string]float64{"key_packages_published_total": 2}},
		{"a refused publication counts nothing", answering{published: published, err: errFailed}, publish, nil},
		{"each device of a reservation counts", answering{reservation: delivery.Reservation{Users: users}}, reserve,
			map[string]float64{"key_packages_reserved_total{outcome=reserved}": 2, "key_packages_reserved_total{outcome=exhausted}": 1}},
		{"a repeated reservation counts nothing", answering{reservation: delivery.Reservation{Users: users, Repeated: true}}, reserve, nil},
		{"a post counts each verdict", answering{outcome: posted}, post, map[string]float64{
			"welcome_matches_total":                            2,
			"welcome_mismatches_total{at=post,reason=taken}":   1,
			"welcome_mismatches_total{at=post,reason=unknown}": 1}},
		{"a repeated post counts nothing", answering{outcome: repeated}, post, nil},
		{"a dry run counts nothing", answering{outcome: posted}, dryRun, nil},
		{"a dry run that finds no match counts nothing", answering{err: noMatch}, dryRun, nil},
		{"a refused post counts its mismatches only", answering{err: noMatch}, post,
			map[string]float64{"welcome_mismatches_total{at=post,reason=taken}": 1}},
		{"a claim counts each Welcome", answering{claim: delivery.ClaimResult{Deliveries: []delivery.Delivery{{}, {}, {Redelivered: true}}}}, claim,
			map[string]float64{"welcome_claims_total{outcome=delivered}": 2, "welcome_claims_total{outcome=redelivered}": 1}},
		{"a claim that finds nothing is empty", answering{}, claim, map[string]float64{"welcome_claims_total{outcome=empty}": 1}},
		{"what is withheld counts once", answering{claim: delivery.ClaimResult{Withheld: 5, NewlyWithheld: 2}}, claim,
			map[string]float64{"welcome_claims_total{outcome=empty}": 1, "welcome_mismatches_total{at=claim,reason=withheld}": 2}},
		{"a failed claim counts nothing", answering{err: errFailed}, claim, nil},
		{"a rejection counts its reason", answering{settled: 1}, reject,
			map[string]float64{"welcome_rejections_total{reason=declined}": 1, "welcome_mismatches_total{at=reject,reason=rejected}": 1}},
		{"a rejection that changes nothing counts nothing", answering{}, reject, nil},
		{"a refused rejection counts nothing", answering{err: delivery.ErrNotDelivered}, reject, nil},
		{"a sync counts what it withdrew that was fresh", answering{sync: delivery.SyncResult{Withdrawn: make([]mls.KeyPackageRef, 5), Fresh: 3}}, sync,
			map[string]float64{"key_packages_withdrawn_fresh_total": 3}},
		{"a refused sync counts nothing", answering{err: delivery.ErrInventoryChanged}, sync, nil},
		{"a sweep counts what nobody wanted", answering{sweep: delivery.SweepResult{Abandoned: 1, ExpiredUnclaimed: 2, Lapsed: 3}}, sweep, map[string]float64{
			"key_packages_reserved_total{outcome=abandoned}": 1, "welcomes_expired_unclaimed_total": 2, "welcomes_lapsed_total": 3,
			"sweep_last_success_timestamp_seconds": 1000}},
		{"what a sweep did before it failed counts", answering{sweep: delivery.SweepResult{Lapsed: 3}, err: errFailed}, sweep,
			map[string]float64{"welcomes_lapsed_total": 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			registry, _, s := newMetrics(&test.store)
			test.do(s)
			test.store.err = nil // for the scrape
			requireSamples(t, registry, test.want)
		})
	}
}

// requireSamples checks that these samples of welcomed, and no others, are not
// zero.
func requireSamples(t *testing.T, registry *prometheus.Registry, want map[string]float64) {
	t.Helper()
	got := samples(t, registry)
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s = %v, want %v", name, got[name], v)
		}
	}
	for name, v := range got {
		if _, wanted := want[name]; !usual(name) && !wanted && v != 0 {
			t.Errorf("%s = %v, want 0", name, v)
		}
	}
}

func TestHoldings(t *testing.T) {
	registry, _, _ := newMetrics(&answering{stats: delivery.Stats{
		KeyPackages: map[delivery.KeyPackageState]int{delivery.Available: 1, delivery.Withdrawn: 2},
		Welcomes:    map[delivery.WelcomeState]int{delivery.Held: 3, delivery.WelcomeExpired: 4},
		DevicesOK:   5, DevicesLow: 6, DevicesEmpty: 7, DevicesLastResort: 21, DevicesIdle: 22, Overdue: 8, HoldsOverdue: 9,
		OldestPending: time.Unix(990, 0), UsedBytes: 11, FreeBytes: 12, LimitBytes: 13, OpenReads: 14,
		Shelves:    map[mls.CipherSuite]delivery.Shelf{1: {Available: 15}, 7: {Available: 16, LastResort: 17}},
		SoonestEnd: time.Unix(18, 0), RestoredAt: time.Unix(19, 0), BackedUpAt: time.Unix(20, 0), DiskFreeBytes: -1,
		Hints: map[delivery.HintChannel]int{delivery.HintWebhook: 23},
	}})
	requireSamples(t, registry, map[string]float64{
		"key_packages{state=available}": 1, "key_packages{state=withdrawn}": 2, "welcomes{state=held}": 3, "welcomes{state=expired}": 4,
		"devices{stock=ok}": 5, "devices{stock=low}": 6, "devices{stock=empty}": 7, "devices{stock=last_resort}": 21, "devices_idle": 22, "welcomes_overdue": 8, "holds_overdue": 9,
		"oldest_pending_welcome_seconds": 10, "store_used_bytes": 11, "store_free_bytes": 12, "store_limit_bytes": 13,
		"store_open_read_transactions":                         14,
		"shelf_key_packages{cipher_suite=1,last_resort=false}": 15, "shelf_key_packages{cipher_suite=7,last_resort=false}": 16,
		"shelf_key_packages{cipher_suite=7,last_resort=true}": 17, "shelf_soonest_end_timestamp_seconds": 18,
		"store_restored_timestamp_seconds": 19, "backup_last_success_timestamp_seconds": 20, "store_disk_free_bytes": -1,
		"webhook_waiting_hints": 23,
	})
}

func TestAStoreThatDoesNotAnswerSpoilsOnlyItsOwnMetrics(t *testing.T) {
	registry, m, _ := newMetrics(&answering{err: errFailed})
	m.ObserveCommit(3, time.Millisecond)
	families, err := registry.Gather()
	if !errors.Is(err, errFailed) {
		t.Errorf("error %v does not name the reason", err)
	}
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
	}
	if names["welcomed_key_packages"] || !names["welcomed_store_commit_events"] {
		t.Errorf("got %v", names)
	}
}

func TestWhetherItIsReadyAndTrustsTheClock(t *testing.T) {
	a := &answering{}
	registry, _, s := newMetrics(a)
	judge := func(err error, ready, trusted float64) {
		t.Helper()
		a.err = err
		_, _ = s.Sweep(t.Context())
		families, _ := registry.Gather() // the holdings fail with a
		got := map[string]float64{}
		for _, f := range families {
			got[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
		}
		if got["welcomed_ready"] != ready || got["welcomed_clock_trusted"] != trusted {
			t.Errorf("after %v: ready %v, clock trusted %v; want %v, %v", err, got["welcomed_ready"], got["welcomed_clock_trusted"], ready, trusted)
		}
	}
	judge(fmt.Errorf("it says 1970: %w", delivery.ErrClock), 0, 0)
	judge(errFailed, 0, 1)
	judge(nil, 1, 1)
}

func TestLoad(t *testing.T) {
	registry, m, _ := newMetrics(&answering{load: Load{Connections: 1, Requests: 2, Waits: 8, Streams: 5, BodyMemory: 4}})
	m.ObserveRefusal("waits")
	m.ObserveEventsSent(6)
	m.ObserveStreamEnd("too_slow")
	m.ObserveCertificate(time.Unix(2000, 0))
	requireSamples(t, registry, map[string]float64{
		"connections": 1, "requests_under_way": 2, "waiting_claims": 3, "open_streams": 5, "body_memory_bytes": 4,
		"events_sent_total": 6, "streams_ended_total{reason=too_slow}": 1,
		"refused_requests_total{cap=waits}": 1, "tls_certificate_expiry_timestamp_seconds": 2000,
	})
}

func TestObservations(t *testing.T) {
	a := &answering{}
	registry, m, _ := newMetrics(a)
	m.ObserveCommit(3, time.Millisecond)
	m.ObserveOverBudget("target")
	m.ObserveOverBudget("check_time")
	a.problem(ProblemKind{404, "not_found"})
	a.problem(ProblemKind{404, "made_up"})
	m.ObserveRequest("/v1", "GET", 200, time.Millisecond)
	m.ObserveRequest("/v1", "other", 405, time.Millisecond)
	m.ObserveRequest("/v1", "other", 405, time.Millisecond)
	requireSamples(t, registry, map[string]float64{
		"store_commit_seconds": 1, "store_commit_events": 1, "budget_exceeded_total{budget=target}": 1,
		"budget_exceeded_total{budget=check_time}": 1, "http_problems_total{code=404,problem=not_found}": 1,
		"http_request_duration_seconds{code=200,method=GET,route=/v1}":   1,
		"http_request_duration_seconds{code=405,method=other,route=/v1}": 2,
	})
}
