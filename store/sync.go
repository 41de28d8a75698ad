package store

import (
	"context"
	"slices"

	"welcomed/delivery"
	"welcomed/mls"
)

// syncWrites is roughly how many rows a sync changes in one transaction.
const syncWrites = 1000

// Sync implements delivery.Store. A device may have tens of thousands of KeyPackages, and name
// as many. So Sync finds out everything about them outside the writer. If it has many to
// withdraw, it uses several transactions. The first one checks that the inventory is the one
// that the device has named. A Welcome that arrives between two of them, for a KeyPackage that
// is about to be withdrawn, is treated like one from before the sync: it ends, and its poster
// is told.
func (s *Store) Sync(ctx context.Context, caller delivery.Caller, id delivery.DeviceID, digest delivery.Digest, refs []mls.KeyPackageRef) (delivery.SyncResult, error) {
	c := &deviceSync{id: id, digest: digest, refs: refs}
	err := s.doAs(ctx, caller, &Event{Look: c.look, Run: c.begin})
	for err == nil && c.next < len(c.withdraw) {
		// What has begun is brought to its end, whether the caller waits or not.
		c.done, c.withdrawn, c.fresh = c.next, slices.Clip(c.result.Withdrawn), c.result.Fresh
		err = s.run(context.WithoutCancel(ctx), c.goOn)
	}
	if err == nil && c.next > 0 {
		err = s.viewCommitted(ctx, func(t *Txn) error {
			t.aheadOfDevice(id, nil, (*Wanted).live)
			c.result.Digest = t.inventory(t.device(id)).Digest
			return nil
		})
	}
	if err != nil {
		return delivery.SyncResult{}, err
	}
	return c.result, nil
}

// A deviceSync is a Sync in progress.
type deviceSync struct {
	id     delivery.DeviceID
	digest delivery.Digest
	refs   []mls.KeyPackageRef

	number, changes uint64              // of the device, when it was looked at
	withdraw        []keyPackageKey     // what is to be withdrawn
	next            int                 // of those
	done            int                 // next, before this transaction
	withdrawn       []mls.KeyPackageRef // before it
	fresh           int                 // of those
	open            openRecipients
	result          delivery.SyncResult
}

// look decides what the sync does, if the inventory does not change until then.
func (c *deviceSync) look(t *Txn) (changes bool, err error) {
	t.aheadOfSync(c.id, c.refs)
	d := t.device(c.id)
	*c = deviceSync{id: c.id, digest: c.digest, refs: c.refs}
	var live, withdrawn []*keyPackage
	if d != nil {
		c.number, c.changes, c.open, live = d.number, d.changes, t.openRecipients(d), t.liveKeyPackages(d)
	}
	if c.result.Digest = digestOf(neededOf(live)); c.result.Digest != c.digest {
		return false, delivery.ErrInventoryChanged
	}
	held := make(map[mls.KeyPackageRef]bool, len(c.refs))
	for _, ref := range c.refs {
		if !held[ref] {
			c.classify(t, ref)
		}
		held[ref] = true
	}
	for _, k := range live {
		if !held[k.rec.Ref] && t.withdrawable(k, t.current(c.open, d, k)) {
			c.withdraw = append(c.withdraw, k.keyPackageKey)
			withdrawn = append(withdrawn, k)
		}
	}
	t.aheadOfFates(c.open, d, withdrawn...)
	return len(c.withdraw) > 0, nil
}

// neededOf returns the refs of the KeyPackages whose private keys the device still needs,
// sorted.
func neededOf(live []*keyPackage) (refs []mls.KeyPackageRef) {
	for _, k := range live {
		if k.rec.Needed() {
			refs = append(refs, k.rec.Ref)
		}
	}
	slices.Sort(refs)
	return refs
}

// classify sorts a ref whose private key the device has: the device does not need it, or the
// store does not know it.
func (c *deviceSync) classify(t *Txn, ref mls.KeyPackageRef) {
	owner, k := t.refOwner(ref)
	switch {
	case k == nil || owner.id != c.id:
		c.result.Unknown = append(c.result.Unknown, ref)
	case !k.rec.Needed():
		c.result.Spent = append(c.result.Spent, ref)
	}
}

// begin withdraws the first KeyPackages that look has found, unless one has come or gone since.
func (c *deviceSync) begin(t *Txn) error {
	d, number, changes := t.device(c.id), uint64(0), uint64(0)
	if d != nil {
		number, changes = d.number, d.changes
	}
	if number != c.number || changes != c.changes {
		return ErrMoved
	}
	c.withdrawNext(t, d)
	return nil
}

// goOn withdraws more of them. If the device is gone, all of them have ended.
func (c *deviceSync) goOn(t *Txn) error {
	d := t.deviceByNumber(c.number)
	if d == nil || d.removed {
		c.next = len(c.withdraw)
		return nil
	}
	c.withdrawNext(t, d)
	return nil
}

// withdrawNext withdraws until the transaction has written syncWrites rows.
func (c *deviceSync) withdrawNext(t *Txn, d *device) {
	c.next, c.result.Withdrawn, c.result.Fresh = c.done, c.withdrawn, c.fresh // it may run again
	for before := t.writes; c.next < len(c.withdraw) && t.writes-before < syncWrites; c.next++ {
		k := t.keyPackage(d, c.withdraw[c.next])
		if k == nil {
			continue
		}
		if !t.knows(c.open, d, k) {
			c.open = t.openRecipients(d) // somebody has posted since
		}
		fresh := k.rec.Fresh(t.sure, t.now)
		if t.withdrawWith(d, k, t.current(c.open, d, k)) {
			c.result.Withdrawn = append(c.result.Withdrawn, k.rec.Ref)
			if fresh {
				c.result.Fresh++
			}
		}
	}
}
