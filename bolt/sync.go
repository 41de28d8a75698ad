package bolt

import (
	"context"
	"errors"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// syncLooks is how often a sync looks outside the writer. A device that changes
// all the time, because others reserve what it has, must come to an end too.
const syncLooks = 3

// errMoved: the device has changed since a look outside the writer.
var errMoved = errors.New("the device has changed since")

// Sync implements delivery.Store.
func (s *Store) Sync(ctx context.Context, caller delivery.Caller, id delivery.DeviceID, digest delivery.Digest, refs []mls.KeyPackageRef) (delivery.SyncResult, error) {
	if err := caller.Valid(); err != nil {
		return delivery.SyncResult{}, err
	}
	c := &deviceSync{id: id, digest: digest, refs: refs}
	for range syncLooks {
		err := s.view(ctx, c.look)
		if err == nil && (len(c.withdraw) > 0 || c.doubtful) {
			err = s.writer.do(ctx, 0, c.apply)
		}
		switch {
		case err == nil:
			return c.result(), nil
		case !errors.Is(err, errMoved):
			return delivery.SyncResult{}, err
		}
	}
	err := s.writer.do(ctx, 0, func(t *txn) error {
		if err := c.look(t); err != nil {
			return err
		}
		return c.apply(t)
	})
	if err != nil {
		return delivery.SyncResult{}, err
	}
	return c.result(), nil
}

// A deviceSync is a sync on its way. A device may have tens of thousands of
// KeyPackages and name as many: all that is to be found out about them is found
// out outside the writer.
type deviceSync struct {
	id     delivery.DeviceID
	digest delivery.Digest
	refs   []mls.KeyPackageRef

	changes        uint64 // of the device, when it was looked at
	unknown, spent []mls.KeyPackageRef
	live, withdraw []*keyPackage // as they were then; withdraw are some of live

	doubtful bool // something is unknown that may have been handed out before a restore

	withdrawn []mls.KeyPackageRef

	now  time.Time       // of the last step
	gone map[uint64]bool // no longer needed, by number
}

// look decides what the sync does if the device does not change any more.
func (c *deviceSync) look(t *txn) error {
	d := t.device(c.id)
	*c = deviceSync{id: c.id, digest: c.digest, refs: c.refs, now: t.now}
	if d != nil {
		c.changes, c.live = d.changes, t.liveKeyPackages(d)
	}
	if digestOf(c.needed()) != c.digest {
		return delivery.ErrInventoryChanged
	}
	held := make(map[mls.KeyPackageRef]bool, len(c.refs))
	for _, ref := range c.refs {
		if !held[ref] {
			c.classify(t, d, ref)
		}
		held[ref] = true
	}
	c.doubtful = len(c.unknown) > 0 && t.doubtful()
	for _, k := range c.live {
		if !held[k.rec.Ref] && k.rec.State != delivery.Consumed && k.rec.Needed(t.sure) {
			c.withdraw = append(c.withdraw, k)
		}
	}
	return nil
}

// needed are the refs whose private keys the device still needs, sorted.
func (c *deviceSync) needed() (refs []mls.KeyPackageRef) {
	for _, k := range c.live {
		if !c.gone[k.number] && k.rec.Needed(c.now) {
			refs = append(refs, k.rec.Ref)
		}
	}
	slices.Sort(refs)
	return refs
}

// classify sorts out a ref that the device holds the key of but need not, or
// that is not here.
func (c *deviceSync) classify(t *txn, d *device, ref mls.KeyPackageRef) {
	owner, k := t.refOwner(ref)
	switch {
	case k == nil || d == nil || owner.number != d.number:
		c.unknown = append(c.unknown, ref)
	case !k.rec.Needed(t.now):
		c.spent = append(c.spent, ref)
	}
}

// apply withdraws what look has found, unless the device has changed since.
func (c *deviceSync) apply(t *txn) error {
	d, changes := t.device(c.id), uint64(0)
	if d != nil {
		changes = d.changes
	}
	if changes != c.changes {
		return errMoved
	}
	if c.doubtful {
		t.doubt(c.id, d, c.unknown)
	}
	c.now, c.gone, c.withdrawn = t.now, make(map[uint64]bool, len(c.withdraw)), nil
	if len(c.withdraw) == 0 {
		return nil
	}
	open := t.openMails(d)
	for _, was := range c.withdraw {
		k := t.keyPackage(d, was.keyPackageKey) // was stays as it is: this may run again
		if t.withdrawWith(d, k, open[k.number]) {
			c.withdrawn = append(c.withdrawn, k.rec.Ref)
		}
		c.gone[k.number] = !k.rec.Needed(t.now)
	}
	return nil
}

func (c *deviceSync) result() delivery.SyncResult {
	return delivery.SyncResult{Withdrawn: c.withdrawn, Unknown: c.unknown, Spent: c.spent, Digest: digestOf(c.needed())}
}
