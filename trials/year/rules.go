package main

import (
	"errors"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// The rules by which the ledger moves its records, written down once more from the
// documents: a ledger that asked the product's records would share their mistakes. Nothing
// here calls a method of delivery's records, states or limits.

// year9999 is the last second that the product tells.
var year9999 = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

var errNotDelivered = errors.New("it was not delivered")

type keyPackageRecord struct {
	Ref            mls.KeyPackageRef
	Suite          mls.CipherSuite
	LastResort     bool
	State          delivery.KeyPackageState
	PublishedAt    time.Time
	ReservedBy     string
	ReservedAt     time.Time
	HandedOutAt    time.Time // last resort
	notAfter       time.Time
	shelfUntil     time.Time
	matchableUntil time.Time
	endedAt        time.Time
	open           int // Welcomes that have not ended
}

// first returns the first of some times.
func first(times ...time.Time) time.Time {
	f := times[0]
	for _, t := range times[1:] {
		if t.Before(f) {
			f = t
		}
	}
	return f
}

// newKeyPackageRecord is what is published now. It is on the shelf for a time, until its
// lifetime is nearly over, and can be matched for a time after that, within its lifetime. With
// too little of its lifetime left it is never on the shelf.
func newKeyPackageRecord(l delivery.Limits, kp delivery.NewKeyPackage, now time.Time) keyPackageRecord {
	notAfter := year9999
	if kp.Lifetime.NotAfter < uint64(year9999.Unix()) {
		notAfter = time.Unix(int64(kp.Lifetime.NotAfter), 0).UTC()
	}
	r := keyPackageRecord{Ref: kp.Ref, Suite: kp.Suite, LastResort: kp.LastResort, PublishedAt: now, notAfter: notAfter}
	r.shelfUntil = first(now.Add(l.ShelfAge), notAfter.Add(-l.LifetimeMargin))
	r.State = delivery.Available
	if r.shelfUntil.After(now) {
		r.matchableUntil = first(notAfter, r.shelfUntil.Add(l.RetiredFor))
	} else {
		r.State = delivery.Retired
		r.matchableUntil = first(notAfter, now.Add(l.RetiredFor))
	}
	return r
}

// ended: it is spent, or nobody can use it any more.
func (r *keyPackageRecord) ended() bool {
	return r.State == delivery.Consumed || r.State == delivery.Expired || r.State == delivery.Withdrawn
}

// stateAt is what time makes of the state. A Welcome that has matched stops the clock.
func (r *keyPackageRecord) stateAt(now time.Time) delivery.KeyPackageState {
	if r.ended() || r.State == delivery.Matched {
		return r.State
	}
	if !r.matchableUntil.After(now) {
		return delivery.Expired
	}
	if r.State == delivery.Available && !r.shelfUntil.After(now) {
		return delivery.Retired
	}
	return r.State
}

// needed: its device keeps the private key while a Welcome may come or is under way.
func (r *keyPackageRecord) needed() bool { return !r.ended() || r.open > 0 }

// match is why a Welcome of a caller does not match; empty if it does. The simulation
// runs with identities, and without the setting that only a reservation matches.
func (r *keyPackageRecord) match(by delivery.Caller, now time.Time) delivery.Status {
	switch r.stateAt(now) {
	case delivery.Available, delivery.Retired:
		return ""
	case delivery.Reserved:
		if r.ReservedBy == by.ID() {
			return ""
		}
		return delivery.StatusTaken
	case delivery.Matched:
		return delivery.StatusTaken
	case delivery.Consumed:
		return delivery.StatusConsumed
	case delivery.Withdrawn:
		return delivery.StatusWithdrawn
	}
	return delivery.StatusExpired
}

// reserve: one that is handed out is its reserver's for a time. A last resort stays.
func (r *keyPackageRecord) reserve(l delivery.Limits, by string, now time.Time) {
	switch {
	case !r.LastResort:
		r.State, r.ReservedBy, r.ReservedAt = delivery.Reserved, by, now
		r.matchableUntil = first(r.notAfter, now.Add(l.RetiredFor))
	case r.HandedOutAt.IsZero():
		r.HandedOutAt = now
	}
}

// retire: it is replaced.
func (r *keyPackageRecord) retire(l delivery.Limits, now time.Time) {
	r.State, r.matchableUntil = delivery.Retired, first(r.matchableUntil, now.Add(l.RetiredFor))
}

func (r *keyPackageRecord) end(s delivery.KeyPackageState, at time.Time) { r.State, r.endedAt = s, at }

// forgetAt is when what has ended is forgotten: after its lifetime, its time as a tombstone and
// its last Welcome, which ended at closed, but after a longest time in any case.
func (r *keyPackageRecord) forgetAt(l delivery.Limits, closed time.Time) time.Time {
	last := r.notAfter
	for _, t := range []time.Time{r.endedAt.Add(l.TombstoneKept), closed} {
		if t.After(last) {
			last = t
		}
	}
	return first(last, r.endedAt.Add(l.TombstoneKeptMost))
}

// statuses are what a poster is told.
var statuses = map[delivery.WelcomeState]delivery.Status{
	delivery.Held: "held", delivery.Pending: "pending", delivery.Delivered: "delivered", delivery.Acknowledged: "acknowledged",
	delivery.Rejected: "rejected", delivery.WelcomeExpired: "expired", delivery.WelcomeWithdrawn: "withdrawn",
	delivery.Cancelled: "cancelled", delivery.Lapsed: "lapsed",
}

type recipientRecord struct {
	State       delivery.WelcomeState
	releasedAt  time.Time
	deliveredAt time.Time
	endedAt     time.Time
	until       time.Time // when one that waits expires, and one that was delivered lapses
}

func newRecipientRecord(l delivery.Limits, hold bool, now time.Time) recipientRecord {
	m := recipientRecord{State: delivery.Held, until: now.Add(l.WelcomeKept)}
	if !hold {
		m.release(now)
	}
	return m
}

func (m *recipientRecord) ended() bool {
	return m.State != delivery.Held && m.State != delivery.Pending && m.State != delivery.Delivered
}

func (m *recipientRecord) stateAt(now time.Time) delivery.WelcomeState {
	switch {
	case m.ended() || m.until.After(now):
		return m.State
	case m.State == delivery.Delivered:
		return delivery.Lapsed
	}
	return delivery.WelcomeExpired
}

func (m *recipientRecord) release(now time.Time) { m.State, m.releasedAt = delivery.Pending, now }

func (m *recipientRecord) deliver(l delivery.Limits, now time.Time) {
	m.State, m.deliveredAt, m.until = delivery.Delivered, now, now.Add(l.Redelivery)
}

func (m *recipientRecord) end(s delivery.WelcomeState, at time.Time) { m.State, m.endedAt = s, at }

// settle acknowledges or rejects. An acknowledgement counts whatever the end was before, a
// rejection only if there was none.
func (m *recipientRecord) settle(s delivery.WelcomeState, now time.Time) (changed bool, err error) {
	if m.deliveredAt.IsZero() {
		return false, errNotDelivered
	}
	if m.State != delivery.Delivered && (s != delivery.Acknowledged || m.State == delivery.Acknowledged) {
		return false, nil
	}
	m.end(s, now)
	return true, nil
}
