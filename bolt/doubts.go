package bolt

import (
	"bytes"
	"slices"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/mls"
)

// A backup does not know what was published after it was made, and so not what
// of that was handed out. A device that is told by a sync after the restore that
// its KeyPackages are unknown publishes them again, and they would be handed out
// a second time. So what it names is kept in a row, and goes straight off the
// shelf when it comes: no Welcome that was made for it is refused, and no other
// adder gets it. That goes on for as long as one of them could still have lain on
// the shelf.

// endDoubts finds out how long that is.
func (s *Store) endDoubts() {
	_ = s.db.View(func(tx *bbolt.Tx) error {
		if at := tx.Bucket(bucketMeta.name).Get(keyRestoredAt); len(at) == numberBytes {
			s.doubts = fromMillis(readNumber(at)).Add(s.opts.Limits.ShelfAge)
		}
		return nil
	})
}

func (t *txn) doubtful() bool { return t.now.Before(t.store.doubts) }

// doubt notes refs that a device holds and that are not here. The device itself
// may not be, as it came after the backup: it is known then as one that was
// removed is, until it publishes.
func (t *txn) doubt(id delivery.DeviceID, d *device, unknown []mls.KeyPackageRef) {
	if !slices.ContainsFunc(unknown, func(ref mls.KeyPackageRef) bool { return len(ref) >= refPrefix }) {
		return // no refs of anything
	}
	if d == nil {
		if len(t.keys(bucketNames, userPrefix(id.User), 0)) >= 2*t.limits.DevicesPerUser {
			return // what a user can have noted has an end too
		}
		d = t.createDevice(id)
		d.removed = true
	}
	t.noteDoubts(d, unknown)
}

func (t *txn) noteDoubts(d *device, unknown []mls.KeyPackageRef) {
	var doubts [][]byte
	for chunk := range slices.Chunk(t.get(bucketDevices, d.key(rowDoubts)), refPrefix) {
		doubts = append(doubts, cloneBytes(chunk))
	}
	changed := false
	for _, ref := range unknown {
		start := []byte(ref[:min(len(ref), refPrefix)])
		if len(start) == refPrefix && !slices.ContainsFunc(doubts, func(b []byte) bool { return bytes.Equal(b, start) }) {
			doubts, changed = append(doubts, start), true
		}
	}
	if most := t.limits.KeyPackagesPerDevice; len(doubts) > most {
		doubts = doubts[len(doubts)-most:] // more were never on its shelf
	}
	if changed {
		t.put(bucketDevices, d.key(rowDoubts), bytes.Join(doubts, nil))
		d.tombstones.at(t.store.doubts)
		t.changed(d)
	}
}

// settleDoubts forgets them when they have had their time.
func (t *txn) settleDoubts(d *device) {
	switch {
	case t.get(bucketDevices, d.key(rowDoubts)) == nil:
	case t.doubtful():
		d.tombstones.at(t.store.doubts)
	default:
		t.forgetDoubts(d)
	}
}

// retireDoubted takes a KeyPackage that was just published off the shelf if it is
// doubted.
func (t *txn) retireDoubted(d *device, k *keyPackage) {
	if k.rec.State == delivery.Available && t.doubted(d, k.rec.Ref, k.rec.LastResort) {
		k.rec.Retire(*t.limits, t.now)
		t.saveKeyPackage(d, k)
	}
}

// doubted reports whether a KeyPackage that the device, which may be nil,
// publishes may have been handed out before the restore.
func (t *txn) doubted(d *device, ref mls.KeyPackageRef, lastResort bool) bool {
	if !t.doubtful() || d == nil || lastResort {
		return false
	}
	for start := range slices.Chunk(t.get(bucketDevices, d.key(rowDoubts)), refPrefix) {
		if string(start) == string(ref[:refPrefix]) {
			return true
		}
	}
	return false
}

func (t *txn) forgetDoubts(d *device) {
	if t.get(bucketDevices, d.key(rowDoubts)) != nil {
		t.del(bucketDevices, d.key(rowDoubts))
	}
}
