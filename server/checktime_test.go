package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/server/admission"
)

// A handClock is moved by hand.
type handClock struct{ now atomic.Int64 }

func (c *handClock) Now() time.Time           { return time.Unix(0, c.now.Load()) }
func (c *handClock) advance(by time.Duration) { c.now.Add(int64(by)) }

// A directServer is a server that is asked without a network by callers that it knows.
type directServer struct {
	*Server
	t        *testing.T
	clock    *handClock
	exceeded []string // budgets
	problems []ProblemKind
}

func newDirectServer(t *testing.T, o Options) *directServer {
	o.Limits = delivery.DefaultLimits()
	store, err := bolt.Open(filepath.Join(t.TempDir(), "welcomed.db"), bolt.Options{Limits: o.Limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	clock := new(handClock)
	o.Store, o.BudgetClock = store, clock.Now
	d := &directServer{t: t, clock: clock}
	o.OverBudget = func(budget string) { d.exceeded = append(d.exceeded, budget) }
	o.Problem = func(k ProblemKind) { d.problems = append(d.problems, k) }
	d.Server = New(o)
	return d
}

var alicesPhone = delivery.DeviceID{User: "alice", Name: "phone"}

// publish publishes on alice's phone, and returns the status, the code and
// Retry-After.
func (d *directServer) publish(method string, caller delivery.Caller, kps ...[]byte) (status int, code, after string) {
	body, _ := json.Marshal(map[string]any{"key_packages": kps})
	hr := httptest.NewRequest(method, "/v1/users/alice/devices/phone/key-packages", bytes.NewReader(body))
	hr.Header.Set("Content-Type", mediaJSON)
	recorder := httptest.NewRecorder()
	w := d.newResponse(recorder, hr)
	i := slices.IndexFunc(routes, func(rt route) bool { return rt.method == method && rt.path == shelfPath })
	r := d.newRequest(w, hr, &routes[i])
	r.caller, r.user, r.device = caller, "alice", alicesPhone
	if err := r.route.handle(d.Server, w, r); err != nil {
		d.fail(w, r, err)
	}
	var p problem
	if err := json.Unmarshal(recorder.Body.Bytes(), &p); err != nil {
		d.t.Fatal(err)
	}
	return recorder.Code, p.Code, recorder.Header().Get("Retry-After")
}

func (d *directServer) want(caller delivery.Caller, kps [][]byte, status int, code, after string) {
	d.t.Helper()
	if s, c, a := d.publish("POST", caller, kps...); s != status || c != code || a != after {
		d.t.Fatalf("got %d %s, Retry-After %q; want %d %s, %q", s, c, a, status, code, after)
	}
	d.told(status, code)
}

// told checks what the server told of a publication, if it is refused of which
// budget and as which problem.
func (d *directServer) told(status int, code string) {
	d.t.Helper()
	var exceeded []string
	if budget := map[string]string{"too_many_checks": admission.BudgetCheckTime, "too_many_publications": admission.BudgetPublish, "too_much_stored": admission.BudgetStore}[code]; budget != "" {
		exceeded = []string{budget}
	}
	var problems []ProblemKind
	if code != "" {
		problems = []ProblemKind{{status, code}}
	}
	if !slices.Equal(d.exceeded, exceeded) || !slices.Equal(d.problems, problems) {
		d.t.Fatalf("told of budgets %v and problems %v, want %v and %v", d.exceeded, d.problems, exceeded, problems)
	}
	d.exceeded, d.problems = nil, nil
}

var (
	alice = delivery.Caller{User: "alice"}
	bob   = delivery.Caller{User: "bob"}
)

func keyPackagesOf(suite mls.CipherSuite, n int) [][]byte {
	signer, kps := mlstest.NewSigner(suite, "alice"), make([][]byte, n)
	for i := range kps {
		kps[i] = signer.KeyPackage()
	}
	return kps
}

func TestChecksArePaidWithTheTimeTheyTook(t *testing.T) {
	d := newDirectServer(t, Options{CheckTime: CheckTimeBudget{Burst: time.Millisecond, PerSecond: 100 * time.Microsecond}})
	first := keyPackagesOf(5, 5)
	d.want(alice, first, 201, "", "") // each takes a millisecond, or several
	_, err := d.checkTime.ChargeChecks(alice, 0, []mls.CipherSuite{1})
	refused, ok := errors.AsType[*admission.RetryError](err)
	if !ok {
		t.Fatal("five P-521 checks left something of 1 ms")
	}
	owed := refused.Wait
	d.exceeded = nil
	status, code, after := d.publish("POST", alice, keyPackagesOf(1, 1)...)
	if wait, _ := time.ParseDuration(after + "s"); status != 429 || code != "too_many_checks" || wait < owed || wait > owed+2*time.Second {
		t.Errorf("got %d %s, Retry-After %q when %v are owed", status, code, after, owed)
	}
	d.told(status, code)
	d.want(alice, first, 201, "", "")             // is not checked again
	d.want(bob, keyPackagesOf(1, 1), 201, "", "") // pays for himself
	d.clock.advance(owed)
	d.want(alice, keyPackagesOf(1, 1), 201, "", "")
}

// TestWhatIsRefusedForItsCostIsNotChecked: the answer names no forged item.
func TestWhatIsRefusedForItsCostIsNotChecked(t *testing.T) {
	d := newDirectServer(t, Options{CheckTime: CheckTimeBudget{Burst: time.Second, PerSecond: 100 * time.Millisecond}})
	for caller, took := range map[delivery.Caller]time.Duration{alice: 1300 * time.Millisecond, {}: 99 * time.Second} {
		_, err := d.checkTime.ChargeChecks(caller, took, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	forged := keyPackagesOf(1, 1)
	forged[0][len(forged[0])-1] ^= 1
	d.want(alice, forged, 429, "too_many_checks", "3")
	d.want(alice, [][]byte{[]byte("no KeyPackage")}, 422, "invalid_key_package", "") // costs nothing
	d.want(delivery.Unauthenticated(), forged, 422, "invalid_key_package", "")       // nobody owes nothing
	d.clock.advance(3 * time.Second)
	d.want(alice, forged, 422, "invalid_key_package", "")
}

// TestARefillIsNeverTooMuch: with the defaults of the command line, a device may
// come with a full shelf, and again with P-521 after it was set up anew.
func TestARefillIsNeverTooMuch(t *testing.T) {
	d := newDirectServer(t, Options{CheckTime: CheckTimeBudget{Burst: 10 * time.Second, PerSecond: 200 * time.Millisecond}, Publish: Budget{Burst: 5000, PerHour: 2000}})
	for range 4 {
		d.want(alice, keyPackagesOf(1, 100), 201, "", "")
	}
	d.want(alice, keyPackagesOf(5, 100), 201, "", "")
}

func TestPublicationsArePaidByWhatIsNewlyStored(t *testing.T) {
	d := newDirectServer(t, Options{Publish: Budget{Burst: 3, PerHour: 60}})
	first := keyPackagesOf(1, 2)
	d.want(alice, first, 201, "", "")
	for range 3 { // the answer was lost
		d.want(alice, first, 201, "", "")
	}
	invalid := append(keyPackagesOf(1, 2), []byte("no KeyPackage"))
	d.want(alice, invalid, 422, "invalid_key_package", "")
	copied := mlstest.NewSigner(1, "alice").KeyPackage(mlstest.WithInitKey(initKeyOf(first[0])))
	for range 3 {
		d.want(alice, [][]byte{copied}, 409, "init_key_reused", "")
	}
	d.want(alice, keyPackagesOf(1, 3), 201, "", "") // one is left, two are owed
	d.want(alice, keyPackagesOf(1, 1), 429, "too_many_publications", "120")
	service := delivery.Caller{Service: "app"}
	d.want(service, keyPackagesOf(1, 1), 429, "too_many_publications", "120") // it is the user's
	if s, c, _ := d.publish("PUT", alice, keyPackagesOf(1, 1)...); s != 429 || c != "too_many_publications" {
		t.Errorf("a replacement: %d %s", s, c)
	}
	d.told(429, "too_many_publications")
	d.want(alice, first, 201, "", "") // a repeat owes nothing, and is told so whatever is owed
	d.want(alice, append(keyPackagesOf(1, 1), first...), 429, "too_many_publications", "120")
	if s, c, _ := d.publish("PUT", alice, first...); s != 200 {
		t.Errorf("a replacement again: %d %s", s, c)
	}
	d.told(200, "")
	d.want(delivery.Unauthenticated(), keyPackagesOf(1, 1), 201, "", "")
	d.clock.advance(2 * time.Minute)
	d.want(alice, keyPackagesOf(1, 1), 201, "", "")
}

func initKeyOf(kp []byte) []byte {
	parsed, err := mls.ReadKeyPackage(kp)
	if err != nil {
		panic(err)
	}
	return parsed.InitKey
}
