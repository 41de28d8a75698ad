package bolt

import (
	"bytes"
	"context"
	"slices"
	"time"

	"welcomed/delivery"
)

// The kinds of rows in a device's part of the rows bucket, in their order: what
// a claim changes lies together, and what only grows or shrinks behind it.
const (
	rowDevice     = 0x00
	rowPending    = 0x10
	rowDelivered  = 0x11
	rowKeyPackage = 0x20
	rowHeld       = 0x30
	rowEnded      = 0x31
	rowTombstone  = 0x40
	rowInitKeys   = 0x50
	rowShelf      = 0x60 // to 0x6f, see shelf
)

// A device is the row 0x00. It counts what every claim and publication asks
// for.
type device struct {
	number       uint64
	id           delivery.DeviceID
	removed      bool      // known only for its tombstones
	removedAt    time.Time // last; it may be back since
	seenAt       time.Time
	available    int       // KeyPackages on the shelf, last resort not counted
	shelfUntil   time.Time // before it none of them has aged; zero if there are none
	waiting      int       // Welcomes held and pending
	waitingBytes int64     // their sizes as delivered
	pending      int       // Welcomes pending
	delivered    int       // Welcomes delivered and not settled
	validFrom    time.Time // from then on all that were ever put on the shelf are valid
	retired      int       // KeyPackages that are, as written, last resort counted
	overdue      int       // pending although the device has claimed since
	claimed      uint64    // the sequence at its last claim
	changes      uint64    // how often a KeyPackage came, or was needed no more
	live         alarm     // for what is not a tombstone
	tombstones   alarm

	dirty bool
	level stockLevel // as last counted in the state row
	was   int        // overdue as last counted
}

// A stockLevel is how a device stands in the devices metric.
type stockLevel int

const (
	stockNone stockLevel = iota - 1 // not counted
	stockOK
	stockLow
	stockEmpty
)

func (d *device) stockLevel(l *delivery.Limits) stockLevel {
	switch {
	case d.removed:
		return stockNone
	case d.available == 0:
		return stockEmpty
	case d.available < l.LowWatermark:
		return stockLow
	}
	return stockOK
}

// stock is what the device, which may be nil, has left to be handed out. The
// room is not told.
func (t *txn) stock(d *device) delivery.Stock {
	var stock delivery.Stock
	if d != nil {
		all := t.available(d)
		stock.Available = t.usable(d, all)
		stock.NotYetValid = all - stock.Available
	}
	stock.Low = stock.Available+stock.NotYetValid < t.limits.LowWatermark
	return stock
}

// usable counts those of all on the shelf whose lifetimes have begun. It looks at
// them only if the device has published one whose lifetime has not.
func (t *txn) usable(d *device, all int) int {
	if !t.now.Before(d.validFrom) {
		return all
	}
	n := 0
	for _, k := range t.onShelf(d, 0) {
		if !k.rec.LastResort && k.rec.OnShelf(t.now) {
			n++
		}
	}
	return n
}

// available counts the shelf as it is now. What the row says is right until the
// first KeyPackage has aged; from then until the next sweep it is counted.
func (t *txn) available(d *device) int {
	if d.shelfUntil.IsZero() || t.now.Before(d.shelfUntil) {
		return d.available
	}
	n := 0
	for _, k := range t.onShelf(d, 0) {
		if !k.rec.LastResort && k.rec.StateAt(t.now) == delivery.Available {
			n++
		}
	}
	return n
}

// renewShelfUntil looks for the next KeyPackage to age once the last known time
// has passed.
func (t *txn) renewShelfUntil(d *device) {
	if d.shelfUntil.IsZero() || t.now.Before(d.shelfUntil) {
		return
	}
	d.shelfUntil = time.Time{}
	for _, k := range t.onShelf(d, 0) {
		if !k.rec.LastResort {
			d.ages(k.rec.ShelfUntil)
		}
	}
}

// ages notes that a KeyPackage on the shelf ages at a time.
func (d *device) ages(at time.Time) {
	if d.shelfUntil.IsZero() || at.Before(d.shelfUntil) {
		d.shelfUntil = at
	}
}

// key is where the device's rows of a kind begin.
func (d *device) key(kind byte) []byte {
	return append(appendNumber(make([]byte, 0, 24), d.number), kind)
}

