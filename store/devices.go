package store

import (
	"bytes"
	"context"
	"slices"
	"time"

	"welcomed/delivery"
)

// The kinds of a device's rows. The kind follows the device's number in the key. They are in
// this order so that the rows that a claim changes lie together, and rows that only grow or
// shrink lie behind them.
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
	rowHint       = 0x71 // behind rowDoubts, which is no more
)

// A device is the row 0x00 of a device. It has the counters that every claim and publication
// needs. A device that is removed and made again under its id is another device with rows of
// its own, so what has ended stays ended.
//
// A removal writes only this row of the device. From then on every read of its other rows
// returns them as ended, whether or not a sweep has written that yet: see gone.
type device struct {
	number       uint64
	id           delivery.DeviceID
	life         uint64    // how many devices with that id were there before
	removed      bool      // known only for its tombstones
	removedAt    time.Time // one with that id, last; credentials may outlive it
	removedNo    uint64    // in the sequence then
	endedAt      time.Time // when this one was removed; zero: all its rows say so themselves
	seenAt       time.Time
	idle         bool      // when a sweep looked last: not seen for so long that it is counted apart
	available    int       // KeyPackages on the shelf, last resort not counted
	shelfUntil   time.Time // before it none of them has aged; zero if there are none
	early        int       // of those, whose lifetimes have not begun: they are no stock
	lastResorts  int       // on the shelf that are stock
	onlySince    time.Time // since when it publishes nothing but last resorts; zero: it does not
	waiting      int       // Welcomes held and pending
	waitingBytes int64     // their sizes as delivered
	pending      int       // Welcomes pending
	delivered    int       // Welcomes delivered and not settled
	validFrom    time.Time // from then on all that were ever put on the shelf are valid
	replaced     [8]uint64 // the sequence when the shelf of each suite was replaced last
	retired      int       // KeyPackages that are, as written, last resort counted
	overdue      int       // pending although the device has claimed since
	claimed      uint64    // the sequence at its last claim
	changes      uint64    // how often one of its KeyPackages or Welcomes came or changed
	live         alarm     // for what is not a tombstone
	tombstones   alarm

	dirty bool
	level stockLevel // as last counted in the Totals
	was   int        // overdue as last counted
	had   int        // available as last told
}

// A stockLevel is the label under which the devices metric counts a device.
type stockLevel int

const (
	stockNone stockLevel = iota - 1 // not counted
	stockOK
	stockLow
	stockEmpty
	stockLastResort // all that it ever wants to have
	stockIdle       // whatever it has
)

func (d *device) stockLevel(l *delivery.Limits) stockLevel {
	switch {
	case d.removed:
		return stockNone
	case d.idle:
		return stockIdle
	case d.available == d.early && d.lastResorts > 0 && !d.onlySince.IsZero():
		return stockLastResort
	case d.available == d.early:
		return stockEmpty
	case d.available-d.early < l.LowWatermark:
		return stockLow
	}
	return stockOK
}

// stock returns what the device, which may be nil, has left to hand out. Room is not set.
func (t *Txn) stock(d *device) delivery.Stock {
	var stock delivery.Stock
	if d != nil && !d.removed {
		all := t.available(d)
		stock.Available = t.usable(d, all)
		stock.NotYetValid = all - stock.Available
	}
	stock.Low = stock.Available+stock.NotYetValid < t.limits.LowWatermark
	if stock.Low && t.lastResortsSuffice(d) {
		stock.Low = false
	}
	return stock
}

// byDesign is for how long a device has to publish nothing but last resorts until the server
// takes that for its design. A device that only began with a last resort is told before that it
// has few others, and publishes them.
const byDesign = 24 * time.Hour

// lastResortsSuffice reports whether the device, which may be nil, publishes nothing but last
// resorts by design, and has one. Such a device has few KeyPackages, so this looks at all of
// them.
func (t *Txn) lastResortsSuffice(d *device) bool {
	if d == nil || d.removed || d.onlySince.IsZero() || t.sure.Before(d.onlySince.Add(byDesign)) {
		return false
	}
	return slices.ContainsFunc(t.onShelf(d, 0), func(k *keyPackage) bool {
		return k.rec.LastResort && k.rec.StateAt(t.sure) == delivery.Available
	})
}

