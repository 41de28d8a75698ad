// Package model is a test of a [delivery.Store] by random sequences of events.
//
// Every event happens to the store and to a reference: the contract said again
// with lists, one event at a time, nothing kept that can be counted. After each
// event the two answers are compared, and then everything that can be asked. Few
// users, devices and KeyPackages, several callers and small limits let events
// collide; between them the clock moves, to the edges of every limit and beyond,
// forward and back, and the store is closed, killed, restored from a backup and
// compacted. A sequence that fails is made as short as possible
// ([pgregory.net/rapid]).
//
// What the reference leaves open: by how much the time at which a device was
// seen lags behind (at most a day), and how soon a sweep forgets what may be
// forgotten (within an hour, or two sweeps). Events are compared but those of stock.
package model

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
)

// A Fixture is a place where one store can be kept.
type Fixture struct {
	// Open opens the store, which is empty the first time. It is called again
	// only after Close.
	Open func(clock delivery.Clock, limits delivery.Limits, trustClock bool) (delivery.Store, error)
	// Commits returns how many transactions were committed so far. What an event
	// commits keeps the latest time seen.
	Commits func() int
	// Copy returns what a power cut would leave now, of a store that is open.
	// Put puts it in the place of the store, which is closed by then; restored
	// says that it is an old copy.
	Copy func() (kept any, err error)
	Put  func(kept any, restored bool) error
	// KeepsRevoked says that a restored copy learns what was revoked and removed since
	// it was made.
	KeepsRevoked bool
	// Compact rewrites what is kept, if there is such a thing. The store is
	// closed.
	Compact func() error
	// Moves says that Compact moves the store to another place, so that its events stay behind.
	Moves bool
	// Remove removes what is kept.
	Remove func()
	// Damage flips a bit of the store, which is closed. It may be nil.
	Damage func(d storetest.Damage)
}

// Check compares a store with the reference. Every sequence of events gets its
// own fixture, which newFixture may draw. It tries 50 sequences of about 60
// events each, unless -rapid.checks and -rapid.steps say otherwise, and logs how
// many it has tried.
func Check(t *testing.T, newFixture func(*rapid.T) Fixture) {
	setDefault(t, "rapid.checks", "50")
	setDefault(t, "rapid.steps", "60")
	var tried tally
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt, newFixture(rt), &tried)
		defer w.remove()
		tried.sequences++
		rt.Repeat(w.events())
	})
	t.Log(tried.String())
}

// setDefault gives a flag another value unless the command line did.
func setDefault(t *testing.T, name, value string) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if !given {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
}

// A tally counts what was tried.
type tally struct {
	sequences, events, refused, compared int
	matched, delivered                   int
	opened, killed, restored, moved      int
	stayed                               int // revocations across restores
	notAfter                             int // items not after a restore
	givenBack, shelved, given            int // KeyPackages
	forgotten                            int // devices
	damaged, noticed                     int // parts, and KeyPackages and recipients that ended so
}

func (c tally) String() string {
	return fmt.Sprintf("%d sequences, %d events (%d of them refused), %d answers compared; %d Welcomes matched, %d deliveries, %d moves of the clock, %d openings, %d kills, %d restores, %d revocations that stayed, %d KeyPackages not after one, %d given back, %d of them to a shelf, %d given to another device, %d devices forgotten; %d parts damaged, %d KeyPackages and recipients found so",
		c.sequences, c.events, c.refused, c.compared, c.matched, c.delivered, c.moved, c.opened, c.killed, c.restored, c.stayed, c.notAfter, c.givenBack, c.shelved, c.given, c.forgotten, c.damaged, c.noticed)
}

// A world is one sequence.
type world struct {
	t       *rapid.T
	ctx     context.Context
	fixture Fixture
	tried   *tally
	limits  delivery.Limits
	clock   *storetest.Clock
	trust   bool          // always; else now and then
	truth   time.Duration // how far the clock was set ahead of the right time
	watch   *watch
	book    *book
	store   delivery.Store
	wakes   map[delivery.DeviceID]<-chan struct{}
	stops   []func()
	commits int

	backup *backup
	gone   map[mls.KeyPackageRef]bool // the device was told to need the private key no more
	made   []delivery.NewKeyPackage
	posted []posted
	asked  []asked

	reservations []delivery.ReservationID
	tokens       []string     // ids that were tried
	revoked      []revocation // in the whole sequence

	told told

	used   map[mls.KeyPackageRef]use // in the whole sequence: a restore does not forget it
	epochs []string                  // restore epochs, in the order in which devices have read them
}

// A use is when a KeyPackage was handed out last, or a Welcome for it accepted, and
// the restore epoch then.
type use struct {
	at    time.Time
	epoch string
}

// A backup is a copy of the store, and what the reference was then.
type backup struct {
	kept    any
	book    *book
	disk    time.Time
	revoked int // how much had been
}

// A posted is a Welcome that was posted, whether it was accepted or not.
type posted struct {
	caller  delivery.Caller
	posting delivery.Posting
}

func (p posted) id() delivery.WelcomeID {
	return delivery.IDOf(p.caller, p.posting.Welcome.Bytes())
}

// An asked is a reservation that was asked for.
type asked struct {
	caller delivery.Caller
	req    delivery.ReserveRequest
}

// starts are when a sequence begins.
var starts = []time.Time{
	time.Date(2030, time.March, 4, 9, 0, 0, 0, time.UTC),
	time.Date(2028, time.February, 28, 23, 59, 59, 0, time.UTC),
	time.Date(2027, time.December, 31, 12, 0, 0, 0, time.UTC),
	time.Date(2100, time.February, 28, 12, 0, 0, 0, time.UTC),
	time.Date(2038, time.January, 19, 3, 14, 7, 0, time.UTC),
}

