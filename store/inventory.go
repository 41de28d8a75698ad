package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"slices"

	"welcomed/delivery"
	"welcomed/mls"
)

// Inventory implements delivery.Store.
func (s *Store) Inventory(ctx context.Context, caller delivery.Caller, id delivery.DeviceID) (inv delivery.Inventory, err error) {
	err = s.viewAs(ctx, caller, func(t *Txn) error {
		t.aheadOfDevice(id, nil, (*Wanted).live)
		inv = t.inventory(t.device(id))
		return nil
	})
	return inv, err
}

// inventory counts what a device, which may be nil, has.
func (t *Txn) inventory(d *device) (inv delivery.Inventory) {
	counts := make(map[mls.CipherSuite]*delivery.SuiteCounts)
	if d != nil {
		for _, k := range t.liveKeyPackages(d) {
			state := k.rec.Told(t.sure)
			if k.rec.Needed() {
				inv.Refs = append(inv.Refs, k.rec.Ref)
				if r := k.rec.Returned; r.Reservation != 0 {
					inv.GivenBack = append(inv.GivenBack, delivery.ReturnedKeyPackage{Ref: k.rec.Ref, Suite: k.rec.Suite, At: r.At, Reason: r.Reason})
				}
			}
			if k.rec.LastResort && state == delivery.Available {
				inv.LastResort = append(inv.LastResort, delivery.LastResort{Ref: k.rec.Ref, Suite: k.rec.Suite, HandedOutAt: k.rec.HandedOutAt, UsableFrom: k.rec.UsableFrom(t.sure, t.now)})
			}
			countState(counts, k.rec.Suite, state, k.rec.OnShelf(t.sure, t.now))
		}
	}
	for _, c := range counts {
		inv.Counts = append(inv.Counts, *c)
	}
	slices.SortFunc(inv.Counts, func(a, b delivery.SuiteCounts) int { return cmp.Compare(a.Suite, b.Suite) })
	slices.SortFunc(inv.GivenBack, func(a, b delivery.ReturnedKeyPackage) int { return cmp.Compare(a.Ref, b.Ref) })
	slices.Sort(inv.Refs)
	inv.Digest = digestOf(inv.Refs)
	inv.RestoreEpoch = t.store.restore.Epoch
	return inv
}

// countState counts a row of a KeyPackage whose private key the device needs. A consumed one is
// needed until its Welcome is settled. A suite in which nothing is counted is not listed.
func countState(counts map[mls.CipherSuite]*delivery.SuiteCounts, suite mls.CipherSuite, s delivery.KeyPackageState, usable bool) {
	c := counts[suite]
	if c == nil {
		c = &delivery.SuiteCounts{Suite: suite}
	}
	switch s {
	case delivery.Available:
		if usable {
			c.Available++
		} else {
			c.NotYetValid++
		}
	case delivery.Reserved:
		c.Reserved++
	case delivery.Retired:
		c.Retired++
	case delivery.Matched:
		c.Matched++
	case delivery.Consumed:
		c.Delivered++
	default:
		return
	}
	counts[suite] = c
}

func digestOf(sorted []mls.KeyPackageRef) delivery.Digest {
	h := sha256.New()
	for _, ref := range sorted {
		h.Write([]byte(ref))
	}
	return delivery.Digest(h.Sum(nil))
}

// Withdraw implements delivery.Store.
func (s *Store) Withdraw(ctx context.Context, caller delivery.Caller, id delivery.DeviceID, ref mls.KeyPackageRef) error {
	find := func(t *Txn) (*device, *keyPackage, error) {
		t.aheadOfRefs([]mls.KeyPackageRef{ref}, nil, (*Wanted).open)
		owner, k := t.refOwner(ref)
		switch {
		case k == nil || owner.id != id:
			return nil, nil, delivery.ErrNotFound
		case k.rec.State == delivery.Consumed:
			return nil, nil, delivery.ErrConsumed
		}
		return owner, k, nil
	}
	var open openRecipients
	return s.doAs(ctx, caller, &Event{Look: func(t *Txn) (changes bool, err error) {
		d, k, err := find(t)
		if err != nil {
			return false, err
		}
		open = t.openRecipients(d)
		t.aheadOfFates(open, d, k)
		return t.withdrawable(k, t.current(open, d, k)), nil
	}, Run: func(t *Txn) error {
		d, k, err := find(t)
		if err != nil {
			return err
		}
		if !t.knows(open, d, k) {
			return ErrMoved
		}
		t.withdrawWith(d, k, t.current(open, d, k))
		return nil
	}})
}

// KeyPackage implements delivery.Store.
func (s *Store) KeyPackage(ctx context.Context, caller delivery.Caller, ref mls.KeyPackageRef) (status delivery.KeyPackageStatus, err error) {
	err = s.viewAs(ctx, caller, func(t *Txn) error {
		t.aheadOfRefs([]mls.KeyPackageRef{ref}, nil, nil)
		owner, k := t.refOwner(ref)
		if k == nil {
			return delivery.ErrNotFound
		}
		owns := caller.Unrestricted() || caller.User == owner.id.User
		matching := t.matching(k)
		poster := matching != nil && caller.May(matching.poster)
		reserver := k.rec.ReservedBy != "" && caller.ID() == k.rec.ReservedBy
		if !owns && !poster && !reserver {
			return delivery.ErrNotFound
		}
		r := k.rec
		status = delivery.KeyPackageStatus{
			Ref: r.Ref, Device: owner.id, Suite: r.Suite, LastResort: r.LastResort, State: r.Told(t.sure), Lifetime: r.Lifetime,
			PublishedAt: r.PublishedAt, ReservedAt: r.ReservedAt, HandedOutAt: r.HandedOutAt, UsableFrom: r.UsableFrom(t.sure, t.now), EndedAt: r.EndedAt,
		}
		if matching != nil && (owns || poster) {
			status.Welcome = &matching.id
		}
		return nil
	})
	return status, err
}