// usable returns how many of the all KeyPackages on the shelf have a lifetime that has begun.
// It reads them only if the device has published one whose lifetime begins later.
func (t *Txn) usable(d *device, all int) int {
	if !t.now.Before(d.validFrom) {
		return all
	}
	n := 0
	for _, k := range t.onShelf(d, 0) {
		if !k.rec.LastResort && k.rec.OnShelf(t.sure, t.now) {
			n++
		}
	}
	return n
}

// available returns how many KeyPackages are on the shelf now. The counter of the row is right
// until the first of them has aged. From then until the next sweep this counts them.
func (t *Txn) available(d *device) int {
	if d.shelfUntil.IsZero() || t.sure.Before(d.shelfUntil) {
		return d.available
	}
	n := 0
	for _, k := range t.onShelf(d, 0) {
		if !k.rec.LastResort && k.rec.StateAt(t.sure) == delivery.Available {
			n++
		}
	}
	return n
}

// renewShelfUntil looks up when the next KeyPackage on the shelf ages, once the time that it
// knew has passed.
func (t *Txn) renewShelfUntil(d *device) {
	if d.removed || d.shelfUntil.IsZero() || t.sure.Before(d.shelfUntil) {
		return
	}
	d.shelfUntil = time.Time{}
	for _, k := range t.onShelf(d, 0) {
		if !k.rec.LastResort {
			d.ages(k.rec.ShelfUntil)
		}
	}
}

// ages takes note of a time at which a KeyPackage on the shelf ages.
func (d *device) ages(at time.Time) {
	if d.shelfUntil.IsZero() || at.Before(d.shelfUntil) {
		d.shelfUntil = at
	}
}

// key returns the prefix of the device's rows of a kind.
func (d *device) key(kind byte) []byte {
	return append(appendNumber(make([]byte, 0, 24), d.number), kind)
}

func nameKey(id delivery.DeviceID) []byte {
	return append(userPrefix(id.User), id.Name...)
}

func userPrefix(user delivery.UserID) []byte {
	return append([]byte(user), 0)
}

// device returns the device if it exists, else nil.
func (t *Txn) device(id delivery.DeviceID) *device {
	number := t.get(kindNames, nameKey(id))
	if number == nil {
		return nil
	}
	return t.deviceByNumber(readNumber(number))
}

// goneKey is the key of the row that gone has of a removed device until the device is
// forgotten. The rows of one id lie in reverse order: the device that was removed last comes
// first.
func goneKey(id delivery.DeviceID, life uint64) []byte {
	return appendNumber(append(nameKey(id), 0), ^life)
}

// lastOf returns the device with that id, or else the last one that had it.
func (t *Txn) lastOf(id delivery.DeviceID) *device {
	if d := t.device(id); d != nil {
		return d
	}
	for _, number := range t.scan(kindGone, append(nameKey(id), 0), nil) {
		return t.deviceByNumber(readNumber(number))
	}
	return nil
}

// earlier returns the removed devices that had that id.
func (t *Txn) earlier(id delivery.DeviceID) (devices []*device) {
	for _, number := range t.scan(kindGone, append(nameKey(id), 0), nil) {
		devices = append(devices, &device{number: readNumber(number), id: id})
	}
	return devices
}

// removedAt returns when the device, or all devices of its user, were last removed; zero if
// they never were, or if that is forgotten.
func (t *Txn) removedAt(id delivery.DeviceID) time.Time {
	d := t.lastOf(id)
	if d == nil {
		d = unknown(id)
	}
	at, _ := t.lastRemovalOf(d)
	return at
}

// unknown stands for a device of which a copy of the database knows nothing, because it was
// made after the copy. Its user may have been removed since.
func unknown(id delivery.DeviceID) *device { return &device{id: id, removed: true} }

// lastRemovalOf returns when the device, or all devices of its user, were last removed, and the
// number that the sequence had then. The number is needed because a clock may have been wrong.
func (t *Txn) lastRemovalOf(d *device) (at time.Time, number uint64) {
	at, number = d.removedAt, d.removedNo
	if row := t.get(kindGone, userPrefix(d.id.User)); d.removed && row != nil && readNumber(row[numberBytes:]) > number {
		at, number = FromMillis(readNumber(row)), readNumber(row[numberBytes:])
	}
	return t.putRight(at, number), number
}

