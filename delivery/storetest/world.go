package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

const day = 24 * time.Hour

// patience is how long a test waits for what must happen at once.
const patience = 20 * time.Second

type (
	kp        = delivery.NewKeyPackage
	deviceID  = delivery.DeviceID
	welcomeID = delivery.WelcomeID
	ref       = mls.KeyPackageRef
)

// Alice is added to groups by Bob and Carol.
var (
	phone  = deviceID{User: "alice", Name: "phone"}
	tablet = deviceID{User: "alice", Name: "tablet"}
	laptop = deviceID{User: "alice", Name: "laptop"}
	dave   = deviceID{User: "dave", Name: "phone"}

	bob    = delivery.Caller{User: "bob"}
	carol  = delivery.Caller{User: "carol"}
	nobody = delivery.Unauthenticated()
)

// self is device d as a caller.
func self(d deviceID) delivery.Caller { return delivery.Caller{User: d.User, Device: d.Name} }

// A world is a store, its clock and those who use it. Its methods end the test
// when something happens that should not; they are for the test's goroutine.
type world struct {
	t       *testing.T
	ctx     context.Context
	clock   *Clock
	limits  delivery.Limits
	fixture Fixture
	store   *Ledger
	tokens  atomic.Int64 // made so far
}

func newWorld(t *testing.T, f Fixture, start time.Time) *world {
	w := &world{t: t, ctx: t.Context(), clock: NewClock(), limits: delivery.DefaultLimits(), fixture: f, store: NewLedger(nil)}
	w.clock.Jump(start.Sub(w.clock.Now()))
	w.store.Store = f.Open(t, w.clock, w.limits)
	t.Cleanup(func() { w.store.Close() })
	return w
}

// reopen closes the store and opens it again.
func (w *world) reopen() {
	w.t.Helper()
	w.must(w.store.Close())
	w.store.Store = w.fixture.Open(w.t, w.clock, w.limits)
}

// allow changes the limits.
func (w *world) allow(change func(*delivery.Limits)) {
	w.t.Helper()
	change(&w.limits)
	w.reopen()
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("unexpected: %v", err)
	}
}

// refused expects an error that is want.
func (w *world) refused(err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Fatalf("got error %q, want %q", fmt.Sprint(err), want)
	}
}

// same expects that what is want.
func same[T any](w *world, what string, got, want T) {
	w.t.Helper()
	if g, s := fmt.Sprint(got), fmt.Sprint(want); g != s {
		w.t.Fatalf("%s:\n got %s\nwant %s", what, g, s)
	}
}

// at expects that what happened at want.
func at(w *world, what string, got, want time.Time) {
	w.t.Helper()
	if !got.Equal(want) {
		w.t.Fatalf("%s at %v, want %v", what, got, want)
	}
}

// idle expects that f commits no transaction.
func (w *world) idle(what string, f func()) {
	w.t.Helper()
	before := w.commits()
	f()
	if after := w.commits(); after != before {
		w.t.Fatalf("%s committed %d transactions and changed nothing", what, after-before)
	}
}

func (w *world) commits() int {
	if w.fixture.Commits == nil {
		return -1
	}
	return w.fixture.Commits()
}

// signers are shared: who signed a KeyPackage is nothing to a store.
var signers = sync.OnceValue(func() map[mls.CipherSuite]*mlstest.Signer {
	m := map[mls.CipherSuite]*mlstest.Signer{}
	for _, suite := range mlstest.Suites {
		m[suite] = mlstest.NewSigner(suite, "alice")
	}
	return m
})

// keyPackage makes a KeyPackage of suite 1 that never expires.
func keyPackage(options ...mlstest.Option) kp { return keyPackageOf(1, options...) }

func keyPackageOf(suite mls.CipherSuite, options ...mlstest.Option) kp {
	parsed, err := mls.ParseKeyPackage(signers()[suite].KeyPackage(options...))
	if err != nil {
		panic(err)
	}
	return delivery.Publication(parsed)
}

func keyPackages(n int, options ...mlstest.Option) []kp {
	items := make([]kp, n)
	for i := range items {
		items[i] = keyPackage(options...)
	}
	return items
}

