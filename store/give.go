package store

import (
	"context"

	"welcomed/delivery"
	"welcomed/mls"
)

// Give implements delivery.Store.
func (s *Store) Give(ctx context.Context, caller delivery.Caller, to delivery.DeviceID, ref mls.KeyPackageRef) error {
	return s.doAs(ctx, caller, &Event{Look: func(t *Txn) (changes bool, err error) {
		t.aheadOfGive(ref, to)
		from, k := t.refOwner(ref)
		if k == nil {
			return false, delivery.ErrNotFound
		}
		return from.id != to, nil
	}, Run: func(t *Txn) error {
		from, k := t.refOwner(ref)
		if k == nil || from.id == to {
			return ErrMoved
		}
		t.give(from, k, to)
		return nil
	}})
}

// give removes a KeyPackage from its device, and stores it for another one, with its bytes if
// they are still there.
func (t *Txn) give(from *device, k *keyPackage, to delivery.DeviceID) {
	item := delivery.NewKeyPackage{Ref: k.rec.Ref, Suite: k.rec.Suite, LastResort: k.rec.LastResort, Lifetime: k.rec.Lifetime}
	if k.payload {
		item.Bytes = cloneBytes(t.get(kindKeyPackages, numberKey(k.number)))
		t.del(kindKeyPackages, numberKey(k.number))
	}
	hash := t.initKeyOf(from, k.number)
	t.endFor(from, k.keyPackageKey)
	k = t.keyPackage(from, k.keyPackageKey) // as that has left it
	t.forgetKeyPackage(from, k)
	t.forgetInitKeys(from, []uint64{k.number})
	t.changed(from)
	d, last := t.createDevice(to), &initKeySearch{}
	for key := range t.scan(kindDevices, d.key(rowInitKeys), nil) {
		last.last = readNumber(key[numberBytes+1:])
	}
	rec := t.limits.NewKeyPackageRecord(item, t.sure, t.now)
	rec.AcrossRestore(*t.limits, t.now)
	if rec.State == delivery.Available { // a last resort: the device may have a newer one
		rec.Retire(*t.limits, t.now)
	}
	kept := t.keepKeyPackage(d, item, rec)
	t.noteInitKeys(d, last, []initKey{{kept.number, hash}})
}

// endFor ends a KeyPackage and every Welcome for it. Welcomes that the device was given lapse;
// the others are withdrawn.
func (t *Txn) endFor(d *device, key keyPackageKey) {
	if !d.endedAt.IsZero() {
		t.endGone(d, key)
		return
	}
	k := t.keyPackage(d, key)
	recipients := t.current(t.openRecipients(d), d, k)
	t.withdrawWith(d, k, recipients)
	for _, m := range recipients {
		if m.rec.State == delivery.Delivered {
			m.rec.End(delivery.Lapsed, t.now)
			t.closeRecipient(d, m)
		}
	}
	if k = t.keyPackage(d, key); !k.rec.State.Ended() { // one that has expired meanwhile
		k.rec.End(delivery.Withdrawn, t.now)
		t.saveKeyPackage(d, k)
	}
}

// endGone writes that a KeyPackage, and the Welcomes for it, have ended because the device was
// removed. A sweep would write the same.
func (t *Txn) endGone(d *device, key keyPackageKey) {
	var swept delivery.SweepResult
	for _, kind := range openKinds {
		for _, row := range t.keys(kindDevices, d.key(kind), 0) {
			m := decodeRecipient(readRecipientKey(row[numberBytes+1:]), t.get(kindDevices, row))
			if m.kp.number == key.number {
				t.sweepRecipient(d, m, &swept)
			}
		}
	}
	k := t.written(d, key)
	if d.end(k); !k.rec.State.Ended() {
		k.rec.End(delivery.Expired, k.rec.MatchableUntil)
	}
	t.saveKeyPackage(d, k)
}

// initKeyOf returns the hash that is remembered of a KeyPackage's init_key.
func (t *Txn) initKeyOf(d *device, number uint64) initHash {
	for key, row := range t.scan(kindDevices, d.key(rowInitKeys), nil) {
		for _, e := range decodeInitKeys(key, row) {
			if e.kp == number {
				return e.hash
			}
		}
	}
	panic(ErrCorrupt)
}