// readDevice is deviceByNumber, but returns nil for a device whose row cannot be read.
func (t *Txn) readDevice(number uint64) (d *device) {
	if number == 0 || !readable(func() { d = t.deviceByNumber(number) }) {
		return nil
	}
	return d
}

func (t *Txn) deviceByNumber(number uint64) *device {
	if d := t.devices[number]; d != nil {
		return d
	}
	d := &device{number: number}
	row := t.get(kindDevices, d.key(rowDevice))
	if row == nil {
		return nil
	}
	d.fields(&coder{row: row, reads: true})
	d.live.due, d.tombstones.due = d.live.set, d.tombstones.set
	d.was, d.had = d.late(), d.available
	t.keep(d)
	return d
}

// keep remembers a device for the rest of the transaction.
func (t *Txn) keep(d *device) {
	if t.devices == nil {
		t.devices = make(map[uint64]*device)
	}
	t.devices[d.number] = d
}

// createDevice returns the device. It makes the device if there is none.
func (t *Txn) createDevice(id delivery.DeviceID) *device {
	d := t.device(id)
	if d == nil {
		d = &device{number: t.next(), id: id, level: stockNone}
		before := t.lastOf(id)
		if before == nil {
			before = unknown(id)
		} else {
			d.life = before.life + 1
		}
		d.removedAt, d.removedNo = t.lastRemovalOf(before)
		t.put(kindNames, nameKey(id), numberKey(d.number))
		t.keep(d)
	}
	t.touch(d)
	return d
}

// late returns how many of the device's Welcomes are overdue. A removed device has none.
func (d *device) late() int {
	if d.removed {
		return 0
	}
	return d.overdue
}

// touch marks the device as seen.
func (t *Txn) touch(d *device) {
	d.seenAt, d.idle = t.now, false
	t.changed(d)
}

// changed makes flush write the device.
func (t *Txn) changed(d *device) {
	t.writes++
	d.dirty = true
}

func (t *Txn) flushDevice(d *device) {
	if !d.dirty {
		return
	}
	t.renewShelfUntil(d)
	level := d.stockLevel(t.limits)
	if level != d.level {
		if d.level != stockNone {
			t.counted.stock[d.level]--
		}
		if level != stockNone {
			t.counted.stock[level]++
		}
	}
	t.counted.overdue += int64(d.late() - d.was)
	t.tellOfStock(d)
	d.level, d.was, d.had, d.dirty = level, d.late(), d.available, false
	t.setAlarm(timerDevice, d, &d.live)
	t.setAlarm(timerTombstones, d, &d.tombstones)

	t.put(kindDevices, d.key(rowDevice), d.encode())
}

func (d *device) encode() []byte {
	c := coder{row: make([]byte, 0, 128)}
	d.fields(&c)
	return c.row
}

// fields writes or reads the fields of the row.
func (d *device) fields(c *coder) {
	lastResorts, early := d.lastResorts > 0 || !d.onlySince.IsZero(), d.early > 0
	c.flags(&d.removed, &lastResorts, &early, &d.idle)
	c.string((*string)(&d.id.User))
	c.string(&d.id.Name)
	c.time(&d.seenAt)
	c.time(&d.shelfUntil)
	c.ints(&d.available, &d.waiting, &d.pending, &d.delivered, &d.retired)
	c.int64(&d.waitingBytes)
	c.ints(&d.overdue)
	c.numbers(&d.claimed, &d.changes)
	level := uint64(d.level + 1)
	c.numbers(&level)
	d.level = stockLevel(level) - 1
	c.times(&d.live.set, &d.tombstones.set, &d.removedAt, &d.validFrom)
	if lastResorts {
		c.ints(&d.lastResorts)
		c.times(&d.onlySince)
	}
	if early {
		c.ints(&d.early)
	}
	if c.goesOn(d.life > 0 || d.removedNo > 0 || !d.endedAt.IsZero() || d.replaced != [8]uint64{}) {
		c.numbers(&d.life, &d.removedNo)
		c.times(&d.endedAt)
	}
	for suite := range d.replaced {
		if c.goesOn(d.replaced[suite] != 0) {
			at := byte(suite)
			c.byte(&at)
			c.numbers(&d.replaced[at&7])
		}
	}
}

