package store

import (
	"context"
	"fmt"

	"welcomed/delivery"
	"welcomed/mls"
)

// intact reports whether the bytes of a KeyPackage are what was published: its ref is
// their hash (RFC 9420 §5.2).
func (t *Txn) intact(k *keyPackage) bool {
	return k.payload && k.rec.Suite.RefOf(t.get(kindKeyPackages, numberKey(k.number))) == k.rec.Ref
}

// A damagedKeyPackage is one whose bytes do not have its ref as their hash.
type damagedKeyPackage struct {
	device uint64
	key    keyPackageKey
	ref    mls.KeyPackageRef
}

// retireDamaged takes damaged KeyPackages off their shelves, which a call has found. If that
// fails, the next call finds them again.
func (s *Store) retireDamaged(ctx context.Context, found []damagedKeyPackage) {
	if len(found) == 0 {
		return
	}
	var done []damagedKeyPackage
	err := s.run(context.WithoutCancel(ctx), func(t *Txn) error {
		done = nil
		for _, f := range found {
			if t.dropUnended(f) {
				done = append(done, f)
			}
		}
		return nil
	})
	if err == nil {
		s.tellKeyPackages(done)
	}
}

// dropDamaged retires a damaged KeyPackage that is on the shelf, and drops its bytes, so that
// no adder gets them. It reports whether it did. It leaves the KeyPackages of removed devices
// to a sweep.
func (t *Txn) dropDamaged(f damagedKeyPackage) bool {
	d := t.readDevice(f.device)
	if d == nil {
		return false
	}
	k := t.written(d, f.key)
	if k == nil || !k.payload && k.rec.State != delivery.Available {
		return false
	}
	if k.rec.State == delivery.Available {
		k.rec.Retire(*t.limits, t.now)
	}
	if k.payload {
		k.payload = false
		t.del(kindKeyPackages, numberKey(k.number))
	}
	t.saveKeyPackage(d, k)
	return true
}

// dropUnended is dropDamaged for a KeyPackage that has not ended. The bytes of an ended one are
// kept only to repeat answers, and such an answer says that they are damaged.
func (t *Txn) dropUnended(f damagedKeyPackage) bool {
	if d := t.readDevice(f.device); d != nil {
		if k := t.keyPackage(d, f.key); k != nil && k.rec.State.Ended() {
			return false
		}
	}
	return t.dropDamaged(f)
}

func (s *Store) tellKeyPackages(found []damagedKeyPackage) {
	for _, f := range found {
		s.tellDamage(delivery.DamagedPart{Kind: delivery.DamagedKeyPackage, Name: f.ref.String()})
	}
}

func (s *Store) tellDamage(part delivery.DamagedPart) {
	if s.observe != nil {
		s.observe(part)
	}
}

// A damagedRecipient is one that a claim was to give, and of which it found a part damaged.
type damagedRecipient struct {
	place  recipientPlace
	shared bool // all recipients have it in common
}

// endDamaged ends a damaged Welcome: for one recipient, or for all if they share the damaged
// part.
func (s *Store) endDamaged(ctx context.Context, f damagedRecipient) error {
	ctx = context.WithoutCancel(ctx) // the next caller would find it again
	var places []recipientPlace
	name := ""
	err := s.engine.Peek(ctx, func(t *Txn) error {
		places, name = t.concerned(f), t.nameOf(f.place.key.welcome)
		return nil
	})
	part := delivery.DamagedPart{Kind: delivery.DamagedRecipient, Name: name}
	if f.shared {
		part.Kind = delivery.DamagedWelcome
	}
	for from := 0; err == nil && from < len(places); {
		next, ended := from, 0
		err = s.run(ctx, func(t *Txn) error {
			next, ended = from, 0 // it may run again
			for before := t.writes; next < len(places) && t.writes-before < sweepWrites; next++ {
				if t.endDamagedRecipient(places[next]) {
					ended++
				}
			}
			return nil
		})
		if err == nil {
			from, part.Ended = next, part.Ended+ended
		}
	}
	if part.Ended > 0 {
		s.tellDamage(part)
	}
	return err
}

// concerned returns the places of the recipients for whom the Welcome ends.
func (t *Txn) concerned(f damagedRecipient) []recipientPlace {
	places := []recipientPlace{f.place} // also where the row of the recipient is lost
	if !f.shared {
		return places
	}
	for _, p := range t.matchedPlaces(f.place.key.welcome) {
		if p != f.place {
			places = append(places, p)
		}
	}
	return places
}

// nameOf names a Welcome for the operator.
func (t *Txn) nameOf(welcome uint64) string {
	if w := t.header(welcome); w != nil {
		return w.id.String()
	}
	return fmt.Sprintf("number %d", welcome)
}