func nameKey(id delivery.DeviceID) []byte {
	return append(userPrefix(id.User), id.Name...)
}

func userPrefix(user delivery.UserID) []byte {
	return append([]byte(user), 0)
}

// device returns the device if it exists, or existed and has tombstones; else
// nil.
func (t *txn) device(id delivery.DeviceID) *device {
	number := t.get(bucketNames, nameKey(id))
	if number == nil {
		return nil
	}
	return t.deviceByNumber(readNumber(number))
}

func (t *txn) deviceByNumber(number uint64) *device {
	if d := t.devices[number]; d != nil {
		return d
	}
	d := &device{number: number}
	row := t.get(bucketDevices, d.key(rowDevice))
	if row == nil {
		return nil
	}
	dec := decoder(row)
	dec.flags(&d.removed)
	d.id = delivery.DeviceID{User: delivery.UserID(dec.string()), Name: dec.string()}
	d.seenAt, d.shelfUntil = dec.time(), dec.time()
	d.available, d.waiting, d.pending, d.delivered = int(dec.number()), int(dec.number()), int(dec.number()), int(dec.number())
	d.retired = int(dec.number())
	d.waitingBytes, d.overdue, d.claimed, d.changes = int64(dec.number()), int(dec.number()), dec.number(), dec.number()
	d.level = stockLevel(dec.number()) - 1
	dec.times(&d.live.set, &d.tombstones.set, &d.removedAt, &d.validFrom)
	d.live.due, d.tombstones.due = d.live.set, d.tombstones.set
	d.was = d.overdue
	t.keep(d)
	return d
}

// keep remembers a device for the rest of the transaction.
func (t *txn) keep(d *device) {
	if t.devices == nil {
		t.devices = make(map[uint64]*device)
	}
	t.devices[d.number] = d
}

// createDevice makes the device, or brings back one that was removed.
func (t *txn) createDevice(id delivery.DeviceID) *device {
	d := t.device(id)
	if d == nil {
		d = &device{number: t.next(), id: id, level: stockNone}
		t.put(bucketNames, nameKey(id), numberKey(d.number))
		t.keep(d)
	}
	d.removed = false
	t.touch(d)
	return d
}

// touch marks the device as seen.
func (t *txn) touch(d *device) {
	d.seenAt = t.now
	t.changed(d)
}

// changed has flush write the device.
func (t *txn) changed(d *device) {
	t.writes++
	d.dirty = true
}

func (t *txn) flushDevice(d *device) {
	if !d.dirty {
		return
	}
	t.renewShelfUntil(d)
	level := d.stockLevel(t.limits)
	if level != d.level {
		if d.level != stockNone {
			t.state.stock[d.level]--
		}
		if level != stockNone {
			t.state.stock[level]++
		}
	}
	t.state.overdue += int64(d.overdue - d.was)
	d.level, d.was, d.dirty = level, d.overdue, false
	t.setAlarm(timerDevice, d, &d.live)
	t.setAlarm(timerTombstones, d, &d.tombstones)

	e := make(encoder, 0, 128)
	e.flags(d.removed)
	e.string(string(d.id.User))
	e.string(d.id.Name)
	e.time(d.seenAt)
	e.time(d.shelfUntil)
	e.number(uint64(d.available))
	e.number(uint64(d.waiting))
	e.number(uint64(d.pending))
	e.number(uint64(d.delivered))
	e.number(uint64(d.retired))
	e.number(uint64(d.waitingBytes))
	e.number(uint64(d.overdue))
	e.number(d.claimed)
	e.number(d.changes)
	e.number(uint64(level + 1))
	e.times(d.live.set, d.tombstones.set, d.removedAt, d.validFrom)
	t.put(bucketDevices, d.key(rowDevice), e)
}

// userDevices returns the user's devices by name, those removed left out.
func (t *txn) userDevices(user delivery.UserID) []*device {
	return slices.DeleteFunc(t.knownDevices(user), func(d *device) bool { return d.removed })
}

// knownDevices is userDevices with those that were removed.
func (t *txn) knownDevices(user delivery.UserID) []*device {
	var numbers []uint64
	for _, number := range t.scan(bucketNames, userPrefix(user), nil) {
		numbers = append(numbers, readNumber(number))
	}
	var devices []*device
	for _, n := range numbers {
		if d := t.deviceByNumber(n); d != nil {
			devices = append(devices, d)
		}
	}
	return devices
}