// userDevices returns the user's devices by name.
func (t *Txn) userDevices(user delivery.UserID) []*device {
	return t.devicesIn(kindNames, user)
}

// goneDevices returns the user's removed devices that are not forgotten.
func (t *Txn) goneDevices(user delivery.UserID) []*device {
	return t.devicesIn(kindGone, user)
}

func (t *Txn) devicesIn(b *Kind, user delivery.UserID) (devices []*device) {
	var numbers []uint64
	for key, number := range t.scan(b, userPrefix(user), nil) {
		if len(key) > len(user)+1 { // not the user's own
			numbers = append(numbers, readNumber(number))
		}
	}
	for _, n := range numbers {
		if d := t.deviceByNumber(n); d != nil {
			devices = append(devices, d)
		}
	}
	return devices
}

// Devices implements delivery.Store.
func (s *Store) Devices(ctx context.Context, caller delivery.Caller, user delivery.UserID) (infos []delivery.DeviceInfo, err error) {
	err = s.viewAs(ctx, caller, func(t *Txn) error {
		t.aheadOfUsers([]delivery.UserID{user}, nil, (*Wanted).live)
		for _, d := range t.userDevices(user) {
			infos = append(infos, delivery.DeviceInfo{
				Device: d.id.Name, SeenAt: d.seenAt, IdleSince: delivery.IdleSince(d.seenAt, t.sure), Counts: t.inventory(d).Counts, Pending: d.pending,
			})
		}
		return nil
	})
	return infos, err
}

// RemoveDevice implements delivery.Store.
func (s *Store) RemoveDevice(ctx context.Context, caller delivery.Caller, id delivery.DeviceID) error {
	owner := delivery.TokenOwner{User: id.User, Device: id.Name}
	if err := caller.Valid(); err != nil {
		return err
	}
	// Credentials may have been issued since it was removed, or that was in a wrong future.
	remove := func(t *Txn) bool {
		d := t.lastOf(id)
		return d != nil && !(d.removed && t.removedAt(id).Equal(t.now))
	}
	return s.revoke(ctx, func(t *Txn) (lines []Revocation, also bool, err error) {
		t.aheadOfRemoval(id)
		if err := t.permit(caller); err != nil {
			if d := t.lastOf(id); caller.IsDevice(id) && (d == nil || d.removed) {
				err = nil // its own removal is repeated
			}
			return nil, false, err
		}
		lines = t.tokensRevoked(t.tokenIDs(owner))
		if remove(t) {
			lines = append(lines, deviceRevoked(t, id))
		}
		return lines, false, nil
	}, func(t *Txn, lines []Revocation) error {
		if t.permit(caller) != nil {
			return ErrMoved
		}
		if err := sameTokens(lines, t.tokenIDs(owner)); err != nil {
			return err
		}
		d, again := t.lastOf(id), remove(t)
		if again && !t.saysRemoval(lines, d) {
			return ErrMoved
		}
		t.revokeTokens(owner)
		switch {
		case !again:
		case !d.removed:
			t.removeDevice(d, t.now, t.next())
		default:
			d.removedAt, d.removedNo = t.now, t.next()
			t.changed(d)
		}
		return nil
	})
}

