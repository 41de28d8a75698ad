package store

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// A deviceCheck gathers what is found of one device while its rows are read.
type deviceCheck struct {
	d         *device // nil before the first, and where its row is missing
	own       device  // its counters and alarms, as counted
	open      map[uint64]int
	live      map[uint64]*keyPackage // those that Welcomes may wait for
	numbers   []uint64               // of all KeyPackages
	initKeys  []initKey
	tombs     bool
	others    map[uint64]bool // KeyPackages whose bytes are others, of all devices
	shelfEnds time.Time       // of the first on the shelf, last resorts left out
}

// deviceRow checks one row of a device. The first row of each device is the one of kind 0x00.
func (c *checker) deviceRow(key, v []byte) {
	if len(key) <= numberBytes {
		panic(ErrCorrupt)
	}
	number, kind, rest := readNumber(key), key[numberBytes], key[numberBytes+1:]
	if kind == rowDevice {
		c.endDevice()
		c.deviceCheck = deviceCheck{open: map[uint64]int{}, live: map[uint64]*keyPackage{}, others: c.others}
		c.orphans = number // if it cannot be read
		c.d, c.orphans = c.deviceByNumber(number), 0
		c.devicesN++
		c.numbered(number)
		c.numbered(max(c.d.claimed, c.d.removedNo))
		return
	}
	if c.d == nil || c.d.number != number {
		c.endDevice()
		c.d = nil
		if c.orphans != number {
			c.orphans = number
			c.wrong("device number %d is missing, and its KeyPackages and Welcomes are there", number)
		}
		return
	}
	switch {
	case kind == rowPending, kind == rowDelivered, kind == rowHeld, kind == rowEnded:
		place := recipientPlace{number, readRecipientKey(rest)}
		m := readRecipient(place.key, v)
		if m == nil {
			c.unreadable++
			c.damaged(endRecipient(place), "row %x cannot be read, with what device %s got in Welcome number %d", key, c.d.id, place.key.welcome)
			return
		}
		c.recipientRow(kind, m)
	case kind == rowInitKeys:
		c.initKeys = append(c.initKeys, decodeInitKeys(key, v)...)
	case kind == rowHint:
		c.hintRow(key)
	case kind == rowDoubts && c.store.meta.Format < FormatVersion:
	case kind == rowKeyPackage, kind == rowTombstone, kind&^byte(lastShelf) == rowShelf:
		c.keyPackageRow(kind, keyPackageAt(key, v))
	default:
		c.wrong("a row of device %s is of kind %#x, which there is not", c.d.id, kind)
	}
}

// hintRow checks a hint. What is lost with one that cannot be read is a hint.
func (c *checker) hintRow(key []byte) {
	var of *hintChannel
	if i := int(key[min(numberBytes+1, len(key)-1)]) - 1; len(key) == numberBytes+3 && i >= 0 && i < len(channels) {
		of = &channels[i]
	}
	if of == nil {
		c.damaged(delRow(kindDevices, key), "a hint about device %s is for nothing that there is", c.d.id)
		return
	}
	kind := key[numberBytes+2]
	c.counted.hints[of.index()]++
	if h := c.hintAt(c.d.number, of, kind); h != nil {
		c.hasTimer(of.timer, h.due, hintTimer(c.d.number, kind), "a hint about device %s", c.d.id)
		return
	}
	device := c.d.number
	c.damaged(func(t *Txn) { t.dropHint(device, of, kind) }, "a hint about device %s cannot be read", c.d.id)
}

// misplaced moves a row to the key that its state asks for.
func misplaced(from, to, row []byte) func(*Txn) {
	row = slices.Clone(row)
	return func(t *Txn) {
		if t.get(kindDevices, to) == nil {
			t.del(kindDevices, from)
			t.put(kindDevices, to, row)
		}
	}
}