// Devices implements delivery.Store.
func (s *Store) Devices(ctx context.Context, caller delivery.Caller, user delivery.UserID) (infos []delivery.DeviceInfo, err error) {
	if err := caller.Valid(); err != nil {
		return infos, err
	}
	err = s.view(ctx, func(t *txn) error {
		for _, d := range t.userDevices(user) {
			infos = append(infos, delivery.DeviceInfo{
				Device: d.id.Name, SeenAt: d.seenAt, Counts: t.inventory(d).Counts, Pending: t.pending(d),
			})
		}
		return nil
	})
	return infos, err
}

// pending counts what waits now: what has had its time may not be swept yet.
func (t *txn) pending(d *device) (n int) {
	for _, m := range t.mails(d, rowPending) {
		if m.rec.StateAt(t.now) == delivery.Pending {
			n++
		}
	}
	return n
}

// RemoveDevice implements delivery.Store.
func (s *Store) RemoveDevice(ctx context.Context, caller delivery.Caller, id delivery.DeviceID) error {
	if err := caller.Valid(); err != nil {
		return err
	}
	owner := delivery.TokenOwner{User: id.User, Device: id.Name}
	return s.decide(ctx, 0, func(t *txn) (changes bool, err error) {
		return t.device(id) != nil || len(t.tokenIDs(owner)) > 0, nil
	}, func(t *txn) error {
		t.revokeTokens(owner)
		if d := t.device(id); d != nil {
			t.removeDevice(d)
		}
		return nil
	})
}

// RemoveUser implements delivery.Store.
func (s *Store) RemoveUser(ctx context.Context, caller delivery.Caller, user delivery.UserID) error {
	if err := caller.Valid(); err != nil {
		return err
	}
	owner := delivery.TokenOwner{User: user}
	return s.decide(ctx, 0, func(t *txn) (changes bool, err error) {
		return len(t.keys(bucketNames, userPrefix(user), 1)) > 0 || len(t.tokenIDs(owner)) > 0, nil
	}, func(t *txn) error {
		t.revokeTokens(owner)
		for _, d := range t.knownDevices(user) {
			t.removeDevice(d)
		}
		return nil
	})
}

// removeDevice withdraws what can be withdrawn. Welcomes that were delivered
// can no longer be settled by a device that is gone: they lapse. Of one that was
// removed before only the time changes: credentials may have been issued since, or
// it was removed in a wrong future.
func (t *txn) removeDevice(d *device) {
	t.woken = append(t.woken, d.id)
	if d.removed {
		if !d.removedAt.IsZero() && !d.removedAt.Equal(t.now) {
			d.removedAt = t.now
			t.changed(d)
		}
		return
	}
	open := t.openMails(d)
	for _, k := range t.liveKeyPackages(d) {
		t.withdrawWith(d, k, t.current(open, d, k))
	}
	for _, m := range t.mails(d, rowDelivered) {
		m.rec.End(delivery.Lapsed, t.now)
		t.closeMail(d, m)
	}
	d.removed, d.removedAt = true, t.now
	t.changed(d)
	t.purge(d)
}

// purge forgets a removed device once its last row is gone and no credentials
// are expected that had been issued before.
func (t *txn) purge(d *device) {
	if !d.removed {
		return
	}
	if until := t.keepRemoved(d); t.now.Before(until) {
		d.tombstones.at(until)
		t.changed(d)
		return
	}
	if len(t.keys(bucketDevices, numberKey(d.number), 2)) > 1 {
		return
	}
	t.flushDevice(d) // takes it out of the counts
	t.del(bucketDevices, d.key(rowDevice))
	t.del(bucketNames, nameKey(d.id))
	delete(t.devices, d.number)
}

// keepRemoved is how long it is remembered that a device was removed, so that
// credentials which had been issued to it before do not bring it back.
func (t *txn) keepRemoved(d *device) time.Time {
	return roundUp(d.removedAt.Add(t.limits.TombstoneKept), tombstoneExact)
}

func cloneBytes(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return bytes.Clone(b)
}