// RemoveUser implements delivery.Store. For devices that were removed before, only the time of
// the removal changes, in one row for all of them.
func (s *Store) RemoveUser(ctx context.Context, caller delivery.Caller, user delivery.UserID) error {
	owner := delivery.TokenOwner{User: user}
	again := false // some that were removed before are
	if err := caller.Valid(); err != nil {
		return err
	}
	return s.revoke(ctx, func(t *Txn) (lines []Revocation, also bool, err error) {
		t.aheadOfUserRemoval(user)
		if err := t.permit(caller); err != nil {
			return nil, false, err
		}
		lines = t.tokensRevoked(t.tokenIDs(owner))
		for _, d := range t.userDevices(user) {
			lines = append(lines, deviceRevoked(t, d.id))
		}
		again = slices.ContainsFunc(t.goneDevices(user), func(d *device) bool { return !t.removedAt(d.id).Equal(t.now) })
		if again {
			lines = append(lines, t.removed(UserRemoved, string(user)))
		}
		return lines, t.hasEvents(user), nil
	}, func(t *Txn, lines []Revocation) error {
		if t.permit(caller) != nil {
			return ErrMoved
		}
		err := sameTokens(lines, t.tokenIDs(owner))
		devices := t.userDevices(user)
		if err != nil || slices.ContainsFunc(devices, func(d *device) bool { return !t.saysRemoval(lines, d) }) {
			return ErrMoved
		}
		t.revokeTokens(owner)
		t.hideEvents(user)
		if again {
			t.put(kindGone, userPrefix(user), appendNumber(numberKey(Millis(t.now)), t.next()))
		}
		for _, d := range devices {
			t.removeDevice(d, t.now, t.next())
		}
		return nil
	})
}

// removeDevice ends a device. Its KeyPackages are withdrawn, and so are Welcomes that were not
// delivered. Delivered ones lapse, because no device is left to settle them. Sweeps write all
// that later. number is one of the sequence.
func (t *Txn) removeDevice(d *device, at time.Time, number uint64) {
	t.woken = append(t.woken, d.id)
	d.removed, d.removedAt, d.removedNo, d.endedAt = true, at, number, at
	d.live.at(atOnce)
	t.del(kindNames, nameKey(d.id))
	t.put(kindGone, goneKey(d.id, d.life), numberKey(d.number))
	t.changed(d)
}

// gone returns a KeyPackage in the state that it has because its device was removed.
func (t *Txn) gone(d *device, k *keyPackage) *keyPackage {
	if k == nil || t.raw || d.endedAt.IsZero() || k.row == rowTombstone {
		return k
	}
	d.end(k)
	return k
}

// end ends a KeyPackage with its device, unless it had ended before.
func (d *device) end(k *keyPackage) {
	if !k.rec.State.Ended() {
		k.rec.End(delivery.Withdrawn, d.endedAt)
	}
	if k.rec.Open = 0; k.rec.State.Ended() {
		k.closed, k.rec.ShelfUntil, k.rec.MatchableUntil = d.endedAt, time.Time{}, time.Time{} // as in a tombstone
	}
}

// goneRecipient returns a recipient in the state that it has because its device was removed.
func (t *Txn) goneRecipient(d *device, m *recipient) *recipient {
	if m == nil || t.raw || d.endedAt.IsZero() || m.rec.State.Ended() {
		return m
	}
	d.endRecipient(m)
	return m
}

func (d *device) endRecipient(m *recipient) {
	switch m.rec.State {
	case delivery.Held, delivery.Pending:
		m.rec.End(delivery.WelcomeWithdrawn, d.endedAt)
	default:
		m.rec.End(delivery.Lapsed, d.endedAt)
	}
}

// purge forgets a removed device when its last row is gone and all credentials that were issued
// before the removal have expired.
func (t *Txn) purge(d *device) {
	if !d.removed {
		return
	}
	if until := t.keepRemoved(d); t.sure.Before(until) {
		d.tombstones.at(until)
		t.changed(d)
		return
	}
	if len(t.keys(kindDevices, numberKey(d.number), 2)) > 1 {
		return
	}
	t.flushDevice(d) // takes it out of the counts
	t.del(kindDevices, d.key(rowDevice))
	t.del(kindGone, goneKey(d.id, d.life))
	delete(t.devices, d.number)
	user := userPrefix(d.id.User)
	if left := t.keys(kindGone, user, 2); len(left) == 1 && bytes.Equal(left[0], user) {
		t.del(kindGone, user)
	}
}

// keepRemoved returns until when the store remembers that a device was removed. Until then,
// credentials that were issued to it before do not bring it back.
func (t *Txn) keepRemoved(d *device) time.Time {
	at, _ := t.lastRemovalOf(d)
	return roundUp(at.Add(t.limits.TombstoneKept), tombstoneExact)
}

func cloneBytes(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return bytes.Clone(b)
}
