package model

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// A book is the reference: what a store holds, as lists that every event walks
// from end to end. It says again, in the plainest way, what the contract says;
// nothing of a store and no transition of package delivery is called from here.
//
// now is what happens is dated by, sure is the time that has come for certain: only
// by that does anything end. A Welcome ends by time when a sweep ends it, and a
// KeyPackage is told to have ended then.
type book struct {
	limits      delivery.Limits
	now, sure   time.Time
	swept       time.Time                       // the latest sure of a sweep: sure may go back
	carriedOut  time.Time                       // the latest sure when what was revoked was carried out again
	dated       time.Time                       // what happened last: now may go back, too
	devices     map[delivery.DeviceID]*device   // those that exist
	keyPackages []*keyPackage                   // in the order of publication
	welcomes    []*welcome                      // in the order of posting
	forgotten   []*welcome                      // since events were looked at
	repeats     map[string]*repeat              // by caller and idempotency key
	gives       int                             // how often a Welcome was given
	lives       int                             // how many devices there were
	removed     map[delivery.DeviceID]time.Time // when they were, last; they may be back
	maybe       map[delivery.DeviceID]time.Time // a later removal, which may not be known
	byUser      map[delivery.DeviceID]bool      // known only by its user's removal, since a restore
	tokens      []delivery.Token                // in the order of their making
	unsure      map[string]bool                 // those that may not be there

	watched, lastSweep time.Time // since when sweeps have seen time pass, and the last of them

	noted   []*keyPackage // that a reservation has found damaged
	noticed int           // what was found damaged so far
	deaf    bool          // nothing is written: the time cannot be

	restoredAt   time.Time                       // last; zero if never
	reservation  delivery.ReservationID          // what the store calls the next one
	restoredOver map[delivery.ReservationID]bool // those that were there at a restore
	epoch        string                          // that says which restore it was
}

// A device exists from its first publication until it is removed.
type device struct {
	heard time.Time // when it last claimed, or published something new
	last  time.Time // when it last did anything
	life  int       // one that is made again under its id is another
	only  time.Time // since when it has published nothing but last resorts, if it has
	told  time.Time // when it was seen last, as the store says, which may be a day late
	idle  bool      // a sweep found that it was not seen for long
}

// A keyPackage is one that was accepted and not forgotten.
type keyPackage struct {
	item  delivery.NewKeyPackage
	owner delivery.DeviceID
	life  int                      // of the owner
	state delivery.KeyPackageState // when something last happened to it
	// unswept is what it was when its device was removed, as it is counted until a
	// sweep; 0 if it was not, or was swept.
	unswept delivery.KeyPackageState

	published, shelfUntil, usableUntil time.Time
	reservedBy                         string
	reserved, handedOut, ended         time.Time
	closed                             time.Time // ended, and no Welcome for it is open
	abandoned                          bool      // counted as such
	early                              bool      // not yet valid, when a sweep looked last
	forgotten                          bool      // to whom it was handed out, by a restore
	reservation                        delivery.ReservationID
	cleared                            bool // its shelf was replaced or restored since it was reserved
	returned                           delivery.Return
	welcome                            *delivery.WelcomeID // that matched it last
	damaged                            bool                // its bytes, and nobody has noticed
	dropped                            bool                // its bytes, because they were damaged
	swept                              bool                // its bytes may be, before it was given to its owner
}

// A welcome is a Welcome that was accepted.
type welcome struct {
	id         delivery.WelcomeID
	poster     delivery.Caller
	posting    delivery.Posting
	postedAt   time.Time
	released   bool
	cancelled  bool
	overdue    bool // counted as a hold that is
	damaged    bool // what its recipients share, and nobody has noticed
	wasDamaged bool // that was damaged once: its context is not compared any more
	recipients []*recipient
}

