package delivery

import (
	"errors"
	"math"
	"testing"
	"time"

	"welcomed/mls"
)

var testNow = time.Date(2030, time.March, 4, 9, 0, 0, 0, time.UTC)

// lasting is a lifetime relative to testNow.
func lasting(from, until time.Duration) mls.Lifetime {
	return mls.Lifetime{NotBefore: uint64(testNow.Add(from).Unix()), NotAfter: uint64(testNow.Add(until).Unix())}
}

var endless = mls.Lifetime{NotAfter: math.MaxUint64}

func TestJudge(t *testing.T) {
	l := DefaultLimits()
	l.CipherSuites = []mls.CipherSuite{1, 2}
	l.MaxLifetime = 90 * day
	for _, test := range []struct {
		name     string
		suite    mls.CipherSuite
		lifetime mls.Lifetime
		want     ItemCode
	}{
		{"good", 1, lasting(0, 90*day), ""},
		{"another suite", 3, lasting(0, 90*day), ItemUnsupportedCipherSuite},
		{"ends now", 1, lasting(-day, 0), ItemExpired},
		{"ends in a second", 1, lasting(-day, time.Second), ""},
		{"begins in a day", 2, lasting(day, 10*day), ""},
		{"begins later", 2, lasting(day+time.Second, 10*day), ItemNotYetValid},
		{"too long", 1, lasting(-time.Second, 90*day), ItemLifetimeTooLong},
		{"without end", 1, endless, ItemLifetimeTooLong},
		{"beyond int64", 1, mls.Lifetime{NotBefore: math.MaxInt64, NotAfter: math.MaxUint64}, ItemNotYetValid},
	} {
		code, detail, ok := l.Judge(NewKeyPackage{Suite: test.suite, Lifetime: test.lifetime}, testNow, testNow)
		if code != test.want || ok != (test.want == "") || (detail == "") != ok {
			t.Errorf("%s: %q, %q, %v", test.name, code, detail, ok)
		}
	}
	l.MaxLifetime = 0
	if code, _, ok := l.Judge(NewKeyPackage{Suite: 1, Lifetime: endless}, testNow, testNow); !ok {
		t.Errorf("without end and without maximum: %s", code)
	}
}

// A life is what a KeyPackage is at some times after it was published.
type life map[time.Duration]KeyPackageState

func TestKeyPackageRecordStateAt(t *testing.T) {
	l := DefaultLimits()
	for _, test := range []struct {
		name     string
		lifetime mls.Lifetime
		change   func(r *KeyPackageRecord)
		want     life
	}{
		{"nobody wants it", endless, nil,
			life{0: Available, 90*day - 1: Available, 90 * day: Retired, 120*day - 1: Retired, 120 * day: Expired}},
		{"not_after comes before its age", lasting(0, 10*day), nil,
			life{9*day - 1: Available, 9 * day: Retired, 10*day - 1: Retired, 10 * day: Expired}},
		{"it comes with under a day left", lasting(-day, 23*time.Hour), nil,
			life{0: Retired, 23*time.Hour - 1: Retired, 23 * time.Hour: Expired}},
		{"not_after cuts the time in which it is retired", lasting(0, 100*day), nil,
			life{90 * day: Retired, 100*day - 1: Retired, 100 * day: Expired}},
		{"it was reserved", endless, func(r *KeyPackageRecord) { r.Reserve(l, "bob", testNow) },
			life{0: Reserved, 30*day - 1: Reserved, 30 * day: Expired}},
		{"it was reserved late", lasting(0, 10*day), func(r *KeyPackageRecord) { r.Reserve(l, "", testNow.Add(8*day)) },
			life{9 * day: Reserved, 10 * day: Expired}},
		{"it was retired", endless, func(r *KeyPackageRecord) { r.Retire(l, testNow.Add(day)) },
			life{day: Retired, 31*day - 1: Retired, 31 * day: Expired}},
		{"it was matched", lasting(0, day), func(r *KeyPackageRecord) { r.State = Matched }, life{0: Matched, 99 * day: Matched}},
		{"it was withdrawn", lasting(0, day), func(r *KeyPackageRecord) { r.End(Withdrawn, testNow) }, life{0: Withdrawn, 99 * day: Withdrawn}},
	} {
		r := l.NewKeyPackageRecord(NewKeyPackage{Suite: 1, Lifetime: test.lifetime}, testNow, testNow)
		if test.change != nil {
			test.change(&r)
		}
		for after, want := range test.want {
			now := testNow.Add(after)
			if got := r.StateAt(now); got != want {
				t.Errorf("%s: after %v it is %v, want %v", test.name, after, got, want)
			}
			if got := r.OnShelf(now, now); got != (want == Available) {
				t.Errorf("%s: after %v it is on the shelf: %v", test.name, after, got)
			}
			told := want
			if want == Expired { // as a sweep that has not been would write it
				told = r.State
				if r.State == Available {
					told = Retired
				}
			}
			if got := r.Told(now); got != told || r.Needed() == told.Ended() {
				t.Errorf("%s: after %v it is told to be %v, and needed: %v", test.name, after, got, r.Needed())
			}
		}
	}
}