func (c *checker) recipientRow(kind byte, m *recipient) {
	d, s := c.d, m.rec.State
	c.countIn(&c.own, s, m.size, 1)
	c.numbered(m.order)
	if s == delivery.Pending && m.order <= d.claimed {
		c.own.overdue++
	}
	if is := recipientKind(s); is != kind {
		c.placed(d.recipientRow(kind, m.recipientKey), d.recipientRow(is, m.recipientKey), m.encode(), "what device %s got in Welcome number %d lies where it is not looked for", d.id, m.welcome)
	}
	place := recipientPlace{d.number, m.recipientKey}
	w := c.header(m.welcome)
	if w == nil {
		c.countOpen(m)
		c.damaged(func(t *Txn) { t.dropRecipient(place) }, "device %s has a state of Welcome number %d, which is missing or cannot be read", d.id, m.welcome)
		return
	}
	r := c.postedRecipient(m.recipientKey)
	if r.lost {
		c.countOpen(m)
		c.damaged(endRecipient(place), "recipient %d of Welcome %s is missing or cannot be read, and device %s has its state", m.index, w.id, d.id)
		return
	}
	if r.verdict != "" || r.device != d.number {
		c.wrong("device %s has the state of recipient %d of Welcome %s, who is another", d.id, m.index, w.id)
		return
	}
	if !s.Ended() {
		c.own.live.at(m.rec.Until)
		c.openRecipient(w, r, m)
	}
}

// endRecipient ends a damaged Welcome for one recipient.
func endRecipient(p recipientPlace) func(*Txn) {
	return func(t *Txn) { t.repairRecipient(p) }
}

// repairRecipient ends a damaged Welcome for one recipient, or writes that it has ended with
// its device. It makes the recipient's row readable again.
func (t *Txn) repairRecipient(p recipientPlace) {
	if d := t.readDevice(p.device); d != nil && !d.endedAt.IsZero() {
		t.raw = true
		m := t.recipient(d, p.key)
		t.raw = false
		if m != nil && !m.rec.State.Ended() && t.written(d, m.kp) != nil {
			t.sweepRecipient(d, m, new(delivery.SweepResult))
		}
	}
	t.endDamagedRecipient(p)
	if d, m := t.recipientAt(p); m != nil {
		t.mendPostedRecipient(d, p.key, t.keyPackage(d, m.kp))
	}
}

// dropRecipient ends and removes a recipient whose Welcome is not there.
func (t *Txn) dropRecipient(p recipientPlace) {
	t.repairRecipient(p)
	if d, m := t.recipientAt(p); m != nil {
		t.del(kindDevices, d.recipientRow(recipientKind(m.was), p.key))
		t.counted.welcomes[m.was]--
		t.changed(d)
	}
}

// placed notes a row that lies under another key than its state asks for.
func (c *checker) placed(from, to, row []byte, format string, args ...any) {
	if c.get(kindDevices, to) != nil {
		c.wrong("%s, and there twice with different states", fmt.Sprintf(format, args...))
		return
	}
	c.repairable(misplaced(from, to, row), format, args...)
}

// countOpen counts the Welcomes that a KeyPackage waits for.
func (c *checker) countOpen(m *recipient) {
	if !m.rec.State.Ended() {
		c.open[m.kp.number]++
	}
}

// openRecipient checks a recipient that has not ended against its KeyPackage and against the
// state of its Welcome.
func (c *checker) openRecipient(w *welcome, r *postedRecipient, m *recipient) {
	d, s := c.d, m.rec.State
	c.countOpen(m)
	if len(r.secret) == 0 && !r.damaged {
		c.damaged(endRecipient(recipientPlace{d.number, m.recipientKey}), "the secret of recipient %s of Welcome %s is missing, which device %s may claim", r.ref, w.id, d.id)
	}
	k := c.keyPackage(d, m.kp)
	if k == nil {
		c.wrong("Welcome %s waits for KeyPackage number %d of device %s, which is missing", w.id, m.kp.number, d.id)
		return
	}
	if k.rec.Ref != r.ref {
		c.wrong("Welcome %s is for KeyPackage %s, and its state says %s", w.id, r.ref, k.rec.Ref)
	}
	want := delivery.Matched
	if s == delivery.Delivered {
		want = delivery.Consumed
	}
	ended := !d.endedAt.IsZero() // with its device
	if !k.rec.LastResort && k.rec.State != want && !ended {
		c.wrong("Welcome %s is %s for KeyPackage %s, which is %s", w.id, s, r.ref, k.rec.State)
	}
	if c.get(kindPosted, numberKey(w.number)) == nil {
		return // that is said of the Welcome
	}
	w = c.welcome(w.number)
	if s == delivery.Held && !w.held() && !ended {
		c.wrong("Welcome %s is held for device %s, and was released or cancelled", w.id, d.id)
	}
	if s == delivery.Pending && (w.held() || !w.cancelledAt.IsZero()) && !ended {
		c.wrong("Welcome %s is pending for device %s, and is held or was cancelled", w.id, d.id)
	}
}