// A recipient is what becomes of a Welcome for one KeyPackage.
type recipient struct {
	ref     mls.KeyPackageRef
	verdict delivery.Status // empty if it matched
	device  *delivery.DeviceID
	life    int // of the device, if it matched
	by      *delivery.WelcomeID
	unswept delivery.WelcomeState // as of a KeyPackage

	state                                        delivery.WelcomeState
	released, delivered, withheld, ended, closed time.Time
	until                                        time.Time
	reason                                       delivery.Reason
	detail                                       string
	damaged                                      bool // its secret
	lastGiven                                    int  // which of book.gives that was; orders redelivery
	overdue                                      bool // its device has claimed since it waits
}

// A repeat is the answer that a reservation gets again.
type repeat struct {
	request delivery.ReserveRequest
	device  string // of the caller
	answer  delivery.Reservation
	until   time.Time
}

func newBook(limits delivery.Limits) *book {
	return &book{limits: limits, devices: map[delivery.DeviceID]*device{}, repeats: map[string]*repeat{}, restoredOver: map[delivery.ReservationID]bool{}, removed: map[delivery.DeviceID]time.Time{}, maybe: map[delivery.DeviceID]time.Time{}, byUser: map[delivery.DeviceID]bool{}, unsure: map[string]bool{}}
}

// committed notes that something is dated now. If that is earlier than before, then
// what was dated later is known to have happened before now, and it reports that.
func (b *book) committed() (setBack bool) {
	if setBack = b.dated.Sub(b.now) >= time.Second; setBack {
		b.putRight(b.now)
	}
	b.dated = b.now
	return setBack
}

// putRight dates nothing later than that.
func (b *book) putRight(now time.Time) {
	for id, at := range b.removed {
		b.removed[id] = earliest(at, now)
	}
	for id, at := range b.maybe {
		b.maybe[id] = earliest(at, now)
	}
	b.restoredAt = earliest(b.restoredAt, now)
}

// copy is what a backup holds.
func (b *book) copy() *book {
	c := *b
	c.devices, c.repeats = maps.Clone(b.devices), maps.Clone(b.repeats)
	c.restoredOver = maps.Clone(b.restoredOver)
	c.removed, c.maybe, c.byUser, c.tokens = maps.Clone(b.removed), maps.Clone(b.maybe), maps.Clone(b.byUser), slices.Clone(b.tokens)
	c.unsure = maps.Clone(b.unsure)
	for id, d := range c.devices {
		c.devices[id] = again(d)
	}
	c.keyPackages = slices.Clone(b.keyPackages)
	for i, k := range c.keyPackages {
		c.keyPackages[i] = again(k)
	}
	c.welcomes = slices.Clone(b.welcomes)
	for i, l := range c.welcomes {
		c.welcomes[i] = again(l)
		c.welcomes[i].recipients = slices.Clone(l.recipients)
		for j, e := range l.recipients {
			c.welcomes[i].recipients[j] = again(e)
		}
	}
	return &c
}

func again[T any](v *T) *T {
	c := *v
	return &c
}

// endOf turns not_after into a time, at most the last second of the year 9999.
func endOf(seconds uint64) time.Time {
	last := time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)
	if seconds > uint64(last.Unix()) {
		return last
	}
	return time.Unix(int64(seconds), 0).UTC()
}

