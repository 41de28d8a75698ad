package delivery

import (
	"fmt"
	"math"
	"time"

	"welcomed/mls"
)

// A KeyPackageState is where a KeyPackage is in its life:
//
//	publish → available ──reserve──▶ reserved ──post──▶ matched ──claim──▶ consumed
//	              │                     │                  ▲
//	              ├── replace, shelf age, restore ▶ retired ┤       (reserved ──give back──▶ available or retired)
//	              └────────────────── post ────────────────┘
//	available, reserved, retired → expired     available, reserved, retired, matched → withdrawn
//
// A matched one ends with its Welcome: expired when that is never claimed. A
// last-resort KeyPackage is only ever available, retired, expired or
// withdrawn; what its Welcomes are in is kept per Welcome.
type KeyPackageState uint8

const (
	Available KeyPackageState = iota + 1 // on the shelf
	Reserved                             // handed to one caller
	Retired                              // off the shelf, still matchable by anyone
	Matched                              // an accepted Welcome names it
	Consumed                             // its Welcome was claimed
	Expired                              // nobody used it in time
	Withdrawn                            // its owner took it back
)

// KeyPackageStates lists every state, in the order of a life.
var KeyPackageStates = []KeyPackageState{Available, Reserved, Retired, Matched, Consumed, Expired, Withdrawn}

var keyPackageStateNames = [...]string{"", "available", "reserved", "retired", "matched", "consumed", "expired", "withdrawn"}

// String returns the name used in the API and in metrics.
func (s KeyPackageState) String() string {
	if int(s) < len(keyPackageStateNames) {
		return keyPackageStateNames[s]
	}
	return "invalid"
}

// Ended reports whether no Welcome can name the KeyPackage any more.
func (s KeyPackageState) Ended() bool { return s == Consumed || s == Expired || s == Withdrawn }

// A NewKeyPackage is one item of a publication: parsed, verified with
// (*mls.KeyPackage).Verify, not yet judged by the clock.
type NewKeyPackage struct {
	Ref        mls.KeyPackageRef
	Suite      mls.CipherSuite
	LastResort bool
	Lifetime   mls.Lifetime
	InitKey    []byte
	Bytes      []byte // bare
	// RestoreEpoch is one that the device had read before it made the KeyPackage;
	// empty if it does not say.
	RestoreEpoch string
}

// Publication returns kp as an item of a publication. It shares kp's bytes.
func Publication(kp *mls.KeyPackage) NewKeyPackage {
	return NewKeyPackage{
		Ref:        kp.Ref(),
		Suite:      kp.CipherSuite,
		LastResort: kp.LastResort(),
		Lifetime:   kp.LeafNode.Lifetime,
		InitKey:    kp.InitKey,
		Bytes:      kp.Bytes(),
	}
}

// Judge says whether kp may be published at now; ok is false with the code and
// the reason if not. Its lifetime is over only if it was at sure, a time that is
// certain.
func (l Limits) Judge(kp NewKeyPackage, sure, now time.Time) (code ItemCode, detail string, ok bool) {
	start, end := lifetimeTime(kp.Lifetime.NotBefore), lifetimeTime(kp.Lifetime.NotAfter)
	width := kp.Lifetime.NotAfter - kp.Lifetime.NotBefore
	switch {
	case !l.Accepts(kp.Suite):
		return ItemUnsupportedCipherSuite, "cipher suite " + kp.Suite.String() + " is not accepted here, " + l.Accepted(), false
	case !sure.Before(end):
		return ItemExpired, "not_after was " + roughly(sure.Sub(end)) + " ago, at " + end.Format(time.RFC3339), false
	case start.After(now.Add(l.ClockSkew)):
		return ItemNotYetValid, "not_before is " + roughly(start.Sub(now)) + " ahead of the server's clock, at " + start.Format(time.RFC3339), false
	case l.MaxLifetime > 0 && width > uint64(l.MaxLifetime/time.Second):
		return ItemLifetimeTooLong, "the lifetime exceeds " + l.MaxLifetime.String(), false
	}
	return "", "", true
}

