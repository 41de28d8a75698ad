package bolt

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

const (
	refPrefix  = 16 // bytes of a ref in the key of the refs bucket
	initPrefix = 16 // bytes of the hash of an init_key
)

// A keyPackage is the row 0x20 or, once its device needs it no more, 0x50.
type keyPackage struct {
	number  uint64
	rec     delivery.KeyPackageRecord
	init    []byte    // hash of the init_key
	mail    mailKey   // of the Welcome that matched it; not for last resort
	payload bool      // the bytes are still kept
	closed  time.Time // when it became a tombstone
	due     time.Time // of its timer

	stored bool // a row exists, as was says
	was    delivery.KeyPackageState
	row    byte
}

// rowKind is where the row belongs.
func (k *keyPackage) rowKind() byte {
	if k.rec.State.Ended() && k.rec.Open == 0 {
		return rowTombstone
	}
	return rowKeyPackage
}

func (t *txn) keyPackage(d *device, number uint64) *keyPackage {
	for _, kind := range []byte{rowKeyPackage, rowTombstone} {
		if row := t.get(bucketDevices, d.key(kind, u64(number))); row != nil {
			return decodeKeyPackage(kind, number, row)
		}
	}
	return nil
}

func decodeKeyPackage(kind byte, number uint64, row []byte) *keyPackage {
	k := &keyPackage{number: number, stored: true, row: kind}
	d, r := decoder(row), &k.rec
	r.State = delivery.KeyPackageState(d.number())
	if r.State == 0 || r.State > delivery.Withdrawn {
		panic(errCorrupt)
	}
	d.flags(&r.LastResort, &r.Abandoned, &k.payload)
	r.Suite = mls.CipherSuite(d.number())
	r.Ref = mls.KeyPackageRef(d.string())
	r.Lifetime.NotBefore, r.Lifetime.NotAfter = d.number(), d.number()
	r.PublishedAt, r.ShelfUntil, r.MatchableUntil = d.time(), d.time(), d.time()
	r.ReservedBy, r.ReservedAt, r.HandedOutAt, r.EndedAt = d.string(), d.time(), d.time(), d.time()
	copy(r.Welcome[:], d.bytes())
	r.Open = int(d.number())
	k.init = cloneBytes(d.bytes())
	k.mail = mailKey{welcome: d.number(), index: uint32(d.number())}
	k.closed, k.due = d.time(), d.time()
	k.was = r.State
	return k
}

func (k *keyPackage) encode() []byte {
	r := &k.rec
	e := make(encoder, 0, 160)
	e.number(uint64(r.State))
	e.flags(r.LastResort, r.Abandoned, k.payload)
	e.number(uint64(r.Suite))
	e.string(string(r.Ref))
	e.number(r.Lifetime.NotBefore)
	e.number(r.Lifetime.NotAfter)
	for _, at := range []time.Time{r.PublishedAt, r.ShelfUntil, r.MatchableUntil} {
		e.time(at)
	}
	e.string(r.ReservedBy)
	for _, at := range []time.Time{r.ReservedAt, r.HandedOutAt, r.EndedAt} {
		e.time(at)
	}
	if r.Welcome == (delivery.WelcomeID{}) {
		e.bytes(nil)
	} else {
		e.bytes(r.Welcome[:])
	}
	e.number(uint64(r.Open))
	e.bytes(k.init)
	e.number(k.mail.welcome)
	e.number(uint64(k.mail.index))
	e.time(k.closed)
	e.time(k.due)
	return e
}

// save writes the row where it belongs and keeps the shelf, the counters and
// the timer in step with it.
func (t *txn) saveKeyPackage(d *device, k *keyPackage) {
	t.countKeyPackage(d, k)
	kind := k.rowKind()
	if kind == rowTombstone && k.closed.IsZero() {
		k.closed = t.now
	}
	if k.stored && k.row != kind {
		t.del(bucketDevices, d.key(k.row, u64(k.number)))
	}
	if due := k.nextDue(t.limits); !due.Equal(k.due) {
		k.due = due
		if !due.IsZero() {
			t.setTimer(timerKeyPackage, due, append(u64(d.number), u64(k.number)...))
		}
	}
	t.put(bucketDevices, d.key(kind, u64(k.number)), k.encode())
	k.stored, k.was, k.row = true, k.rec.State, kind
	t.change(d)
}

func (t *txn) countKeyPackage(d *device, k *keyPackage) {
	if k.stored {
		t.state.keyPackages[k.was]--
	}
	t.state.keyPackages[k.rec.State]++
	was, is := k.stored && k.was == delivery.Available, k.rec.State == delivery.Available
	if was == is {
		return
	}
	delta := 1
	if is {
		t.put(bucketDevices, d.shelfKey(k), nil)
	} else {
		delta = -1
		t.del(bucketDevices, d.shelfKey(k))
	}
	if k.rec.LastResort {
		return
	}
	d.available += delta
	if is {
		d.ages(k.rec.ShelfUntil)
	}
}