// endDamagedRecipient ends a damaged Welcome for one recipient, and reports whether it had not
// ended before. The KeyPackage is reserved for the poster again, who may post another Welcome.
// If the poster cannot be read, whoever had reserved the KeyPackage counts as the poster. If
// nobody had reserved it, it is retired.
func (t *Txn) endDamagedRecipient(p recipientPlace) bool {
	d := t.readDevice(p.device)
	if d == nil {
		return false
	}
	m := t.recipient(d, p.key)
	if m == nil {
		m = t.rebuildRecipient(d, p.key)
	}
	if m == nil || m.rec.State.Ended() {
		return false
	}
	state := delivery.Damaged
	if m.rec.State == delivery.Delivered {
		state = delivery.Lapsed
	}
	m.rec.End(state, t.now)
	t.saveRecipient(d, m)
	t.settled(m)
	k := t.keyPackage(d, m.kp)
	t.mendPostedRecipient(d, p.key, k)
	if k == nil {
		return true
	}
	k.rec.Open = max(k.rec.Open-1, 0)
	if k.rec.State == delivery.Matched {
		t.takeBack(k, t.header(p.key.welcome))
	}
	t.saveKeyPackage(d, k)
	return true
}

func (t *Txn) takeBack(k *keyPackage, w *welcome) {
	by := k.rec.ReservedBy
	if w != nil {
		by = w.poster
	}
	k.rec.Reserve(*t.limits, by, t.now)
	if w == nil && by == "" {
		k.rec.State = delivery.Retired
	}
}

// mendPostedRecipient writes the damaged row of a recipient anew, without its secret, so that
// its poster is told what became of it.
func (t *Txn) mendPostedRecipient(d *device, key recipientKey, k *keyPackage) {
	r := t.postedRecipient(key)
	switch {
	case r.lost && k != nil:
		t.putPostedRecipient(key, &postedRecipient{ref: k.rec.Ref, device: d.number})
	case r.damaged:
		t.putPostedRecipient(key, r)
	}
}

// rebuildRecipient makes a new row for a recipient whose row cannot be read, from the rows
// around it; nil if the recipient has no row.
func (t *Txn) rebuildRecipient(d *device, key recipientKey) *recipient {
	state := delivery.WelcomeState(0)
	for _, s := range []delivery.WelcomeState{delivery.Pending, delivery.Delivered, delivery.Held} {
		if t.get(kindDevices, d.recipientRow(recipientKind(s), key)) != nil {
			state = s
		}
	}
	if state == 0 || !d.endedAt.IsZero() {
		return nil
	}
	m := &recipient{recipientKey: key, rec: delivery.RecipientRecord{State: state, Until: t.now}, size: 1, order: d.claimed + 1, stored: true}
	if state == delivery.Delivered {
		m.rec.DeliveredAt = t.now
	}
	if r := t.postedRecipient(key); !r.lost {
		if owner, k := t.refOwner(r.ref); k != nil && owner.number == d.number {
			m.kp = k.keyPackageKey
		}
		m.size = t.sizeOf(key.welcome, r)
	}
	m.was, m.wasOrder = state, m.order
	return m
}

// sizeOf returns the size of a recipient's Welcome as the post counted it.
func (t *Txn) sizeOf(welcome uint64, r *postedRecipient) int64 {
	w := t.header(welcome)
	if w == nil {
		return 1
	}
	info := max(len(w.groupInfo), w.infoSize)
	return int64(info + w.treeSize + len(w.context) + sliceOverhead + len(r.encoded()))
}

// Place returns where a part of what is kept lies, for tests that damage it: the row, and the
// byte in it, counted from the end if negative. The part is one of "KeyPackage",
// "encrypted_group_info", "ratchet_tree", "context" and "secret", of the KeyPackage or of the
// Welcome. A nil key means that there is no such row.
func (t *Txn) Place(part string, ref mls.KeyPackageRef, id delivery.WelcomeID) (k *Kind, key []byte, at int) {
	t.raw = true
	if part == "KeyPackage" {
		_, kp := t.refOwner(ref)
		return kindKeyPackages, numberKey(kp.number), 7
	}
	number := t.welcomeNumber(id)
	w := t.header(number)
	switch {
	case part == "encrypted_group_info" && w.apart:
		return kindWelcomes, appendIndex(partKey(number, partGroupInfo), 1), 100
	case part == "encrypted_group_info":
		return kindWelcomes, partKey(number, partHeader), -sumBytes - 3
	case part == "context":
		return kindWelcomes, partKey(number, partHeader), -sumBytes - len(w.groupInfo) - 3
	case part == "ratchet_tree":
		return kindWelcomes, appendIndex(partKey(number, partTree), 2), 100
	}
	t.eachPostedRecipient(number, func(of recipientKey, r *postedRecipient) bool {
		if r.ref == ref {
			key = postedRecipientKey(of)
		}
		return key == nil
	})
	return kindWelcomes, key, -sumBytes - 3
}