// lasting is a lifetime from and until so long after now.
func (w *world) lasting(from, until time.Duration) mlstest.Option {
	now := w.clock.Now()
	return mlstest.WithLifetime(uint64(now.Add(from).Unix()), uint64(now.Add(until).Unix()))
}

func refsOf(items ...kp) []ref {
	refs := []ref{}
	for _, k := range items {
		refs = append(refs, k.Ref)
	}
	return refs
}

// publish puts items on d's shelf.
func (w *world) publish(d deviceID, items ...kp) delivery.Publications {
	w.t.Helper()
	p, err := w.store.Publish(w.ctx, self(d), d, items)
	w.must(err)
	return p
}

// shelf publishes n new KeyPackages, each a second after the one before.
func (w *world) shelf(d deviceID, n int, options ...mlstest.Option) []kp {
	w.t.Helper()
	items := keyPackages(n, options...)
	for _, k := range items {
		w.publish(d, k)
		w.clock.Advance(time.Second)
	}
	return items
}

// one publishes one new KeyPackage.
func (w *world) one(d deviceID, options ...mlstest.Option) kp {
	w.t.Helper()
	return w.shelf(d, 1, options...)[0]
}

func (w *world) replace(d deviceID, suite mls.CipherSuite, items ...kp) delivery.Publications {
	w.t.Helper()
	p, err := w.store.Replace(w.ctx, self(d), d, suite, items)
	w.must(err)
	return p
}

// publishRefused expects that items are refused, and why each of them is.
func (w *world) publishRefused(err, want error, reasons map[int]delivery.ItemCode) {
	w.t.Helper()
	w.refused(err, want)
	var refusal *delivery.PublishError
	if !errors.As(err, &refusal) {
		w.t.Fatalf("error is %T, not a *PublishError", err)
	}
	got := map[int]delivery.ItemCode{}
	for _, item := range refusal.Items {
		got[item.Index] = item.Code
	}
	same(w, "refused items", got, reasons)
}

func publishedStatuses(p delivery.Publications) []delivery.PublishedStatus {
	var s []delivery.PublishedStatus
	for _, item := range p.Items {
		s = append(s, item.Status)
	}
	return s
}

// state returns what became of k, as told to somebody who may know everything.
func (w *world) state(k kp) delivery.KeyPackageState {
	w.t.Helper()
	s, err := w.store.KeyPackage(w.ctx, nobody, k.Ref)
	w.must(err)
	return s.State
}

func (w *world) states(want delivery.KeyPackageState, items ...kp) {
	w.t.Helper()
	for i, k := range items {
		if got := w.state(k); got != want {
			w.t.Fatalf("KeyPackage %d of %d is %v, want %v", i, len(items), got, want)
		}
	}
}

// missing expects that the store does not know items.
func (w *world) missing(items ...kp) {
	w.t.Helper()
	for _, k := range items {
		_, err := w.store.KeyPackage(w.ctx, nobody, k.Ref)
		w.refused(err, delivery.ErrNotFound)
	}
}

func (w *world) list(user delivery.UserID, options ...func(*delivery.ListOptions)) delivery.Listing {
	w.t.Helper()
	opts := delivery.ListOptions{Limit: 1000, Bytes: 8 << 20}
	for _, o := range options {
		o(&opts)
	}
	l, err := w.store.List(w.ctx, bob, user, opts)
	w.must(err)
	return l
}

// listed returns the refs of a user's KeyPackages that can be handed out.
func (w *world) listed(user delivery.UserID) []ref {
	w.t.Helper()
	return listedRefs(w.list(user))
}

func listedRefs(l delivery.Listing) []ref {
	refs := []ref{}
	for _, d := range l.Devices {
		for _, k := range d.KeyPackages {
			refs = append(refs, k.Ref)
		}
	}
	return refs
}

func (w *world) reserve(caller delivery.Caller, req delivery.ReserveRequest) delivery.Reservation {
	w.t.Helper()
	r, err := w.store.Reserve(w.ctx, caller, req)
	w.must(err)
	return r
}