func TestKeyPackageRecordIsKeptOffTheShelfUntilNotBefore(t *testing.T) {
	r := DefaultLimits().NewKeyPackageRecord(NewKeyPackage{Lifetime: lasting(time.Hour, 90*day)}, testNow, testNow)
	if r.OnShelf(testNow, testNow.Add(time.Hour-1)) || !r.OnShelf(testNow, testNow.Add(time.Hour)) {
		t.Error("on the shelf too early or too late")
	}
}

func TestKeyPackageRecordMatch(t *testing.T) {
	l, bob, carol := DefaultLimits(), Caller{User: "bob"}, Caller{User: "carol"}
	for _, test := range []struct {
		name   string
		change func(r *KeyPackageRecord)
		caller Caller
		suite  mls.CipherSuite
		want   Status
	}{
		{"available", func(*KeyPackageRecord) {}, bob, 1, ""},
		{"another suite", func(*KeyPackageRecord) {}, bob, 3, StatusWrongSuite},
		{"retired", func(r *KeyPackageRecord) { r.Retire(l, testNow) }, bob, 1, ""},
		{"reserved by the caller", func(r *KeyPackageRecord) { r.Reserve(l, bob.ID(), testNow) }, bob, 1, ""},
		{"reserved by another", func(r *KeyPackageRecord) { r.Reserve(l, carol.ID(), testNow) }, bob, 1, StatusTaken},
		{"reserved by a service of that name", func(r *KeyPackageRecord) { r.Reserve(l, Caller{Service: "bob"}.ID(), testNow) }, bob, 1, StatusTaken},
		{"reserved by nobody", func(r *KeyPackageRecord) { r.Reserve(l, "", testNow) }, bob, 1, ""},
		{"reserved, without authentication", func(r *KeyPackageRecord) { r.Reserve(l, carol.ID(), testNow) }, Unauthenticated(), 1, ""},
		{"reserved, last resort", func(r *KeyPackageRecord) { r.LastResort = true; r.Reserve(l, carol.ID(), testNow) }, bob, 1, ""},
		{"matched", func(r *KeyPackageRecord) { r.State = Matched }, bob, 1, StatusTaken},
		{"consumed", func(r *KeyPackageRecord) { r.End(Consumed, testNow) }, bob, 1, StatusConsumed},
		{"withdrawn", func(r *KeyPackageRecord) { r.End(Withdrawn, testNow) }, bob, 1, StatusWithdrawn},
		{"expired and not swept", func(r *KeyPackageRecord) { r.MatchableUntil = testNow }, bob, 1, StatusExpired},
	} {
		r := l.NewKeyPackageRecord(NewKeyPackage{Suite: 1, Lifetime: endless}, testNow, testNow)
		test.change(&r)
		if got := r.Match(l, test.suite, test.caller, testNow); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestKeyPackageRecordMatchReserved(t *testing.T) {
	l, bob, carol := DefaultLimits(), Caller{User: "bob"}, Caller{User: "carol"}
	l.MatchReserved = true
	lastResort := func(r *KeyPackageRecord) { r.LastResort = true }
	for _, test := range []struct {
		name   string
		change func(r *KeyPackageRecord)
		caller Caller
		want   Status
	}{
		{"available", func(*KeyPackageRecord) {}, bob, StatusNotReserved},
		{"available, without authentication", func(*KeyPackageRecord) {}, Unauthenticated(), StatusNotReserved},
		{"aged and not swept", func(r *KeyPackageRecord) { r.ShelfUntil = testNow }, bob, StatusNotReserved},
		{"retired", func(r *KeyPackageRecord) { r.Retire(l, testNow) }, bob, StatusNotReserved},
		{"reserved by the caller", func(r *KeyPackageRecord) { r.Reserve(l, bob.ID(), testNow) }, bob, ""},
		{"reserved by another", func(r *KeyPackageRecord) { r.Reserve(l, carol.ID(), testNow) }, bob, StatusTaken},
		{"reserved by nobody, when there was no authentication yet", func(r *KeyPackageRecord) { r.Reserve(l, "", testNow) }, bob, StatusNotReserved},
		{"reserved, without authentication", func(r *KeyPackageRecord) { r.Reserve(l, carol.ID(), testNow) }, Unauthenticated(), ""},
		{"reserved and expired", func(r *KeyPackageRecord) { r.Reserve(l, bob.ID(), testNow); r.MatchableUntil = testNow }, bob, StatusExpired},
		{"matched", func(r *KeyPackageRecord) { r.State = Matched }, bob, StatusTaken},
		{"last resort", lastResort, bob, StatusNotReserved},
		{"last resort, handed out", func(r *KeyPackageRecord) { lastResort(r); r.Reserve(l, carol.ID(), testNow) }, bob, ""},
		{"last resort, handed out and retired", func(r *KeyPackageRecord) { lastResort(r); r.Reserve(l, carol.ID(), testNow); r.Retire(l, testNow) }, bob, ""},
	} {
		r := l.NewKeyPackageRecord(NewKeyPackage{Suite: 1, Lifetime: endless}, testNow, testNow)
		test.change(&r)
		if got := r.Match(l, 1, test.caller, testNow); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestKeyPackageRecordForgetAt(t *testing.T) {
	l := DefaultLimits()
	for _, test := range []struct {
		name     string
		lifetime mls.Lifetime
		openEnd  time.Duration
		want     time.Duration
	}{
		{"at least a month", lasting(-day, day), 0, 30 * day},
		{"until not_after", lasting(-day, 100*day), 0, 100 * day},
		{"until its Welcome has ended", lasting(-day, day), 44 * day, 44 * day},
		{"not for ever", endless, 0, 400 * day},
	} {
		r := l.NewKeyPackageRecord(NewKeyPackage{Lifetime: test.lifetime}, testNow, testNow)
		r.End(Consumed, testNow)
		if got := r.ForgetAt(l, testNow.Add(test.openEnd)).Sub(testNow); got != test.want {
			t.Errorf("%s: after %v, want %v", test.name, got, test.want)
		}
	}
}

func TestRecipientRecordStateAt(t *testing.T) {
	l := DefaultLimits()
	at := func(m RecipientRecord, after time.Duration, want WelcomeState) {
		t.Helper()
		if got := m.StateAt(testNow.Add(after)); got != want {
			t.Errorf("after %v: %v, want %v", after, got, want)
		}
	}
	m := l.NewRecipientRecord(true, testNow)
	at(m, 30*day-1, Held)
	at(m, 30*day, WelcomeExpired)
	m.Release(testNow.Add(day))
	at(m, 30*day-1, Pending)
	at(m, 30*day, WelcomeExpired)
	m.Deliver(l, testNow.Add(29*day))
	at(m, 43*day-1, Delivered)
	at(m, 43*day, Lapsed)
	m.End(Acknowledged, testNow.Add(30*day))
	at(m, 99*day, Acknowledged)
	if m = l.NewRecipientRecord(false, testNow); m.State != Pending || !m.ReleasedAt.Equal(testNow) {
		t.Errorf("without a hold: %v, released at %v", m.State, m.ReleasedAt)
	}
}

func TestRecipientRecordSettle(t *testing.T) {
	l, lapsed := DefaultLimits(), 15*day
	for _, test := range []struct {
		name    string
		given   bool
		before  []WelcomeState
		after   time.Duration
		settle  WelcomeState
		want    WelcomeState
		changed bool
		err     error
	}{
		{"acknowledge", true, nil, 0, Acknowledged, Acknowledged, true, nil},
		{"reject", true, nil, 0, Rejected, Rejected, true, nil},
		{"acknowledge again", true, []WelcomeState{Acknowledged}, 0, Acknowledged, Acknowledged, false, nil},
		{"reject again", true, []WelcomeState{Rejected}, 0, Rejected, Rejected, false, nil},
		{"acknowledge after a rejection", true, []WelcomeState{Rejected}, 0, Acknowledged, Acknowledged, true, nil},
		{"reject after an acknowledgement", true, []WelcomeState{Acknowledged}, 0, Rejected, Acknowledged, false, nil},
		{"acknowledge late", true, nil, lapsed, Acknowledged, Acknowledged, true, nil},
		{"reject late", true, nil, lapsed, Rejected, Rejected, true, nil},
		{"reject after the sweep", true, []WelcomeState{Lapsed}, lapsed, Rejected, Lapsed, false, nil},
		{"acknowledge after the sweep", true, []WelcomeState{Lapsed}, lapsed, Acknowledged, Acknowledged, true, nil},
		{"acknowledge what was not given", false, nil, 0, Acknowledged, Pending, false, ErrNotDelivered},
		{"reject what was not given", false, nil, 0, Rejected, Pending, false, ErrNotDelivered},
		{"acknowledge what was cancelled", false, []WelcomeState{Cancelled}, 0, Acknowledged, Cancelled, false, ErrNotDelivered},
	} {
		m := l.NewRecipientRecord(false, testNow)
		if test.given {
			m.Deliver(l, testNow)
		}
		for _, s := range test.before {
			m.End(s, testNow)
		}
		now := testNow.Add(test.after)
		changed, err := m.Settle(test.settle, now)
		if changed != test.changed || !errors.Is(err, test.err) || m.StateAt(now) != test.want {
			t.Errorf("%s: %v, %v, %v", test.name, m.StateAt(now), changed, err)
		}
	}
}

func TestStatesHaveNames(t *testing.T) {
	names := map[string]bool{}
	for _, s := range KeyPackageStates {
		names["KeyPackage "+s.String()] = true
	}
	for _, s := range WelcomeStates {
		names["Welcome "+s.String()] = true
	}
	if len(names) != len(KeyPackageStates)+len(WelcomeStates) || names["KeyPackage invalid"] || names["Welcome invalid"] {
		t.Errorf("names are %v", names)
	}
	if KeyPackageState(99).String() != "invalid" || WelcomeState(99).String() != "invalid" {
		t.Error("a state out of range has a name")
	}
}

// A store keeps no time before 1970, and a time that is not kept is missing in what is
// exported.
func TestTooShortLivedInTheFirstHoursOf1970(t *testing.T) {
	l, now := DefaultLimits(), time.Unix(20, 0)
	kp := NewKeyPackage{Suite: 1, Lifetime: mls.Lifetime{NotAfter: uint64(now.Add(time.Hour).Unix())}}
	r := l.NewKeyPackageRecord(kp, now, now)
	if r.State != Retired || !r.TooShortLived(now) {
		t.Errorf("it is %v", r.State)
	}
	if r.ShelfUntil.Unix() < 0 || r.MatchableUntil.Unix() < 0 {
		t.Errorf("on the shelf until %v, matchable until %v", r.ShelfUntil, r.MatchableUntil)
	}
}