func first(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// come reports whether a time has come.
func come(at, now time.Time) bool { return !at.After(now) }

// stateAt is the state of a KeyPackage that nothing but time has happened to.
func (k *keyPackage) stateAt(now time.Time) delivery.KeyPackageState {
	idle := k.state == delivery.Available || k.state == delivery.Reserved || k.state == delivery.Retired
	if idle && come(k.usableUntil, now) {
		return delivery.Expired
	}
	if k.state == delivery.Available && come(k.shelfUntil, now) {
		return delivery.Retired
	}
	return k.state
}

// told is the state that is told.
func (k *keyPackage) told(sure time.Time) delivery.KeyPackageState {
	if k.state == delivery.Available && come(k.shelfUntil, sure) {
		return delivery.Retired
	}
	return k.state
}

func over(s delivery.KeyPackageState) bool {
	return s == delivery.Consumed || s == delivery.Expired || s == delivery.Withdrawn
}

// begun reports whether not_before has come.
func (k *keyPackage) begun(now time.Time) bool {
	return k.item.Lifetime.NotBefore <= uint64(now.Unix())
}

func (e *recipient) stateAt(now time.Time) delivery.WelcomeState {
	if e.verdict == "" && come(e.until, now) {
		switch e.state {
		case delivery.Held, delivery.Pending:
			return delivery.WelcomeExpired
		case delivery.Delivered:
			return delivery.Lapsed
		}
	}
	return e.state
}

func (e *recipient) open() bool {
	return e.verdict == "" && (e.state == delivery.Held || e.state == delivery.Pending || e.state == delivery.Delivered)
}

func (l *welcome) held() bool { return l.posting.Hold && !l.released && !l.cancelled }

// ended reports whether no recipient is left, and when the last of them ended.
func (l *welcome) ended() (at time.Time, ok bool) {
	for _, e := range l.recipients {
		if e.open() || e.unswept != 0 {
			return at, false
		}
		if e.closed.After(at) {
			at = e.closed
		}
	}
	return at, true
}

func (b *book) find(ref mls.KeyPackageRef) *keyPackage {
	for _, k := range b.keyPackages {
		if k.item.Ref == ref {
			return k
		}
	}
	return nil
}

func (b *book) welcome(id delivery.WelcomeID) *welcome {
	for _, l := range b.welcomes {
		if l.id == id {
			return l
		}
	}
	return nil
}

// open returns the recipients for a KeyPackage that have not ended.
func (b *book) open(k *keyPackage) (found []*recipient) {
	for _, l := range b.welcomes {
		for _, e := range l.recipients {
			if e.ref == k.item.Ref && e.open() {
				found = append(found, e)
			}
		}
	}
	return found
}

// needed reports whether the device must keep the private key.
func (b *book) needed(k *keyPackage) bool {
	return !over(k.state) || len(b.open(k)) > 0
}

// of returns the KeyPackages of a device.
func (b *book) of(id delivery.DeviceID) (found []*keyPackage) {
	for _, k := range b.keyPackages {
		if k.owner == id {
			found = append(found, k)
		}
	}
	return found
}

// recipients returns the recipients that matched a KeyPackage of the device.
func (b *book) recipients(id delivery.DeviceID) (found []*recipient) {
	for _, l := range b.welcomes {
		found = append(found, l.of(id)...)
	}
	return found
}

func (l *welcome) of(id delivery.DeviceID) (found []*recipient) {
	for _, e := range l.recipients {
		if e.verdict == "" && *e.device == id {
			found = append(found, e)
		}
	}
	return found
}

// devicesOf returns a user's devices by name.
func (b *book) devicesOf(user delivery.UserID) (names []string) {
	for id := range b.devices {
		if id.User == user {
			names = append(names, id.Name)
		}
	}
	slices.Sort(names)
	return names
}

// end ends a recipient and lets its KeyPackage go: one that was matched ends with
// its Welcome.
func (b *book) end(e *recipient, as delivery.WelcomeState, at time.Time) {
	e.state, e.ended, e.closed, e.overdue = as, at, at, false
	k := b.find(e.ref)
	if k.state == delivery.Matched {
		b.finish(k, delivery.Expired, at)
	}
	b.close(k)
}

// finish ends a KeyPackage.
func (b *book) finish(k *keyPackage, as delivery.KeyPackageState, at time.Time) {
	k.state, k.ended = as, at
	b.close(k)
}

func (b *book) close(k *keyPackage) {
	if over(k.state) && k.closed.IsZero() && len(b.open(k)) == 0 {
		k.closed = b.now
	}
}

func (b *book) retire(k *keyPackage) {
	k.state = delivery.Retired
	k.usableUntil = first(k.usableUntil, b.now.Add(b.limits.RetiredFor))
}

func (b *book) reserveFor(k *keyPackage, by string) {
	if k.item.LastResort {
		if k.handedOut.IsZero() {
			k.handedOut, k.early = b.now, false
		}
		return
	}
	k.state, k.reservedBy, k.reserved, k.abandoned, k.early = delivery.Reserved, by, b.now, false, false
	k.usableUntil = first(endOf(k.item.Lifetime.NotAfter), b.now.Add(b.limits.RetiredFor))
}

// withdraw ends a KeyPackage at its owner's wish and reports whether that has
// changed anything.
func (b *book) withdraw(k *keyPackage) (changed bool) {
	if k.state == delivery.Consumed {
		return false
	}
	ended := over(k.state)
	for _, e := range b.open(k) {
		if s := e.state; s == delivery.Held || s == delivery.Pending {
			e.state, e.ended, e.closed, e.overdue = delivery.WelcomeWithdrawn, b.now, b.now, false
			changed = true
		}
	}
	if !ended {
		k.state, k.ended = delivery.Withdrawn, b.now
		changed = true
	}
	b.close(k)
	return changed
}

// rows are what events change, written out. What only says when a device was
// heard of is left out.
func (b *book) rows() string {
	var rows strings.Builder
	fmt.Fprintln(&rows, len(b.devices), b.removed, b.tokens)
	for _, id := range devices {
		if d := b.devices[id]; d != nil {
			fmt.Fprintln(&rows, d.only)
		}
	}
	for _, k := range b.keyPackages {
		fmt.Fprintln(&rows, k.owner, k.early, k.state, k.usableUntil, k.reservedBy, k.reserved, k.handedOut, k.ended, k.welcome, k.reservation, k.cleared, k.returned, k.dropped)
	}
	for _, l := range b.welcomes {
		fmt.Fprintln(&rows, l.id, l.released, l.cancelled)
		for _, e := range l.recipients {
			fmt.Fprintln(&rows, e.state, e.released, e.ended, e.reason, e.detail)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b.repeats)) {
		fmt.Fprintln(&rows, key, b.repeats[key].until)
	}
	return rows.String()
}

// counted is the state in which a KeyPackage is counted, and in which a recipient is.
func (k *keyPackage) counted() delivery.KeyPackageState { return cmp.Or(k.unswept, k.state) }
func (e *recipient) counted() delivery.WelcomeState     { return cmp.Or(e.unswept, e.state) }

// due are the times at which something will be different, in their order.
func (b *book) due() (due []time.Time) {
	for _, k := range b.keyPackages {
		due = append(due, k.shelfUntil, k.usableUntil, endOf(k.item.Lifetime.NotBefore), endOf(k.item.Lifetime.NotAfter))
		due = append(due, k.reserved.Add(b.limits.ReservationOverdue), k.ended.Add(b.limits.TombstoneKept), k.ended.Add(b.limits.TombstoneKeptMost))
	}
	for _, l := range b.welcomes {
		due = append(due, l.postedAt.Add(b.limits.HoldOverdue))
		for _, e := range l.recipients {
			due = append(due, e.until, e.closed.Add(b.limits.OutcomesKept))
		}
	}
	for _, repeat := range b.repeats {
		due = append(due, repeat.until)
	}
	for _, t := range b.tokens {
		due = append(due, t.Expires)
	}
	for _, at := range b.removed {
		due = append(due, at.Add(b.limits.TombstoneKept))
	}
	due = slices.DeleteFunc(due, func(at time.Time) bool { return come(at, b.now) || at.Year() > 2300 })
	slices.SortFunc(due, time.Time.Compare)
	return slices.CompactFunc(due, time.Time.Equal)
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