// reserveOne reserves one of d's, which must be k.
func (w *world) reserveOne(caller delivery.Caller, d deviceID, k kp) {
	w.t.Helper()
	r := w.reserve(caller, delivery.ReserveRequest{Devices: []deviceID{d}})
	same(w, "reserved", reservedRefs(r), []ref{k.Ref})
}

func reservedRefs(r delivery.Reservation) []ref {
	refs := []ref{}
	for _, u := range r.Users {
		for _, d := range u.Devices {
			if d.KeyPackage != nil {
				refs = append(refs, d.KeyPackage.Ref)
			}
		}
	}
	return refs
}

// reservedStatuses is an answer in words: "alice success: laptop reserved".
func reservedStatuses(r delivery.Reservation) []string {
	var words []string
	for _, u := range r.Users {
		line := fmt.Sprintf("%s %s:", u.User, u.Status)
		for _, d := range u.Devices {
			line += fmt.Sprintf(" %s %s", d.Device, d.Status)
		}
		words = append(words, strings.TrimSuffix(line, ":"))
	}
	return words
}

// words are values with a space between any two.
func words(values ...any) string { return strings.TrimSuffix(fmt.Sprintln(values...), "\n") }

type postOption = func(*delivery.Posting)

func hold(p *delivery.Posting)       { p.Hold = true }
func requireAll(p *delivery.Posting) { p.RequireAll = true }
func dryRun(p *delivery.Posting)     { p.DryRun = true }

func withTree(b []byte) postOption    { return func(p *delivery.Posting) { p.RatchetTree = b } }
func withContext(b []byte) postOption { return func(p *delivery.Posting) { p.Context = b } }

// welcome makes a Welcome of the first one's suite.
func welcome(items ...kp) *mls.Welcome {
	return parseWelcome(mlstest.Welcome(items[0].Suite, refsOf(items...)...))
}

func parseWelcome(bare []byte) *mls.Welcome {
	parsed, err := mls.ParseWelcome(bare)
	if err != nil {
		panic(err)
	}
	return parsed
}

func (w *world) tryPost(caller delivery.Caller, m *mls.Welcome, options ...postOption) (delivery.Outcome, error) {
	p := delivery.Posting{Welcome: m}
	for _, o := range options {
		o(&p)
	}
	return w.store.Post(w.ctx, caller, p)
}

func (w *world) post(caller delivery.Caller, m *mls.Welcome, options ...postOption) delivery.Outcome {
	w.t.Helper()
	o, err := w.tryPost(caller, m, options...)
	w.must(err)
	return o
}

// send posts a new Welcome that must match all items; a second passes.
func (w *world) send(caller delivery.Caller, items ...kp) welcomeID {
	w.t.Helper()
	o := w.post(caller, welcome(items...), requireAll)
	w.clock.Advance(time.Second)
	return o.ID
}

// noMatch expects that nothing was posted, and returns the verdicts.
func (w *world) noMatch(err error) []delivery.Recipient {
	w.t.Helper()
	w.refused(err, delivery.ErrNoMatchingKeyPackage)
	var refusal *delivery.NoMatchError
	if !errors.As(err, &refusal) {
		w.t.Fatalf("error is %T, not a *NoMatchError", err)
	}
	return refusal.Recipients
}

// mismatch expects that a Welcome for k alone is refused, and why.
func (w *world) mismatch(caller delivery.Caller, k kp, want delivery.Status) delivery.Recipient {
	w.t.Helper()
	m := welcome(k)
	_, err := w.tryPost(caller, m)
	recipients := w.noMatch(err)
	same(w, "verdict", statuses(recipients), []delivery.Status{want})
	_, err = w.store.Outcome(w.ctx, caller, delivery.IDOf(caller, m.Bytes()))
	w.refused(err, delivery.ErrNotFound)
	return recipients[0]
}

func statuses(recipients []delivery.Recipient) []delivery.Status {
	s := []delivery.Status{}
	for _, r := range recipients {
		s = append(s, r.Status)
	}
	return s
}

