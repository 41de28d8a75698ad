package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

const day = 24 * time.Hour

// errLedger: the store and the ledger disagree, or the store has done what the
// model does not expect.
var errLedger = errors.New("the store and the ledger disagree")

func disagree(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errLedger, fmt.Sprintf(format, args...))
}

// A keyPackage is one that the store has accepted. Its record moves by the rules of
// rules.go when the store says that something happened.
type keyPackage struct {
	rec    keyPackageRecord
	owner  *device
	size   int
	closed time.Time // when it ended and its last Welcome had, too
}

// A recipient is a KeyPackage that a Welcome matched, and what has become of the Welcome for it.
type recipient struct {
	rec     recipientRecord
	welcome *welcome
	kp      *keyPackage
}

// A welcome is one that the store has accepted for at least one recipient.
type welcome struct {
	id         delivery.WelcomeID
	poster     delivery.Caller
	hold       bool
	cancelled  bool
	postedAt   time.Time
	size       int // with tree, as it was posted
	groupInfo  [sha256.Size]byte
	recipients []*recipient
}

// age does what time does to a KeyPackage for which no Welcome is under way.
func (k *keyPackage) age(now time.Time) {
	switch state := k.rec.stateAt(now); {
	case state == k.rec.State:
	case state == delivery.Expired:
		k.rec.end(state, k.rec.matchableUntil)
		k.close(now)
	default:
		k.rec.State = state
	}
}

// close notes when nothing more can happen to the KeyPackage.
func (k *keyPackage) close(now time.Time) {
	if k.rec.ended() && k.rec.open == 0 && k.closed.IsZero() {
		k.closed = now
	}
}

// age does what time does to a recipient.
func (m *recipient) age(now time.Time) {
	if state := m.rec.stateAt(now); state != m.rec.State {
		m.end(state, m.rec.until, now)
	}
}

// end moves a recipient that has not ended to its end, and its KeyPackage with it.
func (m *recipient) end(s delivery.WelcomeState, at, now time.Time) {
	m.rec.end(s, at)
	m.kp.rec.open--
	if m.kp.rec.State == delivery.Matched {
		m.kp.rec.end(delivery.Expired, at)
	}
	m.kp.close(now)
}

// matched notes that the store has accepted a Welcome for k.
func (k *keyPackage) matched(w *welcome, l delivery.Limits, now time.Time) {
	m := &recipient{rec: newRecipientRecord(l, w.hold, now), welcome: w, kp: k}
	w.recipients = append(w.recipients, m)
	k.owner.recipients = append(k.owner.recipients, m)
	if !k.rec.LastResort {
		k.rec.State = delivery.Matched
	}
	k.rec.open++
}

// delivered notes a claim: match and consume.
func (m *recipient) delivered(l delivery.Limits, now time.Time) {
	m.rec.deliver(l, now)
	if !m.kp.rec.LastResort {
		m.kp.rec.end(delivery.Consumed, now)
	}
}

// settled notes an acknowledgement or a rejection.
func (m *recipient) settled(s delivery.WelcomeState, now time.Time) error {
	open := m.rec.State == delivery.Delivered
	changed, err := m.rec.settle(s, now)
	if err == nil && changed && open {
		m.kp.rec.open--
		m.kp.close(now)
	}
	return err
}

// withdrawn notes that the owner took k back.
func (k *keyPackage) withdrawn(now time.Time) {
	if k.rec.State == delivery.Consumed {
		return
	}
	for _, m := range k.owner.recipients {
		if m.kp == k && (m.rec.State == delivery.Held || m.rec.State == delivery.Pending) {
			m.rec.end(delivery.WelcomeWithdrawn, now)
			k.rec.open--
		}
	}
	if !k.rec.ended() {
		k.rec.end(delivery.Withdrawn, now)
	}
	k.close(now)
}

// cancel notes that the poster has taken the Welcome back from those who were not
// given it.
func (w *welcome) cancel(l delivery.Limits, now time.Time) {
	w.cancelled = true
	for _, m := range w.recipients {
		if m.rec.State != delivery.Held && m.rec.State != delivery.Pending {
			continue
		}
		m.rec.end(delivery.Cancelled, now)
		m.kp.rec.open--
		if m.kp.rec.State == delivery.Matched {
			m.kp.rec.reserve(l, w.poster.ID(), now)
		}
		m.kp.close(now)
	}
}

func (w *welcome) release(now time.Time) {
	for _, m := range w.recipients {
		if m.rec.State == delivery.Held {
			m.rec.release(now)
		}
	}
}

// ended reports when the last recipient ended; ok is false if one has not.
func (w *welcome) ended() (last time.Time, ok bool) {
	last = w.postedAt
	for _, m := range w.recipients {
		if !m.rec.ended() {
			return last, false
		}
		if m.rec.endedAt.After(last) {
			last = m.rec.endedAt
		}
	}
	return last, true
}

// expected is what the poster is told of the Welcome now.
func (w *welcome) expected() map[mls.KeyPackageRef]delivery.Status {
	all := make(map[mls.KeyPackageRef]delivery.Status, len(w.recipients))
	for _, m := range w.recipients {
		all[m.kp.rec.Ref] = statuses[m.rec.State]
	}
	return all
}

// compare checks the store's account of a Welcome.
func (w *welcome) compare(o delivery.Outcome) error {
	expected := w.expected()
	for _, r := range o.Recipients {
		if !r.Matched {
			continue
		}
		if want := expected[r.Ref]; r.Status != want {
			return disagree("Welcome %s for %s is %s, by the ledger %q", w.id, r.Ref, r.Status, want)
		}
		delete(expected, r.Ref)
	}
	if len(expected) > 0 || o.Cancelled != w.cancelled {
		return disagree("Welcome %s: %d recipients are missing, cancelled is %t", w.id, len(expected), o.Cancelled)
	}
	return nil
}

// shelf returns what a reserver may be handed of the device, oldest first, and
// its last resort.
func (d *device) shelf() (ordinary []*keyPackage, last *keyPackage) {
	for _, k := range d.keyPackages {
		switch {
		case k.rec.State != delivery.Available:
		case k.rec.LastResort:
			last = k
		default:
			ordinary = append(ordinary, k)
		}
	}
	return ordinary, last
}

// keyPackage returns the one with a ref; nil if the ledger has none.
func (d *device) keyPackage(ref mls.KeyPackageRef) *keyPackage {
	i := slices.IndexFunc(d.keyPackages, func(k *keyPackage) bool { return k.rec.Ref == ref })
	if i < 0 {
		return nil
	}
	return d.keyPackages[i]
}

// needed returns the refs whose private keys the device has to keep, sorted.
func (d *device) needed(now time.Time) []mls.KeyPackageRef {
	var refs []mls.KeyPackageRef
	for _, k := range d.keyPackages {
		if k.rec.needed() {
			refs = append(refs, k.rec.Ref)
		}
	}
	slices.Sort(refs)
	return refs
}

// age does what time has done to the device since it was last looked at, as the
// sweep before has written it, and puts away what has ended.
func (d *device) age(now time.Time) {
	for _, m := range d.recipients {
		m.age(now)
	}
	for _, k := range d.keyPackages {
		k.age(now)
		if !k.closed.IsZero() {
			d.tombstones = append(d.tombstones, k)
		}
	}
	d.recipients = slices.DeleteFunc(d.recipients, func(m *recipient) bool { return m.rec.ended() })
	d.keyPackages = slices.DeleteFunc(d.keyPackages, func(k *keyPackage) bool { return !k.closed.IsZero() })
}