func (c *checker) keyPackageRow(kind byte, k *keyPackage) {
	d, r := c.d, &k.rec
	c.numbered(k.number)
	c.numbers = append(c.numbers, k.number)
	c.counted.keyPackages[r.State]++
	if r.State == delivery.Available {
		if r.InStock() {
			c.counted.shelves[k.shelf]++
		}
		switch {
		case r.LastResort && r.InStock():
			c.own.lastResorts++
		case !r.LastResort:
			c.own.available++
			if r.Early {
				c.own.early++
			}
			if c.shelfEnds.IsZero() || r.ShelfUntil.Before(c.shelfEnds) {
				c.shelfEnds = r.ShelfUntil
			}
		}
	}
	if r.CountsAsRetired() {
		c.own.retired++
	}
	if !bytes.Equal(d.rowOf(k), d.rowFor(k)) {
		c.placed(d.rowOf(k), d.rowFor(k), k.encode(), "KeyPackage %s of device %s lies where it is not looked for", r.Ref, d.id)
	}
	for _, id := range k.found {
		if id == 0 {
			continue
		}
		key, want := reservationKey(id, k.number), append(numberKey(d.number), byte(k.shelf))
		if !bytes.Equal(c.get(kindReservations, key), want) {
			c.refound[string(key)] = true
			c.repairable(putRow(kindReservations, key, want), "KeyPackage %s of device %s is not found by its reservation", r.Ref, d.id)
		}
	}
	switch {
	case r.State == delivery.Available:
		c.own.live.at(r.ShelfDue())
	case r.State == delivery.Reserved, r.State == delivery.Retired:
		c.own.live.at(r.MatchableUntil)
	case kind == rowTombstone:
		c.tombs = true
	}
	if r.Open > 0 || !r.State.Ended() {
		c.live[k.number] = k
	}
	c.ownRef(k)
	c.possible(k)
	c.payload(k)
}

// ownRef checks that the KeyPackage is found by its ref.
func (c *checker) ownRef(k *keyPackage) {
	ref := k.rec.Ref
	if len(ref) < refPrefix {
		panic(ErrCorrupt)
	}
	index := append(appendNumber(numberKey(c.d.number), k.number), byte(k.shelf))
	v := c.get(kindRefs, []byte(ref[:refPrefix]))
	if string(v) == string(index) {
		return
	}
	if owner, other := c.refAt(ref, v); other != nil {
		c.wrong("KeyPackage %s of device %s has the place of its ref taken by %s of device %s", ref, c.d.id, other.rec.Ref, owner.id)
		return
	}
	c.repairable(putRow(kindRefs, []byte(ref[:refPrefix]), index), "KeyPackage %s of device %s is not found by its ref", ref, c.d.id)
}

// refAt returns the KeyPackage that a row of refs names, if its ref begins as that row says.
func (c *checker) refAt(ref mls.KeyPackageRef, v []byte) (*device, *keyPackage) {
	if len(v) != 2*numberBytes+1 {
		return nil, nil
	}
	d := c.deviceByNumber(readNumber(v))
	if d == nil {
		return nil, nil
	}
	k := c.keyPackage(d, keyPackageKey{readNumber(v[numberBytes:]), shelf(v[2*numberBytes])})
	if k == nil || len(k.rec.Ref) < refPrefix || k.rec.Ref[:refPrefix] != ref[:refPrefix] {
		return nil, nil
	}
	return d, k
}

// possible checks that a KeyPackage's state does not contradict itself.
func (c *checker) possible(k *keyPackage) {
	r, last := &k.rec, k.rec.LastResort
	used := r.State == delivery.Reserved || r.State == delivery.Matched || r.State == delivery.Consumed
	if last && used {
		c.wrong("KeyPackage %s of device %s is a last resort and %s", r.Ref, c.d.id, r.State)
	}
	if c.d.removed && c.d.endedAt.IsZero() && !r.State.Ended() {
		c.wrong("KeyPackage %s is %s, and its device %s was removed", r.Ref, r.State, c.d.id)
	}
}