func (w *world) outcome(caller delivery.Caller, id welcomeID) delivery.Outcome {
	w.t.Helper()
	o, err := w.store.Outcome(w.ctx, caller, id)
	w.must(err)
	return o
}

// became expects what became of a Welcome for each of its recipients.
func (w *world) became(caller delivery.Caller, id welcomeID, want ...delivery.Status) delivery.Outcome {
	w.t.Helper()
	o := w.outcome(caller, id)
	same(w, "outcome", statuses(o.Recipients), want)
	return o
}

func (w *world) release(caller delivery.Caller, id welcomeID) delivery.Outcome {
	w.t.Helper()
	o, err := w.store.Release(w.ctx, caller, id)
	w.must(err)
	return o
}

func (w *world) cancel(caller delivery.Caller, id welcomeID) delivery.Outcome {
	w.t.Helper()
	o, err := w.store.Cancel(w.ctx, caller, id)
	w.must(err)
	return o
}

type claimOption = func(*delivery.ClaimOptions)

func atMost(n int) claimOption          { return func(o *delivery.ClaimOptions) { o.Max = n } }
func bytesAtMost(n int) claimOption     { return func(o *delivery.ClaimOptions) { o.Bytes = n } }
func skip(ids ...welcomeID) claimOption { return func(o *delivery.ClaimOptions) { o.Skip = ids } }

// holding limits a claim to the KeyPackages items; none is none.
func holding(items ...kp) claimOption {
	return func(o *delivery.ClaimOptions) { o.Refs = refsOf(items...) }
}

func claimOptions(options ...claimOption) delivery.ClaimOptions {
	opts := delivery.ClaimOptions{Max: 100, Bytes: 8 << 20}
	for _, o := range options {
		o(&opts)
	}
	return opts
}

func (w *world) claim(d deviceID, options ...claimOption) delivery.ClaimResult {
	w.t.Helper()
	r, err := w.store.Claim(w.ctx, self(d), d, claimOptions(options...))
	w.must(err)
	return r
}

// given expects that a claim returns these Welcomes in this order.
func (w *world) given(r delivery.ClaimResult, want ...welcomeID) []delivery.Delivery {
	w.t.Helper()
	got := []welcomeID{}
	for _, g := range r.Deliveries {
		got = append(got, g.ID)
	}
	if want == nil {
		want = []welcomeID{}
	}
	same(w, "given Welcomes", got, want)
	return r.Deliveries
}

// first expects that d is given exactly these Welcomes, for the first time.
func (w *world) first(d deviceID, want ...welcomeID) []delivery.Delivery {
	w.t.Helper()
	return w.expectGiven(d, false, want)
}

// again expects that d is given exactly these Welcomes, once more.
func (w *world) again(d deviceID, want ...welcomeID) []delivery.Delivery {
	w.t.Helper()
	return w.expectGiven(d, true, want)
}

func (w *world) expectGiven(d deviceID, redelivered bool, want []welcomeID) []delivery.Delivery {
	w.t.Helper()
	deliveries := w.given(w.claim(d), want...)
	for _, g := range deliveries {
		same(w, "redelivered", g.Redelivered, redelivered)
	}
	return deliveries
}

// nothing expects that d is given nothing.
func (w *world) nothing(d deviceID) {
	w.t.Helper()
	w.given(w.claim(d))
}

// consume lets d claim a Welcome of Bob's for k.
func (w *world) consume(d deviceID, k kp) welcomeID {
	w.t.Helper()
	id := w.send(bob, k)
	w.first(d, id)
	return id
}

// ack acknowledges id without a ref.
func (w *world) ack(d deviceID, id welcomeID) {
	w.t.Helper()
	w.must(w.store.Acknowledge(w.ctx, self(d), d, id, ""))
}

// reject rejects id without a ref.
func (w *world) reject(d deviceID, id welcomeID, reason delivery.Reason) {
	w.t.Helper()
	_, err := w.store.Reject(w.ctx, self(d), d, id, "", reason, "")
	w.must(err)
}