// nextDue is when the row has to be looked at again.
func (k *keyPackage) nextDue(l *delivery.Limits) time.Time {
	r := &k.rec
	switch {
	case r.State == delivery.Available:
		return r.ShelfUntil
	case r.State == delivery.Reserved && !r.Abandoned && r.ReservedAt.Add(l.ReservationOverdue).Before(r.MatchableUntil):
		return r.ReservedAt.Add(l.ReservationOverdue)
	case r.State == delivery.Reserved, r.State == delivery.Retired:
		return r.MatchableUntil
	case !r.State.Ended(), r.Open > 0:
		return time.Time{} // ends with its Welcome
	case k.payload:
		// A repeated reservation still answers with the bytes.
		return k.closed.Add(l.IdempotencyKept)
	}
	return r.ForgetAt(*l, k.closed)
}

func (d *device) shelfKey(k *keyPackage) []byte {
	lastResort := byte(0)
	if k.rec.LastResort {
		lastResort = 1
	}
	return append(append(d.shelfPrefix(k.rec.Suite), lastResort), u64(k.number)...)
}

// shelfPrefix is where the shelf of a suite begins; 0 is the whole shelf.
func (d *device) shelfPrefix(suite mls.CipherSuite) []byte {
	prefix := d.key(rowShelf)
	if suite != 0 {
		prefix = binary.BigEndian.AppendUint16(prefix, uint16(suite))
	}
	return prefix
}

// onShelf returns the device's available KeyPackages of a suite (0: of all), by
// suite, last resort last, oldest first, until yield returns false.
func (t *txn) onShelf(d *device, suite mls.CipherSuite) []*keyPackage {
	var found []*keyPackage
	for k := range t.scan(bucketDevices, d.shelfPrefix(suite), nil) {
		found = append(found, t.keyPackage(d, readU64(k[len(k)-8:])))
	}
	return found
}

// liveKeyPackages returns the rows 0x20 of the device, oldest first.
func (t *txn) liveKeyPackages(d *device) []*keyPackage {
	var live []*keyPackage
	for k, row := range t.scan(bucketDevices, d.key(rowKeyPackage), nil) {
		live = append(live, decodeKeyPackage(rowKeyPackage, readU64(k[9:]), row))
	}
	return live
}

func (d *device) initKey(hash []byte) []byte { return d.key(rowInitKey, hash) }

func initHash(initKey []byte) []byte {
	sum := sha256.Sum256(initKey)
	return sum[:initPrefix]
}

// addKeyPackage stores a new one.
func (t *txn) addKeyPackage(d *device, item delivery.NewKeyPackage) *keyPackage {
	k := &keyPackage{
		number: t.next(), rec: t.limits.NewKeyPackageRecord(item, t.now),
		init: initHash(item.InitKey), payload: true,
	}
	t.put(bucketKeyPackages, u64(k.number), item.Bytes)
	t.put(bucketRefs, []byte(item.Ref[:refPrefix]), append(u64(d.number), u64(k.number)...))
	t.put(bucketDevices, d.initKey(k.init), u64(k.number))
	t.saveKeyPackage(d, k)
	return k
}

// withdraw ends a KeyPackage at its owner's wish, and with it the Welcomes that
// wait for it. One that has ended, or is consumed, stays as it is.
func (t *txn) withdraw(d *device, k *keyPackage) { t.withdrawWith(d, k, t.mailsFor(d, k)) }

// withdrawWith is withdraw where the KeyPackage's open mails are known.
func (t *txn) withdrawWith(d *device, k *keyPackage, mails []*mail) {
	if k.rec.State == delivery.Consumed {
		return
	}
	changed := false
	for _, m := range mails {
		if s := m.rec.StateAt(t.sure); s == delivery.Held || s == delivery.Pending {
			m.rec.End(delivery.WelcomeWithdrawn, t.now)
			t.saveMail(d, m)
			t.settled(m)
			k.rec.Open--
			changed = true
		}
	}
	if !k.rec.StateAt(t.sure).Ended() {
		k.rec.End(delivery.Withdrawn, t.now)
		changed = true
	}
	if changed {
		t.saveKeyPackage(d, k)
	}
}

// listed is the KeyPackage as a reserver or lister gets it.
func (t *txn) listed(k *keyPackage) delivery.ListedKeyPackage {
	return delivery.ListedKeyPackage{
		Ref: k.rec.Ref, Suite: k.rec.Suite, LastResort: k.rec.LastResort, Lifetime: k.rec.Lifetime,
		ExpiresAt: k.rec.ExpiresAt(*t.limits),
		Bytes:     cloneBytes(t.get(bucketKeyPackages, u64(k.number))),
	}
}