// payload checks the bytes of a KeyPackage. A KeyPackage that is off the shelf may have no
// bytes, because they were damaged and dropped.
func (c *checker) payload(k *keyPackage) {
	of := damagedKeyPackage{c.d.number, k.keyPackageKey, k.rec.Ref}
	retire := func(t *Txn) { t.dropDamaged(of) }
	if !k.payload {
		if k.rec.State == delivery.Available && c.get(kindKeyPackages, numberKey(k.number)) == nil {
			c.damaged(retire, "KeyPackage %s of device %s is %s and has no bytes", k.rec.Ref, c.d.id, k.rec.State)
		}
		return
	}
	if c.get(kindKeyPackages, numberKey(k.number)) == nil {
		c.damaged(retire, "the bytes of KeyPackage %s of device %s are missing", k.rec.Ref, c.d.id)
		return
	}
	c.payloads++
	if c.opts.Copied || c.intact(k) {
		return
	}
	if c.others == nil {
		c.others = map[uint64]bool{}
	}
	c.others[k.number] = true
	c.damaged(retire, "the bytes of KeyPackage %s of device %s are others", k.rec.Ref, c.d.id)
}

// endDevice compares the counters of the device's row with what was found in its other rows.
func (c *checker) endDevice() {
	d, own := c.d, &c.own
	if d == nil {
		return
	}
	c.d = nil
	c.devices = nil
	c.counted.overdue += int64(d.late())
	if d.level >= stockOK && d.level <= stockIdle {
		c.counted.stock[d.level]++
	}
	names, name := kindNames, nameKey(d.id)
	if c.isGone(d) {
		names, name = kindGone, goneKey(d.id, d.life)
	}
	if v := c.get(names, name); v == nil || readNumber(v) != d.number {
		c.unnamed(d, names, name, v)
	}
	c.counters(d)
	c.waitedFor(d)
	c.alarms(d, own)
	c.usedInitKeys(d)
}

func (c *checker) unnamed(d *device, names *Kind, name, v []byte) {
	if v != nil {
		if other := c.deviceByNumber(readNumber(v)); other != nil && other.id == d.id && other.life == d.life {
			c.wrong("there are two devices %s, with the numbers %d and %d", d.id, d.number, other.number)
			return
		}
	}
	c.repairable(putRow(names, name, numberKey(d.number)), "device %s is not found by its name", d.id)
}

// counters checks the counters of a device, and that the totals count it in the right place.
func (c *checker) counters(d *device) {
	own, n := c.own, d.number
	same := d.available == own.available && d.early == own.early && d.retired == own.retired && d.waiting == own.waiting && d.waitingBytes == own.waitingBytes &&
		d.pending == own.pending && d.delivered == own.delivered && d.overdue == own.overdue
	if !same {
		c.repairable(func(t *Txn) {
			d := t.deviceByNumber(n)
			d.early = own.early
			d.available, d.retired, d.waiting, d.waitingBytes = own.available, own.retired, own.waiting, own.waitingBytes
			d.pending, d.delivered, d.overdue = own.pending, own.delivered, own.overdue
			t.changed(d)
		}, "device %s has other numbers of KeyPackages and Welcomes than it says: %d available (%d of them early), %d retired, %d waiting, %d pending, %d delivered, %d overdue, and not %d (%d), %d, %d, %d, %d, %d",
			d.id, own.available, own.early, own.retired, own.waiting, own.pending, own.delivered, own.overdue, d.available, d.early, d.retired, d.waiting, d.pending, d.delivered, d.overdue)
	}
	if c.store.meta.Format == FormatVersion && d.lastResorts != own.lastResorts {
		c.repairable(func(t *Txn) { d := t.deviceByNumber(n); d.lastResorts = own.lastResorts; t.changed(d) },
			"device %s has %d last resorts on its shelf, and says %d", d.id, own.lastResorts, d.lastResorts)
	}
	// What few are, the server knows.
	is, some := d.stockLevel(&c.limits), func(l stockLevel) bool { return l == stockOK || l == stockLow }
	if d.level != is && !(some(d.level) && some(is)) {
		c.repairable(func(t *Txn) { t.changed(t.deviceByNumber(n)) }, "device %s is counted with those that have another stock", d.id)
	}
	if ends := c.shelfEnds; !d.removed && !ends.IsZero() && (d.shelfUntil.IsZero() || d.shelfUntil.After(ends)) {
		c.repairable(func(t *Txn) { d := t.deviceByNumber(n); d.shelfUntil = ends; t.changed(d) }, "device %s expects its first KeyPackage to age later than it does", d.id)
	}
}