// join lets d consume k and acknowledge.
func (w *world) join(d deviceID, k kp) welcomeID {
	w.t.Helper()
	id := w.consume(d, k)
	w.ack(d, id)
	return id
}

func (w *world) withdraw(d deviceID, items ...kp) {
	w.t.Helper()
	for _, k := range items {
		w.must(w.store.Withdraw(w.ctx, self(d), d, k.Ref))
	}
}

func (w *world) inventory(d deviceID) delivery.Inventory {
	w.t.Helper()
	i, err := w.store.Inventory(w.ctx, self(d), d)
	w.must(err)
	return i
}

// needs expects that items are those whose private keys d still needs.
func (w *world) needs(d deviceID, items ...kp) {
	w.t.Helper()
	got, want := w.inventory(d), slices.Sorted(slices.Values(refsOf(items...)))
	same(w, "refs in the inventory", slices.Sorted(slices.Values(got.Refs)), want)
	same(w, "digest", got.Digest, digestOf(want))
}

func digestOf(sorted []ref) delivery.Digest {
	h := sha256.New()
	for _, r := range sorted {
		h.Write([]byte(r))
	}
	return delivery.Digest(h.Sum(nil))
}

// sync tells the store that d holds the keys of items.
func (w *world) sync(d deviceID, items ...kp) delivery.SyncResult {
	w.t.Helper()
	r, err := w.store.Sync(w.ctx, self(d), d, w.inventory(d).Digest, refsOf(items...))
	w.must(err)
	return r
}

func sameRefs(w *world, what string, got []ref, want ...kp) {
	w.t.Helper()
	same(w, what, slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(refsOf(want...))))
}

func (w *world) devices(user delivery.UserID) []delivery.DeviceInfo {
	w.t.Helper()
	d, err := w.store.Devices(w.ctx, delivery.Caller{User: user}, user)
	w.must(err)
	return d
}

func deviceNames(devices []delivery.DeviceInfo) []string {
	names := []string{}
	for _, d := range devices {
		names = append(names, d.Device)
	}
	return names
}

func (w *world) sweep() delivery.SweepResult {
	w.t.Helper()
	r, err := w.store.Sweep(w.ctx)
	w.must(err)
	return r
}

func (w *world) stats() delivery.Stats {
	w.t.Helper()
	s, err := w.store.Stats(w.ctx)
	w.must(err)
	return s
}

// woken expects that a watch receives.
func (w *world) woken(wake <-chan struct{}) {
	w.t.Helper()
	select {
	case <-wake:
	case <-time.After(patience):
		w.t.Fatal("the device was not woken")
	}
}

// asleep expects that a watch has not received.
func (w *world) asleep(wake <-chan struct{}) {
	w.t.Helper()
	select {
	case <-wake:
		w.t.Fatal("the device was woken for nothing")
	default:
	}
}

// together runs f(0) to f(n-1) at once and waits for all.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	all.Wait()
}

// audit expects that the statistics are what a recount finds, and the same
// after the store was opened again.
func (w *world) audit() {
	w.t.Helper()
	swept := true
	for range 2 {
		if _, err := w.store.Sweep(w.ctx); errors.Is(err, delivery.ErrClock) {
			swept = false // states on disk may be older than those answered
		} else {
			w.must(err)
		}
	}
	before := census(w.stats())
	if swept {
		differences, err := w.store.Recount(w.ctx, w.limits, w.clock.Now())
		w.must(err)
		for _, d := range differences {
			w.t.Error(d)
		}
	}
	w.reopen()
	after := census(w.stats())
	for name, n := range before {
		if after[name] != n {
			w.t.Errorf("statistics say %s %d, and after opening again %d", name, n, after[name])
		}
	}
}

// stocks expects that so many devices have enough KeyPackages, few, none, and last
// resorts by design.
func (w *world) stocks(ok, low, empty, lastResort int) {
	w.t.Helper()
	s := w.stats()
	same(w, "ok, low, empty, last resort", []int{s.DevicesOK, s.DevicesLow, s.DevicesEmpty, s.DevicesLastResort}, []int{ok, low, empty, lastResort})
}
