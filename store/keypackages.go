package store

import (
	"encoding/binary"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// refPrefix is how many bytes of a ref are in the key of a row of refs. Two refs do not share
// them by chance. If two do, the second KeyPackage is refused.
const refPrefix = 8

// A shelf is the part of a device's shelf where a KeyPackage lies: its suite,
// and whether it is a last resort. 4 bits, as suites 1 to 7 are accepted.
type shelf byte

const lastShelf shelf = 0x0f

func shelfOf(suite mls.CipherSuite, lastResort bool) shelf {
	if lastResort {
		return shelf(suite)<<1 | 1
	}
	return shelf(suite) << 1
}

func (s shelf) suite() mls.CipherSuite { return mls.CipherSuite(s >> 1) }
func (s shelf) lastResort() bool       { return s&1 == 1 }

// A keyPackageKey names a KeyPackage, and the shelf on which its row lies while it is available.
type keyPackageKey struct {
	number uint64
	shelf  shelf
}

// A keyPackage is the state row of a KeyPackage. The kind of the row is 0x6… while it is
// available, 0x20 while its device needs the private key for another reason, and 0x40 after
// that.
type keyPackage struct {
	keyPackageKey
	rec       delivery.KeyPackageRecord
	recipient recipientKey // of the Welcome that matched it last; zero if none has
	payload   bool         // the bytes are still kept
	closed    time.Time    // when it became a tombstone

	stored bool // a row exists, as the rest says
	was    delivery.KeyPackageState
	stock  bool // it counted as stock
	row    byte
	behind bool // the row lies behind the others of its part of the shelf
	own    bool // it counted as retired
	found  [2]delivery.ReservationID

	handedOut bool // HandedOutAt was set
}

// givenBack stands in the key of a KeyPackage that was given back, in front of its number. So
// its row lies behind the others on the shelf.
const givenBack = 0xff

// reservations returns the ids of the reservations by which the KeyPackage can be found: the
// one that holds it, and the last one that has given it back.
func (k *keyPackage) reservations() (ids [2]delivery.ReservationID) {
	if k.rec.State == delivery.Reserved {
		ids[0] = k.rec.Reservation
	}
	ids[1] = k.rec.Returned.Reservation
	return ids
}

// reservationKey is the key of the row that leads from a reservation to a KeyPackage.
func reservationKey(id delivery.ReservationID, number uint64) []byte {
	return appendNumber(binary.BigEndian.AppendUint64(nil, uint64(id)), number)
}

// findByReservation writes and removes the rows that lead from reservations to the KeyPackage.
func (t *Txn) findByReservation(d *device, k *keyPackage, now [2]delivery.ReservationID) {
	for _, id := range k.found {
		if id != 0 && !slices.Contains(now[:], id) {
			t.del(kindReservations, reservationKey(id, k.number))
		}
	}
	for _, id := range now {
		if id != 0 && !slices.Contains(k.found[:], id) {
			t.put(kindReservations, reservationKey(id, k.number), append(numberKey(d.number), byte(k.shelf)))
		}
	}
	k.found = now
}

// lies reports whether the row belongs behind the others on the shelf.
func (k *keyPackage) lies() (behind bool) {
	return k.rec.State == delivery.Available && k.rec.Returned.Reservation != 0 && !k.rec.LastResort
}

// rowOf is the key under which the KeyPackage's row lies, and rowFor the key under which it
// belongs.
func (d *device) rowOf(k *keyPackage) []byte  { return d.placeOf(k.row, k.number, k.behind) }
func (d *device) rowFor(k *keyPackage) []byte { return d.placeOf(k.rowKind(), k.number, k.lies()) }

func (d *device) placeOf(kind byte, number uint64, behind bool) []byte {
	if behind {
		return appendNumber(append(d.key(kind), givenBack), number)
	}
	return d.keyPackageRow(kind, number)
}

// keyPackageAt reads a row by its key, which begins with the number of the device.
func keyPackageAt(key, row []byte) *keyPackage {
	kind, rest := key[numberBytes], key[numberBytes+1:]
	behind := len(rest) == numberBytes+1 && rest[0] == givenBack
	if behind {
		rest = rest[1:]
	}
	k := decodeKeyPackage(kind, readNumber(rest), row)
	k.behind = behind
	return k
}

// rowKind is the kind under which the row belongs.
func (k *keyPackage) rowKind() byte {
	switch {
	case k.rec.State == delivery.Available:
		return rowShelf | byte(k.shelf)
	case k.rec.State.Ended() && k.rec.Open == 0:
		return rowTombstone
	}
	return rowKeyPackage
}

// keyPackage returns nil if the row is missing or cannot be read.
func (t *Txn) keyPackage(d *device, key keyPackageKey) *keyPackage {
	for _, kind := range [...]byte{rowKeyPackage, rowShelf | byte(key.shelf), rowTombstone} {
		place := d.keyPackageRow(kind, key.number)
		if row := t.get(kindDevices, place); row != nil {
			return t.gone(d, readKeyPackage(place, row))
		}
	}
	if place := d.placeOf(rowShelf|byte(key.shelf), key.number, true); !key.shelf.lastResort() {
		if row := t.get(kindDevices, place); row != nil {
			return t.gone(d, readKeyPackage(place, row))
		}
	}
	return nil
}

// readKeyPackage returns nil for a row that cannot be read.
func readKeyPackage(key, row []byte) (k *keyPackage) {
	if !readable(func() { k = keyPackageAt(key, row) }) {
		return nil
	}
	return k
}

func (d *device) keyPackageRow(kind byte, number uint64) []byte {
	return appendNumber(d.key(kind), number)
}

func decodeKeyPackage(kind byte, number uint64, row []byte) *keyPackage {
	k := &keyPackage{stored: true, row: kind}
	d, r := decoder(row), &k.rec
	r.State = delivery.KeyPackageState(d.byte())
	if r.State == 0 || r.State > delivery.Withdrawn {
		panic(ErrCorrupt)
	}
	k.keyPackageKey = keyPackageKey{number, shelf(d.byte())}
	if k.shelf > lastShelf {
		panic(ErrCorrupt)
	}
	r.Suite, r.LastResort = k.shelf.suite(), k.shelf.lastResort()
	var matched, reserved, held, returned bool
	d.flags(&k.payload, &r.Abandoned, &matched, &reserved, &r.BeforeRestore, &held, &returned, &r.Early)
	r.Ref = mls.KeyPackageRef(d.string())
	r.Lifetime.NotBefore, r.Lifetime.NotAfter = d.number(), d.number()-1
	d.times(&r.PublishedAt, &r.ShelfUntil, &r.MatchableUntil, &r.ReservedAt, &r.HandedOutAt, &r.EndedAt, &k.closed)
	if reserved {
		r.ReservedBy = d.string()
	}
	if matched {
		k.recipient = recipientKey{d.number(), uint32(d.number())}
		r.Open = int(d.number())
	}
	if held {
		r.Reservation = delivery.ReservationID(d.number())
	}
	if returned {
		r.Returned = delivery.Return{
			Reservation: delivery.ReservationID(d.number()), By: d.string(), At: d.time(), Reason: delivery.GiveBackReason(d.string()),
		}
	}
	k.was, k.stock, k.own, k.found = r.State, r.InStock(), r.CountsAsRetired(), k.reservations()
	k.handedOut = !r.HandedOutAt.IsZero()
	return k
}

func (k *keyPackage) encode() []byte {
	r := k.rec
	if r.State.Ended() && r.Open == 0 {
		r.ShelfUntil, r.MatchableUntil = time.Time{}, time.Time{} // of no interest in a tombstone
	}
	e := make(encoder, 0, 128)
	e.byte(byte(r.State))
	e.byte(byte(k.shelf))
	matched, reserved := k.recipient != recipientKey{}, r.ReservedBy != ""
	held, returned := r.Reservation != 0, r.Returned.Reservation != 0
	e.flags(k.payload, r.Abandoned, matched, reserved, r.BeforeRestore, held, returned, r.Early)
	e.string(string(r.Ref))
	// The usual end, 2^64-1, takes one byte.
	e.number(r.Lifetime.NotBefore)
	e.number(r.Lifetime.NotAfter + 1)
	e.times(r.PublishedAt, r.ShelfUntil, r.MatchableUntil, r.ReservedAt, r.HandedOutAt, r.EndedAt, k.closed)
	if reserved {
		e.string(r.ReservedBy)
	}
	if matched {
		e.number(k.recipient.welcome)
		e.number(uint64(k.recipient.index))
		e.number(uint64(r.Open))
	}
	if held {
		e.number(uint64(r.Reservation))
	}
	if returned {
		e.number(uint64(r.Returned.Reservation))
		e.string(r.Returned.By)
		e.time(r.Returned.At)
		e.string(string(r.Returned.Reason))
	}
	return e
}

// saveKeyPackage writes the row under the key where it belongs. It updates the counters and the
// device's next due time.
func (t *Txn) saveKeyPackage(d *device, k *keyPackage) {
	t.tellOfKeyPackage(d, k)
	t.countKeyPackage(d, k)
	kind := k.rowKind()
	if kind == rowTombstone && k.closed.IsZero() {
		k.closed = t.now
	}
	d.changes++
	if k.stored && (k.row != kind || k.behind != k.lies()) {
		t.del(kindDevices, d.rowOf(k))
	}
	t.put(kindDevices, d.rowFor(k), k.encode())
	t.findByReservation(d, k, k.reservations())
	k.stored, k.was, k.stock, k.row, k.behind, k.own = true, k.rec.State, k.rec.InStock(), kind, k.lies(), k.rec.CountsAsRetired()
	k.handedOut = !k.rec.HandedOutAt.IsZero()
	if kind == rowTombstone {
		d.tombstones.at(k.nextDue(t.limits))
	} else {
		d.live.at(k.nextDue(t.limits))
	}
	t.changed(d)
}

func (t *Txn) countKeyPackage(d *device, k *keyPackage) {
	if k.stored {
		t.counted.keyPackages[k.was]--
	}
	t.counted.keyPackages[k.rec.State]++
	if k.stored && k.own {
		d.retired--
	}
	if k.rec.CountsAsRetired() {
		d.retired++
	}
	stock := oneMore(k.stored && k.stock, k.rec.InStock())
	t.counted.shelves[k.shelf] += int64(stock)
	if k.rec.LastResort {
		d.lastResorts += stock
		return
	}
	n := oneMore(k.stored && k.was == delivery.Available, k.rec.State == delivery.Available)
	d.early += n - stock
	if d.available += n; n > 0 {
		d.ages(k.rec.ShelfUntil)
		if from := k.rec.NotBefore(); from.After(d.validFrom) {
			d.validFrom = from
		}
	}
}

// oneMore returns 1 for what is now and was not before, -1 for the opposite, and else 0.
func oneMore(was, is bool) int {
	switch {
	case is && !was:
		return 1
	case was && !is:
		return -1
	}
	return 0
}

// tombstoneExact is how exactly tombstones are removed on time. A device with thousands of them
// is looked at once in this time.
const tombstoneExact = time.Hour

// nextDue returns when the row has to be looked at again; zero if it ends with its Welcome.
func (k *keyPackage) nextDue(l *delivery.Limits) time.Time {
	r := &k.rec
	switch {
	case r.State == delivery.Available:
		return r.ShelfDue()
	case r.State == delivery.Reserved && !r.Abandoned && r.ReservedAt.Add(l.ReservationOverdue).Before(r.MatchableUntil):
		return r.ReservedAt.Add(l.ReservationOverdue)
	case r.State == delivery.Reserved, r.State == delivery.Retired:
		return r.MatchableUntil
	case !r.State.Ended(), r.Open > 0:
		return time.Time{}
	case k.payload:
		// A repeated reservation still answers with the bytes.
		return roundUp(k.closed.Add(l.IdempotencyKept), tombstoneExact)
	}
	return roundUp(r.ForgetAt(*l, k.closed), tombstoneExact)
}

func roundUp(t time.Time, to time.Duration) time.Time {
	if down := t.Truncate(to); down.Before(t) {
		return down.Add(to)
	}
	return t
}

// onShelf returns the device's available KeyPackages of a suite (0: of all suites). They are
// sorted by suite; in a suite the oldest comes first, and last resorts come last.
func (t *Txn) onShelf(d *device, suite mls.CipherSuite) []*keyPackage {
	var found []*keyPackage
	t.eachOnShelf(d, suite, func(k *keyPackage) bool {
		found = append(found, k)
		return true
	})
	return found
}

// lastResorts returns the available last resorts of a suite.
func (t *Txn) lastResorts(d *device, suite mls.CipherSuite) (found []*keyPackage) {
	t.eachOnShelfFrom(d, suite, d.key(rowShelf|byte(shelfOf(suite, true))), func(k *keyPackage) bool {
		found = append(found, k)
		return true
	})
	return found
}

// eachOnShelf is onShelf, until yield returns false. It leaves out rows that it cannot read.
func (t *Txn) eachOnShelf(d *device, suite mls.CipherSuite, yield func(*keyPackage) bool) {
	t.eachOnShelfFrom(d, suite, d.key(rowShelf|byte(shelfOf(suite, false))), yield)
}

// eachOnShelfFrom is eachOnShelf from the key of a row on.
func (t *Txn) eachOnShelfFrom(d *device, suite mls.CipherSuite, from []byte, yield func(*keyPackage) bool) {
	last := shelfOf(suite, true)
	if suite == 0 {
		last = lastShelf
	}
	for key, row := range t.scan(kindDevices, numberKey(d.number), from) {
		if key[numberBytes] > rowShelf|byte(last) {
			return
		}
		k := readKeyPackage(key, row)
		if k == nil {
			t.passed++
		} else if !yield(t.gone(d, k)) {
			return
		}
	}
}

// liveKeyPackages returns the KeyPackages whose private keys the device still needs.
func (t *Txn) liveKeyPackages(d *device) []*keyPackage {
	live := t.onShelf(d, 0)
	for key, row := range t.scan(kindDevices, d.key(rowKeyPackage), nil) {
		if k := readKeyPackage(key, row); k != nil {
			live = append(live, t.gone(d, k))
		} else {
			t.passed++
		}
	}
	return live
}

// forgot reports whether a KeyPackage that the store does not know may have been published
// before the last restore.
func (t *Txn) forgot(item delivery.NewKeyPackage) bool {
	return delivery.Restore{At: t.restoredAt(), Epoch: t.store.restore.Epoch}.Forgot(item)
}

// newRecord returns the record of a KeyPackage that is published now and was not known before.
func (t *Txn) newRecord(item delivery.NewKeyPackage) delivery.KeyPackageRecord {
	rec := t.limits.NewKeyPackageRecord(item, t.sure, t.now)
	if t.forgot(item) {
		rec.AcrossRestore(*t.limits, t.now)
	}
	return rec
}

// addKeyPackage stores a new KeyPackage.
func (t *Txn) addKeyPackage(d *device, item delivery.NewKeyPackage) *keyPackage {
	return t.keepKeyPackage(d, item, t.newRecord(item))
}

// keepKeyPackage is addKeyPackage with a given record.
func (t *Txn) keepKeyPackage(d *device, item delivery.NewKeyPackage, rec delivery.KeyPackageRecord) *keyPackage {
	k := &keyPackage{
		keyPackageKey: keyPackageKey{t.next(), shelfOf(item.Suite, item.LastResort)},
		rec:           rec,
		payload:       len(item.Bytes) > 0,
	}
	if k.payload {
		t.put(kindKeyPackages, numberKey(k.number), item.Bytes)
	}
	t.put(kindRefs, []byte(item.Ref[:refPrefix]), append(appendNumber(numberKey(d.number), k.number), byte(k.shelf)))
	t.saveKeyPackage(d, k)
	return k
}

// withdrawable reports whether a withdrawal would end the KeyPackage or one of its open recipients.
func (t *Txn) withdrawable(k *keyPackage, recipients []*recipient) bool {
	if k.rec.State == delivery.Consumed {
		return false
	}
	return !k.rec.State.Ended() || slices.ContainsFunc(recipients, func(m *recipient) bool {
		s := m.rec.State
		return s == delivery.Held || s == delivery.Pending
	})
}

// withdrawWith ends a KeyPackage because its owner wants it, and the Welcomes for it that were
// not delivered. recipients are its open recipients. A KeyPackage that has ended stays as it
// is. It reports whether anything has ended.
func (t *Txn) withdrawWith(d *device, k *keyPackage, recipients []*recipient) (changed bool) {
	if k.rec.State == delivery.Consumed {
		return false
	}
	for _, m := range recipients {
		if s := m.rec.State; s == delivery.Held || s == delivery.Pending {
			m.rec.End(delivery.WelcomeWithdrawn, t.now)
			t.saveRecipient(d, m)
			t.settled(m)
			k.rec.Open--
			changed = true
		}
	}
	if !k.rec.State.Ended() {
		k.rec.End(delivery.Withdrawn, t.now)
		changed = true
	}
	if changed {
		t.saveKeyPackage(d, k)
	}
	return changed
}

// listed returns the KeyPackage as a reservation or a list gives it.
func (t *Txn) listed(k *keyPackage) delivery.ListedKeyPackage {
	return delivery.ListedKeyPackage{
		Ref: k.rec.Ref, Suite: k.rec.Suite, LastResort: k.rec.LastResort, Lifetime: k.rec.Lifetime,
		ExpiresAt: k.rec.ExpiresAt(*t.limits),
		Bytes:     cloneBytes(t.get(kindKeyPackages, numberKey(k.number))),
	}
}

// refOwner finds the KeyPackage with that ref, and its device. It returns nil if nobody
// published it, or if it is forgotten.
func (t *Txn) refOwner(ref mls.KeyPackageRef) (*device, *keyPackage) {
	d, k := t.refNeighbour(ref)
	if k == nil || k.rec.Ref != ref {
		return nil, nil
	}
	return d, k
}

// refNeighbour finds the KeyPackage with that ref, or the one whose ref has the same first
// refPrefix bytes.
func (t *Txn) refNeighbour(ref mls.KeyPackageRef) (*device, *keyPackage) {
	if len(ref) < refPrefix {
		return nil, nil
	}
	v := t.get(kindRefs, []byte(ref[:refPrefix]))
	if v == nil {
		return nil, nil
	}
	if len(v) != 2*numberBytes+1 {
		panic(ErrCorrupt)
	}
	key := keyPackageKey{readNumber(v[numberBytes:]), shelf(v[2*numberBytes])}
	d := t.deviceByNumber(readNumber(v))
	if d == nil {
		panic(ErrCorrupt)
	}
	k := t.keyPackage(d, key)
	if k == nil {
		panic(ErrCorrupt)
	}
	return d, k
}