// waitedFor checks for how many Welcomes each KeyPackage waits.
func (c *checker) waitedFor(d *device) {
	for number, k := range c.live {
		r, n := &k.rec, c.open[number]
		switch {
		case !r.LastResort && r.State == delivery.Matched && n != 1:
			c.wrong("KeyPackage %s of device %s is matched, and %d Welcomes wait for it", r.Ref, d.id, n)
		case !r.LastResort && n > 1:
			c.wrong("%d Welcomes wait for KeyPackage %s of device %s", n, r.Ref, d.id)
		case n != r.Open && n > 0 && k.recipient == recipientKey{}:
			c.wrong("KeyPackage %s of device %s was matched by nothing, and a Welcome waits for it", r.Ref, d.id)
		case n != r.Open:
			of, key := d.number, k.keyPackageKey
			c.repairable(func(t *Txn) { t.setOpen(of, key, n) }, "KeyPackage %s of device %s waits for %d Welcomes, and says %d", r.Ref, d.id, n, r.Open)
		}
	}
	for number, n := range c.open {
		if k := c.live[number]; k == nil && n > 0 && slices.Contains(c.numbers, number) {
			c.wrong("KeyPackage number %d of device %s has ended, and %d Welcomes wait for it", number, d.id, n)
		}
	}
}

// alarms checks that the device's timers are due early enough.
func (c *checker) alarms(d *device, own *device) {
	n := d.number
	if d.removed && !d.endedAt.IsZero() {
		own.live = alarm{}
		if len(c.live) > 0 && d.live.set.IsZero() { // what has ended with it is still to be written
			own.live.due = d.endedAt
		}
	}
	if due := own.live.due; !due.IsZero() && (d.live.set.IsZero() || d.live.set.After(due)) {
		c.repairable(func(t *Txn) { d := t.deviceByNumber(n); d.live.at(due); t.changed(d) }, "device %s is looked at later than something of it ends", d.id)
	}
	if !d.live.set.IsZero() {
		c.hasTimer(timerDevice, d.live.set, numberKey(n), "device %s", d.id)
	}
	if c.tombs && d.tombstones.set.IsZero() {
		seen := c.seen
		c.repairable(func(t *Txn) { d := t.deviceByNumber(n); d.tombstones.at(seen); t.changed(d) }, "what is over of device %s is never put away", d.id)
	}
	if !d.tombstones.set.IsZero() {
		c.hasTimer(timerTombstones, d.tombstones.set, numberKey(n), "what is over of device %s", d.id)
	}
}

// usedInitKeys checks that the init_key of each KeyPackage is remembered, and no other one.
func (c *checker) usedInitKeys(d *device) {
	had := make([]uint64, 0, len(c.initKeys))
	for _, e := range c.initKeys {
		had = append(had, e.kp)
	}
	slices.Sort(c.numbers)
	slices.Sort(had)
	if slices.Equal(had, c.numbers) {
		return
	}
	kept := slices.DeleteFunc(c.initKeys, func(e initKey) bool { _, ok := slices.BinarySearch(c.numbers, e.kp); return !ok })
	for _, number := range c.numbers {
		if _, ok := slices.BinarySearch(had, number); ok {
			continue
		}
		kp, err := mls.ParseKeyPackage(c.get(kindKeyPackages, numberKey(number)))
		if err != nil {
			c.wrong("the init_key of KeyPackage number %d of device %s is not remembered, and its bytes are gone", number, d.id)
			return
		}
		kept = append(kept, initKey{number, hashInitKey(kp.InitKey)})
	}
	slices.SortFunc(kept, func(a, b initKey) int { return int(int64(a.kp) - int64(b.kp)) })
	kept = slices.CompactFunc(kept, func(a, b initKey) bool { return a.kp == b.kp })
	of := d.number
	c.repairable(func(t *Txn) { t.setInitKeys(of, kept) }, "the init_keys that are remembered of device %s are not those of its KeyPackages", d.id)
}
