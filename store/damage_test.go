package store

import (
	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

// A harm is one thing that is wrong with a database.
type harm struct {
	name       string
	says       string // the finding
	repairable bool
	differs    bool // some answers are others after the repair
	do         func(t *Txn)
}

// rowsWhere returns the rows of a kind that are as said.
func (t *Txn) rowsWhere(b *Kind, prefix []byte, is func(k, v []byte) bool) (keys, rows [][]byte) {
	for k, v := range t.scan(b, prefix, nil) {
		if is == nil || is(k, v) {
			keys, rows = append(keys, cloneBytes(k)), append(rows, cloneBytes(v))
		}
	}
	if len(keys) == 0 {
		panic("there is no such row to damage")
	}
	return keys, rows
}

func (t *Txn) first(b *Kind, is func(k, v []byte) bool) (key, row []byte) {
	keys, rows := t.rowsWhere(b, nil, is)
	return keys[0], rows[0]
}

func ofKind(kinds ...byte) func(k, v []byte) bool {
	return func(k, _ []byte) bool {
		for _, kind := range kinds {
			if k[numberBytes] == kind {
				return true
			}
		}
		return false
	}
}

// someKeyPackage is the first in a state.
func (t *Txn) someKeyPackage(state delivery.KeyPackageState, lastResort bool) (*device, *keyPackage) {
	key, row := t.first(kindDevices, func(k, v []byte) bool {
		kind := k[numberBytes]
		if kind != rowKeyPackage && kind != rowTombstone && kind&^byte(lastShelf) != rowShelf {
			return false
		}
		r := decodeKeyPackage(kind, readNumber(k[numberBytes+1:]), v).rec
		return r.State == state && r.LastResort == lastResort
	})
	d := t.deviceByNumber(readNumber(key))
	return d, decodeKeyPackage(key[numberBytes], readNumber(key[numberBytes+1:]), row)
}

// someReserved is the first that is reserved, and makes its reservation one that finds
// it: those of old formats have none.
func (t *Txn) someReserved() (*device, *keyPackage) {
	d, k := t.someKeyPackage(delivery.Reserved, false)
	k.rec.Reservation = t.newReservation()
	t.saveKeyPackage(d, k)
	return d, k
}

// someRecipient is the first of a kind.
func (t *Txn) someRecipient(kind byte) (*device, *recipient) {
	key, row := t.first(kindDevices, ofKind(kind))
	return t.deviceByNumber(readNumber(key)), decodeRecipient(readRecipientKey(key[numberBytes+1:]), row)
}

func (t *Txn) putKeyPackage(d *device, k *keyPackage) {
	t.del(kindDevices, d.keyPackageRow(k.row, k.number))
	t.put(kindDevices, d.keyPackageRow(k.rowKind(), k.number), k.encode())
}

// someDevice is alice's phone, with everything.
func (t *Txn) someDevice() *device { return t.device(phone) }

func changeDevice(change func(d *device)) func(*Txn) {
	return func(t *Txn) { d := t.someDevice(); change(d); t.changed(d) }
}

func deleteFirst(b *Kind, is func(k, v []byte) bool) func(*Txn) {
	return func(t *Txn) { key, _ := t.first(b, is); t.del(b, key) }
}

func timerOf(kind byte) func(k, v []byte) bool {
	return func(k, _ []byte) bool { return k[0] == kind }
}

// part is a part of a Welcome that somebody may still claim.
func openPart(part byte) func(t *Txn) {
	return func(t *Txn) {
		_, m := t.someRecipient(rowPending)
		t.del(kindWelcomes, t.keys(kindWelcomes, partKey(m.welcome, part), 1)[0])
	}
}

// flipBit damages a part of a Welcome that somebody may still claim.
func flipBit(part byte) func(t *Txn) { return flip(part, -1) }

// flip damages the byte at a place, counted from the end if that is negative.
func flip(part byte, at int) func(t *Txn) {
	return func(t *Txn) {
		_, m := t.someRecipient(rowPending)
		key := t.keys(kindWelcomes, partKey(m.welcome, part), 1)[0]
		row := cloneBytes(t.get(kindWelcomes, key))
		row[(at+len(row))%len(row)] ^= 1
		t.put(kindWelcomes, key, row)
	}
}

func total(change func(c *Totals)) func(*Txn) {
	return func(t *Txn) { change(&t.counted) }
}

// saysOlder is the finding where rows have no checksums, as in formats before 5, of some of the harms.
var saysOlder = map[string]string{
	"a piece of a tree is gone":                   "the ratchet tree of Welcome",
	"a bit of a tree is flipped":                  "the ratchet tree of Welcome",
	"a bit of an encrypted_group_info is flipped": "the bytes of Welcome",
	"a bit of a secret is flipped":                "the bytes of Welcome",
}

// harms has every kind of finding at least once.
var harms = []harm{
	{"a name is gone", "is not found by its name", true, false, func(t *Txn) { t.del(kindNames, nameKey(phone)) }},
	{"a name is of no device", "has no device", true, false, func(t *Txn) {
		t.put(kindNames, nameKey(delivery.DeviceID{User: "zoe", Name: "phone"}), numberKey(900000))
	}},
	{"a name is another device's", "is not found by its name", true, false, func(t *Txn) {
		t.put(kindNames, nameKey(phone), t.get(kindNames, nameKey(delivery.DeviceID{User: "bob", Name: "phone"})))
	}},
	{"the feed lacks an event", "is not in the feed", true, false, deleteFirst(kindFeed, nil)},
	{"an event is gone", "which is not there", true, false, deleteFirst(kindEvents, nil)},
	{"an event cannot be read", "cannot be read", false, false, func(t *Txn) {
		key, _ := t.first(kindEvents, nil)
		t.put(kindEvents, key, []byte{99})
	}},
	{"a ref is gone", "is not found by its ref", true, false, deleteFirst(kindRefs, nil)},
	{"a ref is of nothing", "has no KeyPackage", true, false, func(t *Txn) {
		t.put(kindRefs, mlstest.Random(8), append(appendNumber(numberKey(t.someDevice().number), 900000), 2))
	}},
	{"a ref is another's", "is not found by its ref", true, false, func(t *Txn) {
		keys, rows := t.rowsWhere(kindRefs, nil, nil)
		t.put(kindRefs, keys[0], rows[1])
	}},
	{"an id is gone", "is not found by its id", true, false, deleteFirst(kindWelcomeIDs, nil)},
	{"an id is of nothing", "has no Welcome", true, false, func(t *Txn) { t.put(kindWelcomeIDs, mlstest.Random(16), numberKey(900000)) }},
	{"an owner does not have a token", "is not among its owner's", true, false, deleteFirst(kindOwners, nil)},
	{"an owner has a token that is gone", "is said to have token", true, false, func(t *Txn) {
		t.put(kindOwners, append(ownerKey(delivery.TokenOwner{User: "bob"}, true), "none"...), nil)
	}},
	{"a token has no timer", "has no timer", true, false, deleteFirst(kindTimers, timerOf(timerToken))},
	{"a reservation has no timer", "has no timer", true, false, func(t *Txn) {
		t.putReservation(idempotencyRecord(delivery.Unauthenticated(), delivery.ReserveRequest{IdempotencyKey: "x"}), t.now.Add(t.limits.IdempotencyKept), delivery.Reservation{})
		deleteTimersOf(timerIdempotency)(t)
	}},
	{"a device has no timer", "has no timer", true, false, deleteTimersOf(timerDevice)},
	{"tombstones have no timer", "has no timer", true, false, deleteTimersOf(timerTombstones)},
	{"an ended Welcome has no timer", "would never be forgotten", true, false, deleteTimersOf(timerForget)},
	{"a hold has no timer", "would never be overdue", true, true, func(t *Txn) {
		_, m := t.someRecipient(rowHeld)
		w := t.postedState(m.welcome)
		w.holdCounted = false
		t.saveWelcome(w)
		t.counted.holdsOver--
	}},
	{"a hint has no timer", "a hint about device alice/phone has no timer", true, false, func(t *Txn) {
		t.addHint(t.someDevice(), &channels[0], eventWelcome)
		deleteTimersOf(timerWebhook)(t)
	}},
	{"a hint is not counted", "hints for the webhook: 0 are counted, and there are 1", true, false, func(t *Txn) {
		t.addHint(t.someDevice(), &channels[0], eventWelcome)
		t.counted.hints[0]--
	}},
	{"a hint cannot be read", "a hint about device alice/phone cannot be read", true, false, func(t *Txn) {
		t.addHint(t.someDevice(), &channels[0], eventWelcome)
		t.put(kindDevices, hintKey(t.someDevice().number, &channels[0], eventWelcome), []byte{0})
	}},
	{"a hint is for nobody", "is for nothing that there is", true, false, func(t *Txn) {
		t.put(kindDevices, append(t.someDevice().key(rowHint), 9, 9), nil)
	}},
	{"a timer is for nothing", "is for nothing that there is", true, false, func(t *Txn) { t.put(kindTimers, []byte{99, 1, 2}, nil) }},
	{"a device counts wrongly what it has", "has other numbers of KeyPackages and Welcomes", true, false, changeDevice(func(d *device) { d.available += 3 })},
	{"a device counts wrongly what is not yet valid", "has other numbers of KeyPackages and Welcomes", true, false, changeDevice(func(d *device) { d.early++ })},
	{"a KeyPackage that is valid is not yet counted", "KeyPackages of suite", true, false, func(t *Txn) {
		d, k := t.someKeyPackage(delivery.Available, false)
		k.rec.Early = true
		t.putKeyPackage(d, k)
	}},
	{"a device counts its last resorts wrongly", "last resorts on its shelf, and says", true, false, changeDevice(func(d *device) { d.lastResorts++ })},
	{"a device counts wrongly what waits", "has other numbers of KeyPackages and Welcomes", true, false, changeDevice(func(d *device) { d.pending, d.waitingBytes = d.pending+1, 7 })},
	{"a device is looked at too late", "is looked at later", true, false, changeDevice(func(d *device) { d.live = alarm{due: d.live.set.AddDate(1, 0, 0)} })},
	{"a device is never looked at", "is looked at later", true, false, changeDevice(func(d *device) { d.live = alarm{} })},
	{"tombstones are never put away", "is never put away", true, false, changeDevice(func(d *device) { d.tombstones = alarm{} })},
	{"a shelf ages too late", "expects its first KeyPackage to age later", true, false, changeDevice(func(d *device) { d.shelfUntil = d.shelfUntil.AddDate(1, 0, 0) })},
	{"a removed device is counted", "is counted with those that have another stock", true, false, func(t *Txn) {
		d := t.lastOf(delivery.DeviceID{User: "dave", Name: "gone"})
		d.removed = false
		t.changed(d)
		t.flushDevice(d)
		key := d.key(rowDevice)
		row := cloneBytes(t.get(kindDevices, key))
		row[0] = 1 // removed
		t.put(kindDevices, key, row)
	}},
	{"KeyPackages are counted wrongly", "KeyPackages that are available", true, false, total(func(s *Totals) { s.keyPackages[delivery.Available]-- })},
	{"Welcomes are counted wrongly", "recipients of Welcomes that are pending", true, false, total(func(s *Totals) { s.welcomes[delivery.Pending]++ })},
	{"devices are counted wrongly", "devices that have few KeyPackages left", true, false, total(func(s *Totals) { s.stock[stockLow]++ })},
	{"devices with last resorts only are counted wrongly", "devices that publish last resorts only", true, false, total(func(s *Totals) { s.stock[stockLastResort]++ })},
	{"idle devices are counted wrongly", "devices that were not seen for long", true, false, total(func(s *Totals) { s.stock[stockIdle]-- })},
	{"shelves are counted wrongly", "KeyPackages of suite 2 on shelves (last resorts: false)", true, false, total(func(s *Totals) { s.shelves[4]++ })},
	{"overdue Welcomes are counted wrongly", "overdue Welcomes", true, false, total(func(s *Totals) { s.overdue += 5 })},
	{"overdue holds are counted wrongly", "overdue holds", true, false, total(func(s *Totals) { s.holdsOver-- })},
	{"a number would be given again", "the next one to be given is 8", true, false, func(t *Txn) { t.rows.(*memoryRows).memory.number = 7 }},
	{"a KeyPackage waits for more than there is", "waits for 0 Welcomes, and says 2", true, false, func(t *Txn) {
		d, k := t.someKeyPackage(delivery.Withdrawn, false)
		k.recipient, k.rec.Open = recipientKey{900000, 0}, 2
		t.putKeyPackage(d, k)
	}},
	{"a Welcome says that more of it is open", "recipients have not ended, and it says 9", true, false, func(t *Txn) {
		_, m := t.someRecipient(rowPending)
		w := t.postedState(m.welcome)
		w.open = 9
		t.saveWelcome(w)
	}},
	{"a Welcome that has ended is counted as held", "is counted as an overdue hold", true, false, func(t *Txn) {
		_, m := t.someRecipient(rowPending)
		w := t.postedState(m.welcome)
		w.holdCounted = true
		t.saveWelcome(w)
	}},
	{"a KeyPackage lies elsewhere", "lies where it is not looked for", true, false, func(t *Txn) {
		d, k := t.someKeyPackage(delivery.Available, false)
		t.del(kindDevices, d.keyPackageRow(k.row, k.number))
		t.put(kindDevices, d.keyPackageRow(rowTombstone, k.number), k.encode())
	}},
	{"a Welcome's state lies elsewhere", "lies where it is not looked for", true, false, func(t *Txn) {
		d, m := t.someRecipient(rowPending)
		t.del(kindDevices, d.recipientRow(rowPending, m.recipientKey))
		t.put(kindDevices, d.recipientRow(rowEnded, m.recipientKey), m.encode())
	}},
	{"an init_key is not remembered", "the init_keys that are remembered", true, false, func(t *Txn) {
		d, k := t.someKeyPackage(delivery.Available, false)
		t.forgetInitKeys(d, []uint64{k.number})
	}},
	{"an init_key is of nothing", "the init_keys that are remembered", true, false, func(t *Txn) {
		t.put(kindDevices, t.someDevice().initKeysRow(900000), append([]byte{0}, mlstest.Random(8)...))
	}},
	{"bytes of a KeyPackage have no state", "are there twice, or without a state", true, false, func(t *Txn) {
		t.put(kindKeyPackages, numberKey(900000), mlstest.NewSigner(1, "alice").KeyPackage())
	}},
	{"bytes of a KeyPackage are there although they are said to be gone", "and its row says that they are gone", true, true, func(t *Txn) {
		d, k := t.someKeyPackage(delivery.Available, false)
		k.rec.State, k.closed, k.payload = delivery.Withdrawn, t.now, false
		k.rec.EndedAt = t.now
		t.putKeyPackage(d, k)
	}},
	{"a KeyPackage on the shelf says that its bytes are gone", "and its row says that they are gone", true, false, func(t *Txn) {
		d, k := t.someKeyPackage(delivery.Available, false)
		k.payload = false
		t.putKeyPackage(d, k)
	}},
	{"what a reservation holds is not found", "is not found by its reservation", true, false, func(t *Txn) {
		_, k := t.someReserved()
		t.del(kindReservations, reservationKey(k.rec.Reservation, k.number))
	}},
	{"a reservation finds what is on another shelf", "is not found by its reservation", true, false, func(t *Txn) {
		d, k := t.someReserved()
		t.put(kindReservations, reservationKey(k.rec.Reservation, k.number), append(numberKey(d.number), byte(k.shelf)^2))
	}},
	{"a reservation finds what is another device's", "is not found by its reservation", true, false, func(t *Txn) {
		d, k := t.someReserved()
		t.put(kindReservations, reservationKey(k.rec.Reservation, k.number), append(numberKey(d.number+1), byte(k.shelf)))
	}},
	{"a reservation finds what it does not hold", "has no KeyPackage", true, false, func(t *Txn) {
		d, k := t.someReserved()
		t.put(kindReservations, reservationKey(k.rec.Reservation+1, k.number), append(numberKey(d.number), byte(k.shelf)))
	}},
	{"a reservation finds nothing", "has no KeyPackage", true, false, func(t *Txn) {
		t.put(kindReservations, reservationKey(t.newReservation(), 900000), append(numberKey(t.someDevice().number), 2))
	}},
	{"a reservation cannot be read", "has no KeyPackage", true, false, func(t *Txn) {
		t.put(kindReservations, []byte{1, 2}, []byte{3})
	}},
	{"parts of a Welcome are of nothing", "nothing says what it is", true, false, func(t *Txn) {
		t.put(kindWelcomes, append(partKey(900000, partTree), 0, 0, 0), []byte("tree"))
	}},

	{"a device is gone", "is missing, and its KeyPackages and Welcomes are there", false, false, func(t *Txn) { t.del(kindDevices, t.someDevice().key(rowDevice)) }},
	{"a KeyPackage that a Welcome waits for is gone", "waits for KeyPackage number", false, false, func(t *Txn) {
		d, k := t.someKeyPackage(delivery.Matched, false)
		t.del(kindDevices, d.keyPackageRow(k.row, k.number))
	}},
	{"the bytes of a KeyPackage are gone", "are missing", true, true, func(t *Txn) {
		_, k := t.someKeyPackage(delivery.Available, false)
		t.del(kindKeyPackages, numberKey(k.number))
	}},
	{"the bytes of a KeyPackage are others", "are others", true, true, func(t *Txn) {
		_, k := t.someKeyPackage(delivery.Available, false)
		t.put(kindKeyPackages, numberKey(k.number), mlstest.NewSigner(1, "alice").KeyPackage())
	}},
	{"a KeyPackage on the shelf says that it has no bytes", "and has no bytes", true, true, func(t *Txn) {
		d, k := t.someKeyPackage(delivery.Available, false)
		k.payload = false
		t.putKeyPackage(d, k)
		t.del(kindKeyPackages, numberKey(k.number))
	}},
	{"a KeyPackage is matched without a Welcome", "is matched, and 0 Welcomes wait for it", false, false, func(t *Txn) {
		d, k := t.someKeyPackage(delivery.Available, false)
		k.rec.State = delivery.Matched
		t.putKeyPackage(d, k)
	}},
	{"a KeyPackage is on the shelf although a Welcome waits for it", "which is available", false, false, func(t *Txn) {
		d, k := t.someKeyPackage(delivery.Matched, false)
		k.rec.State = delivery.Available
		t.putKeyPackage(d, k)
	}},
	{"a last resort is consumed", "is a last resort and consumed", false, false, func(t *Txn) {
		d, k := t.someKeyPackage(delivery.Available, true)
		k.rec.State = delivery.Consumed
		t.putKeyPackage(d, k)
	}},
	{"a removed device has a shelf", "was removed", false, false, changeDevice(func(d *device) { d.removed = true })},
	{"a Welcome is gone", "is missing or cannot be read", true, true, openPart(partHeader)},
	{"what has become of a Welcome is gone", "what has become of Welcome", false, false, func(t *Txn) {
		_, m := t.someRecipient(rowPending)
		t.del(kindPosted, numberKey(m.welcome))
	}},
	{"a recipient is gone", "is missing or cannot be read, and device", true, true, openPart(partRecipient)},
	{"the state of a recipient is gone", "the state of 1 recipients", false, false, func(t *Txn) {
		d, m := t.someRecipient(rowPending)
		t.del(kindDevices, d.recipientRow(rowPending, m.recipientKey))
	}},
	{"a piece of a tree is gone", "the ratchet tree of Welcome", true, true, openPart(partTree)},
	{"a Welcome has no encrypted_group_info", "the encrypted_group_info of Welcome", true, true, func(t *Txn) {
		_, m := t.someRecipient(rowPending)
		w := t.header(m.welcome)
		w.groupInfo = nil
		t.putHeader(w)
	}},
	{"a bit of a tree is flipped", "the ratchet tree of Welcome", true, true, flipBit(partTree)},
	{"a bit of an encrypted_group_info is flipped", "the encrypted_group_info of Welcome", true, true, flipBit(partHeader)},
	{"the first bit of a Welcome is flipped", "cannot be read, and what has become of it", true, true, flip(partHeader, 5)},
	{"a bit of a secret is flipped", "the secret of recipient", true, true, flipBit(partRecipient)},
	{"the first bit of a recipient is flipped", "is missing or cannot be read", true, true, flip(partRecipient, 3)},
	{"the state of a Welcome cannot be read", "cannot be read, with what device", true, true, func(t *Txn) {
		d, m := t.someRecipient(rowPending)
		t.put(kindDevices, d.recipientRow(rowPending, m.recipientKey), []byte{0xff})
	}},
	{"a Welcome is held that was released", "is held for device", false, false, func(t *Txn) {
		d, m := t.someRecipient(rowPending)
		t.del(kindDevices, d.recipientRow(rowPending, m.recipientKey))
		m.rec.State = delivery.Held
		t.put(kindDevices, d.recipientRow(rowHeld, m.recipientKey), m.encode())
	}},
	{"a Welcome is pending that is held", "is pending for device", false, false, func(t *Txn) {
		d, m := t.someRecipient(rowHeld)
		t.del(kindDevices, d.recipientRow(rowHeld, m.recipientKey))
		m.rec.State = delivery.Pending
		t.put(kindDevices, d.recipientRow(rowPending, m.recipientKey), m.encode())
	}},
	{"a row cannot be read", "cannot be read", false, false, func(t *Txn) {
		d, k := t.someKeyPackage(delivery.Available, false)
		t.put(kindDevices, d.keyPackageRow(k.row, k.number), []byte{0xff})
	}},
	{"a row of a device is of no kind", "which there is not", false, false, func(t *Txn) { t.put(kindDevices, append(t.someDevice().key(0x7e), 1), nil) }},
}

func deleteTimersOf(kind byte) func(*Txn) {
	return func(t *Txn) {
		for _, key := range t.keys(kindTimers, []byte{kind}, 0) {
			t.del(kindTimers, key)
		}
	}
}