func newWorld(t *rapid.T, f Fixture, tried *tally) *world {
	w := &world{t: t, ctx: context.Background(), fixture: f, tried: tried, clock: storetest.NewClock(), used: map[mls.KeyPackageRef]use{}, gone: map[mls.KeyPackageRef]bool{}}
	w.limits = drawLimits(t)
	w.trust = rapid.IntRange(0, 4).Draw(t, "trust clock") == 0
	start := rapid.SampledFrom(starts).Draw(t, "start")
	w.clock.Jump(start.Sub(w.clock.Now()))
	if w.oneIn(12, "no clock chip") {
		w.truth = 20*time.Second - time.Duration(start.Unix())*time.Second
		w.clock.Jump(w.truth)
	}
	w.watch = &watch{clock: w.clock, disk: w.clock.Now()}
	w.book = newBook(w.limits)
	w.book.dated = w.clock.Now()
	w.open()
	w.book.epoch = w.epoch()
	w.epochs = append(w.epochs, w.book.epoch)
	_, w.told.after, _ = w.read(delivery.EventQuery{})
	w.told.first = w.told.after
	return w
}

// drawLimits draws small limits, so that they are reached.
func drawLimits(t *rapid.T) delivery.Limits {
	l := delivery.DefaultLimits()
	l.CipherSuites = rapid.SampledFrom([][]mls.CipherSuite{{1, 2}, {2, 1}}).Draw(t, "suites")
	l.KeyPackagesPerDevice = rapid.SampledFrom([]int{4, 500}).Draw(t, "shelf")
	l.DevicesPerUser = rapid.SampledFrom([]int{2, 50}).Draw(t, "devices")
	l.PendingPerDevice = rapid.SampledFrom([]int{2, 1000}).Draw(t, "mailbox")
	l.UsersPerReserve, l.DevicesPerReserve, l.RecipientsPerWelcome = 3, 3, 3
	l.KeyPackagesPerUser = rapid.SampledFrom([]int{6, 5000}).Draw(t, "shelves")
	l.RetiredPerDevice = rapid.SampledFrom([]int{3, 20000}).Draw(t, "retired")
	l.OpenPerDevice = rapid.SampledFrom([]int{3, 5000}).Draw(t, "open")
	l.MatchReserved = rapid.IntRange(0, 3).Draw(t, "match reserved") == 3
	l.TokensPerOwner = 2
	l.ForgetDevicesAfter = rapid.SampledFrom([]time.Duration{0, 2 * day, 40 * day, 130 * day}).Draw(t, "forget devices")
	l.LowWatermark = 3
	l.MaxLifetime = rapid.SampledFrom([]time.Duration{0, 0, 400 * day}).Draw(t, "longest lifetime")
	return l
}

func (w *world) open() {
	isNew := w.store == nil
	w.watch.trust = w.trust || w.oneIn(5, "the operator's word")
	store, err := w.fixture.Open(w.clock, w.limits, w.watch.trust)
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	w.tried.opened++
	w.store, w.stops, w.wakes = store, nil, map[delivery.DeviceID]<-chan struct{}{}
	for _, d := range devices {
		wake, stop := store.Watch(d, delivery.TokenOwner{User: d.User, Device: d.Name})
		w.wakes[d], w.stops = wake, append(w.stops, stop)
	}
	w.watch.open(isNew)
	w.book.watched, w.book.lastSweep = time.Time{}, time.Time{}
	w.look()
	w.wrote()
}

func (w *world) close() {
	for _, stop := range w.stops {
		stop()
	}
	if err := w.store.Close(); err != nil {
		w.t.Fatalf("close: %v", err)
	}
	_, err := w.store.Inventory(w.ctx, nobody, devices[0])
	w.same("an inventory of a closed store", nil, nil, err, delivery.ErrClosed)
}

func (w *world) remove() {
	_ = w.store.Close()
	w.tried.noticed += w.book.noticed
	w.fixture.Remove()
}

// look has both clocks be read, and compares what is made of it.
func (w *world) look() {
	w.watch.look()
	w.book.now, w.book.sure, w.book.deaf = w.watch.now(), w.watch.sure, w.watch.tooEarly()
	var want error
	if w.watch.behind() {
		want = delivery.ErrClock
	}
	w.same("Ready", nil, nil, w.store.Ready(w.ctx), want)
}

// wrote reports whether something was committed since the last call. Then the
// time is kept, too.
func (w *world) wrote() bool {
	before := w.commits
	w.commits = w.fixture.Commits()
	if w.commits == before {
		return false
	}
	w.watch.disk = w.watch.sure
	if w.book.committed() && w.fixture.KeepsRevoked {
		for i, r := range w.revoked {
			w.revoked[i].at = earliest(r.at, w.book.now)
		}
		if w.backup != nil { // which learns it when it is put back
			w.backup.book.putRight(w.book.now)
		}
	}
	return true
}

// same compares two answers and their errors.
func (w *world) same(what string, got, want any, gotErr, wantErr error) {
	w.t.Helper()
	w.tried.compared++
	if !sameError(gotErr, wantErr) {
		w.t.Fatalf("%s: error %v, the reference says %v", what, gotErr, wantErr)
	}
	if g, r := text(got), text(want); g != r {
		w.t.Fatalf("%s:\n      store says %s\nthe reference %s", what, g, r)
	}
}