// roughly is d in words that people read, to the hour from two days on.
func roughly(d time.Duration) string {
	if d < 2*day {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%d days", d/day)
}

// A KeyPackageRecord is the state row of one KeyPackage. Its methods decide
// every transition; a store only keeps the result.
type KeyPackageRecord struct {
	Ref            mls.KeyPackageRef
	Suite          mls.CipherSuite
	LastResort     bool
	State          KeyPackageState // as last written
	Lifetime       mls.Lifetime
	PublishedAt    time.Time
	ShelfUntil     time.Time // when an available one retires
	MatchableUntil time.Time // when an available, reserved or retired one expires
	ReservedBy     string    // Caller.ID of the reserver
	ReservedAt     time.Time
	Abandoned      bool      // the reservation has been counted as abandoned
	HandedOutAt    time.Time // last resort: first reserved
	EndedAt        time.Time
	Welcome        WelcomeID // that matched it last
	Open           int       // Welcomes for it that have not ended (last resort: any number)
	// BeforeRestore: it may have been handed out before the store was restored, and
	// nobody knows to whom.
	BeforeRestore bool
	// Early: its lifetime had not begun when it was published, nor when a sweep has looked
	// last. It is on the shelf and does not count as stock.
	Early       bool
	Reservation ReservationID // that holds or held it; 0: it was not reserved, or was given back
	Returned    Return
}

// NewKeyPackageRecord returns the row of kp when it is published at now. One
// that has too little of its lifetime left to be handed out, counted from sure, a time
// that is certain, or will have when that begins, starts as retired.
func (l Limits) NewKeyPackageRecord(kp NewKeyPackage, sure, now time.Time) KeyPackageRecord {
	r := KeyPackageRecord{
		Ref: kp.Ref, Suite: kp.Suite, LastResort: kp.LastResort, Lifetime: kp.Lifetime,
		State: Available, PublishedAt: now,
	}
	// A clock may be believed that shows the first day of 1970. No time before that is
	// kept.
	r.ShelfUntil = later(sure, earlier(r.NotAfter().Add(-l.LifetimeMargin), now.Add(l.ShelfAge)))
	r.MatchableUntil = earlier(r.NotAfter(), r.ShelfUntil.Add(l.RetiredFor))
	if r.TooShortLived(sure) {
		r.State = Retired
		r.MatchableUntil = earlier(r.NotAfter(), now.Add(l.RetiredFor))
	}
	r.Early = r.State == Available && r.NotBefore().After(now)
	return r
}

// InStock reports whether the KeyPackage counts as stock: as last written, it can be
// handed out.
func (r *KeyPackageRecord) InStock() bool { return r.State == Available && !r.Early }

// ShelfDue is when a sweep has to look at an available KeyPackage.
func (r *KeyPackageRecord) ShelfDue() time.Time {
	if r.Early {
		return earlier(later(r.PublishedAt, r.NotBefore()), r.ShelfUntil)
	}
	return r.ShelfUntil
}

// TooShortLived reports whether the KeyPackage, published at sure, has too little of its
// lifetime left, or will have when that begins.
func (r *KeyPackageRecord) TooShortLived(sure time.Time) bool {
	return !r.ShelfUntil.After(later(sure, r.NotBefore()))
}

// NotAfter is the end of the lifetime, at most the year 9999.
func (r *KeyPackageRecord) NotAfter() time.Time { return lifetimeTime(r.Lifetime.NotAfter) }

// ExpiresAt is what a publisher is told: when the KeyPackage leaves the shelf
// at the latest.
func (r *KeyPackageRecord) ExpiresAt(l Limits) time.Time {
	return earlier(r.NotAfter(), r.PublishedAt.Add(l.ShelfAge))
}

// StateAt returns the state that a sweep at now writes.
func (r *KeyPackageRecord) StateAt(now time.Time) KeyPackageState {
	switch r.State {
	case Available, Reserved, Retired:
		if !now.Before(r.MatchableUntil) {
			return Expired
		}
		if r.State == Available && !now.Before(r.ShelfUntil) {
			return Retired
		}
	}
	return r.State
}

// Told returns the state that is told at sure, a time that is certain. One that is
// too old for the shelf is retired. One that is too old to be matched is told to
// have expired only after a sweep has written it, because what is told is not taken
// back, and a clock that was trusted may still turn out to have been wrong.
func (r *KeyPackageRecord) Told(sure time.Time) KeyPackageState {
	if r.State == Available && !sure.Before(r.ShelfUntil) {
		return Retired
	}
	return r.State
}

// OnShelf reports whether the KeyPackage may be listed and reserved at now: it was
// available at sure, a time that is certain, and its lifetime has begun.
func (r *KeyPackageRecord) OnShelf(sure, now time.Time) bool {
	return r.StateAt(sure) == Available && !r.NotBefore().After(now)
}

// FreshFor is how long a KeyPackage counts as fresh after its publication.
const FreshFor = 24 * time.Hour

// Fresh reports whether the KeyPackage is on the shelf, its lifetime begun or not, and
// was published lately. It was available at sure, a time that is certain.
func (r *KeyPackageRecord) Fresh(sure, now time.Time) bool {
	return r.Told(sure) == Available && now.Sub(r.PublishedAt) < FreshFor
}

// UsableFrom is when an available KeyPackage can be handed out; zero if that is now,
// or never. It was available at sure.
func (r *KeyPackageRecord) UsableFrom(sure, now time.Time) (at time.Time) {
	if from := r.NotBefore(); r.StateAt(sure) == Available && from.After(now) {
		at = from
	}
	return at
}

// NotBefore is the start of the lifetime, at most the year 9999.
func (r *KeyPackageRecord) NotBefore() time.Time { return lifetimeTime(r.Lifetime.NotBefore) }

// Needed reports whether its device must keep the private key: a Welcome may
// still come or has come and is not settled. No clock ends that, only what was
// written: a device throws away a key that is not needed.
func (r *KeyPackageRecord) Needed() bool { return r.Open > 0 || !r.State.Ended() }

// Match decides whether a Welcome matches this KeyPackage, which it names. suite is the
// Welcome's, and caller its poster. The KeyPackage counts as expired only if it had expired at
// sure, a time that is certain. An empty status means that the Welcome matches; any other one
// says why it does not.
func (r *KeyPackageRecord) Match(l Limits, suite mls.CipherSuite, caller Caller, sure time.Time) Status {
	if r.Suite != suite {
		return StatusWrongSuite
	}
	switch r.StateAt(sure) {
	case Matched:
		return StatusTaken
	case Consumed:
		return StatusConsumed
	case Expired:
		return StatusExpired
	case Withdrawn:
		return StatusWithdrawn
	case Reserved:
		if r.ReservedBy != "" && !caller.May(r.ReservedBy) {
			return StatusTaken
		}
	}
	if l.MatchReserved && !r.BeforeRestore && !r.reservedFor(caller) {
		return StatusNotReserved
	}
	return ""
}

// reservedFor reports whether caller was handed the KeyPackage; of a last
// resort, whether anybody was.
func (r *KeyPackageRecord) reservedFor(caller Caller) bool {
	if r.LastResort {
		return !r.HandedOutAt.IsZero()
	}
	return r.State == Reserved && caller.May(r.ReservedBy)
}

// Reserve marks the KeyPackage as handed to the caller with the id by.
func (r *KeyPackageRecord) Reserve(l Limits, by string, now time.Time) {
	if r.LastResort {
		if r.HandedOutAt.IsZero() {
			r.HandedOutAt, r.Early = now, false
		}
		return
	}
	r.State, r.Early = Reserved, false
	r.ReservedBy, r.ReservedAt, r.Abandoned = by, now, false
	r.MatchableUntil = earlier(r.NotAfter(), now.Add(l.RetiredFor))
}

// Retire takes an available KeyPackage off the shelf at now. One whose time to be
// matched has passed meanwhile, or passes sooner, gets no more of it.
func (r *KeyPackageRecord) Retire(l Limits, now time.Time) {
	r.State = Retired
	r.MatchableUntil = earlier(r.MatchableUntil, now.Add(l.RetiredFor))
}

// End moves the KeyPackage to a state that has Ended.
func (r *KeyPackageRecord) End(s KeyPackageState, now time.Time) {
	r.State, r.EndedAt = s, now
}

// ForgetAt is when the tombstone of an ended KeyPackage goes; openEnd is when
// its last Welcome ends or ended.
func (r *KeyPackageRecord) ForgetAt(l Limits, openEnd time.Time) time.Time {
	keep := later(later(r.NotAfter(), r.EndedAt.Add(l.TombstoneKept)), openEnd)
	return earlier(keep, r.EndedAt.Add(l.TombstoneKeptMost))
}

// lifetimeTime converts a protocol time (seconds since 1970, any uint64,
// RFC 9420 §7.2) to a time that can be compared and printed.
func lifetimeTime(seconds uint64) time.Time {
	const year9999 = 253402300799
	return time.Unix(int64(min(seconds, year9999, math.MaxInt64)), 0).UTC()
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
