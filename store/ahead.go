package store

import (
	"slices"

	"welcomed/delivery"
	"welcomed/mls"
)

// AskedRows are those of an engine that asks another machine for rows. Each question costs
// a round trip, so that it wants to hear of many rows at once.
type AskedRows interface {
	Rows
	// Ahead says what is about to be read. It changes no answer: what was not said is
	// asked for when it is read, and what was said need not be read.
	//
	// What a transaction has written is known to it. So are the rows of a device, a
	// Welcome or a KeyPackage that got its number from it: there are no others than it has
	// written. Rows of KindMeta are few, and are never said.
	Ahead(*Wanted)
}

// Wanted is what is about to be read.
type Wanted struct {
	Places []Place
	Ranges []Range
}

// A Range is rows whose keys follow each other: from From on, up to and without To, at
// most Most of them if that is not 0. An empty To is the end of the kind.
type Range struct {
	Kind     *Kind
	From, To string
	Most     int
}

// ahead says what is about to be read, if the engine asks for that. want may read what
// was said before. If it meets a row that cannot be read, it says no more.
func (t *Txn) ahead(want func(*Wanted)) {
	if t.asked == nil {
		return
	}
	w := &Wanted{}
	readable(func() { want(w) })
	t.asked.Ahead(w)
}

func (w *Wanted) row(k *Kind, key []byte) { w.Places = append(w.Places, Place{k, string(key)}) }

// begins wants the rows whose keys begin with prefix.
func (w *Wanted) begins(k *Kind, prefix []byte, most int) {
	w.Ranges = append(w.Ranges, Range{k, string(prefix), keyBehind(prefix), most})
}

// keyBehind is the first key behind all that begin with prefix; empty if there is none.
func keyBehind(prefix []byte) string {
	end := slices.Clone(prefix)
	for len(end) > 0 && end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	if len(end) > 0 {
		end[len(end)-1]++
	}
	return string(end)
}

// device wants the first row of a device.
func (w *Wanted) device(number uint64) { w.row(kindDevices, devicePart(number, rowDevice)) }

// devicePart is where the rows of a kind begin of the device with that number.
func devicePart(number uint64, kind byte) []byte { return (&device{number: number}).key(kind) }

// between wants the rows of a device from those of a kind on, up to those of another.
func (w *Wanted) between(number uint64, from, to byte, most int) {
	w.Ranges = append(w.Ranges, Range{kindDevices, string(devicePart(number, from)), string(devicePart(number, to)), most})
}

// mailbox wants what waits for a device and what it was given, and its first row, which
// lies beside them.
func (w *Wanted) mailbox(number uint64, most int) {
	w.between(number, rowDevice, rowKeyPackage, most)
}

// open wants all Welcomes of a device that have not ended.
func (w *Wanted) open(number uint64) {
	w.mailbox(number, 0)
	w.begins(kindDevices, devicePart(number, rowHeld), 0)
}

// live wants a device and its KeyPackages that have not ended.
func (w *Wanted) live(number uint64) {
	w.device(number)
	w.begins(kindDevices, devicePart(number, rowKeyPackage), 0)
	w.shelves(number)
}

// shelves wants all shelves of a device.
func (w *Wanted) shelves(number uint64) { w.shelf(number, 0, 0) }

// keyPackage wants the places where the row of a KeyPackage may be.
func (w *Wanted) keyPackage(number uint64, key keyPackageKey) {
	d := &device{number: number}
	for _, kind := range [...]byte{rowKeyPackage, rowShelf | byte(key.shelf), rowTombstone} {
		w.row(kindDevices, d.keyPackageRow(kind, key.number))
	}
	if !key.shelf.lastResort() {
		w.row(kindDevices, d.placeOf(rowShelf|byte(key.shelf), key.number, true))
	}
}

// bytes wants those of a KeyPackage.
func (w *Wanted) bytes(k *keyPackage) { w.row(kindKeyPackages, numberKey(k.number)) }

// recipient wants the places where the row of a recipient may be.
func (w *Wanted) recipient(number uint64, key recipientKey) {
	d := &device{number: number}
	for _, kind := range recipientKinds {
		w.row(kindDevices, d.recipientRow(kind, key))
	}
}

// welcome wants a Welcome and what has become of it.
func (w *Wanted) welcome(number uint64) {
	w.row(kindWelcomes, partKey(number, partHeader))
	w.row(kindPosted, numberKey(number))
}

// recipients wants those of a Welcome.
func (w *Wanted) posted(number uint64) {
	w.begins(kindWelcomes, partKey(number, partRecipient), 0)
}

// source wants what (*Txn).known reads.
func (w *Wanted) source(m *recipient) {
	w.row(kindWelcomes, partKey(m.welcome, partHeader))
	w.row(kindWelcomes, postedRecipientKey(m.recipientKey))
}

// delivery wants what (*Txn).delivery reads. A ratchet tree is given that is small.
func (w *Wanted) delivery(m *recipient) {
	w.row(kindWelcomes, partKey(m.welcome, partHeader))
	w.row(kindWelcomes, postedRecipientKey(m.recipientKey))
	w.begins(kindWelcomes, partKey(m.welcome, partGroupInfo), 0)
	if m.size <= 2*delivery.TreeInline {
		w.begins(kindWelcomes, partKey(m.welcome, partTree), 0)
	}
}

// numbersIn yields the numbers that begin the values of rows whose keys begin with prefix.
func (t *Txn) numbersIn(k *Kind, prefix []byte, yield func(number uint64)) {
	c := t.rows.Scan(k, prefix, prefix)
	defer c.Close()
	for key, value := c.Next(); key != nil; key, value = c.Next() {
		if len(value) >= numberBytes && len(key) > len(prefix) {
			yield(readNumber(value))
		}
	}
}

// aheadOfDevice says that a device is about to be read, with beside what its name is read,
// and then what of it.
func (t *Txn) aheadOfDevice(id delivery.DeviceID, beside func(*Wanted), of func(w *Wanted, number uint64)) {
	if t.asked == nil {
		return
	}
	name := nameKey(id)
	t.ahead(func(w *Wanted) {
		w.row(kindNames, name)
		if beside != nil {
			beside(w)
		}
	})
	t.ahead(func(w *Wanted) {
		if number := t.rows.Get(kindNames, name); number != nil {
			of(w, readNumber(number))
		}
	})
}

// aheadOfUsers does so for all devices of users.
func (t *Txn) aheadOfUsers(users []delivery.UserID, beside func(*Wanted), of func(w *Wanted, number uint64)) {
	if t.asked == nil {
		return
	}
	t.ahead(func(w *Wanted) {
		for _, user := range users {
			w.begins(kindNames, userPrefix(user), 0)
		}
		if beside != nil {
			beside(w)
		}
	})
	t.ahead(func(w *Wanted) {
		for _, user := range users {
			t.numbersIn(kindNames, userPrefix(user), func(number uint64) { of(w, number) })
		}
	})
}

// refs wants the rows that say whose KeyPackages are.
func (w *Wanted) refs(refs []mls.KeyPackageRef) {
	for _, ref := range refs {
		if len(ref) >= refPrefix {
			w.row(kindRefs, []byte(ref[:refPrefix]))
		}
	}
}

// eachOwner yields whose KeyPackages are, of those that are known.
func (t *Txn) eachOwner(refs []mls.KeyPackageRef, yield func(number uint64, key keyPackageKey)) {
	for _, ref := range refs {
		if len(ref) < refPrefix {
			continue
		}
		if v := t.rows.Get(kindRefs, []byte(ref[:refPrefix])); len(v) == 2*numberBytes+1 {
			yield(readNumber(v), keyPackageKey{readNumber(v[numberBytes:]), shelf(v[2*numberBytes])})
		}
	}
}

// aheadOfRefs says that the devices and the rows of KeyPackages are about to be read, with
// beside what they are found, and what else of each device.
func (t *Txn) aheadOfRefs(refs []mls.KeyPackageRef, beside func(*Wanted), of func(w *Wanted, number uint64)) {
	if t.asked == nil {
		return
	}
	t.ahead(func(w *Wanted) {
		w.refs(refs)
		if beside != nil {
			beside(w)
		}
	})
	t.ahead(func(w *Wanted) {
		t.eachOwner(refs, func(number uint64, key keyPackageKey) {
			w.device(number)
			w.keyPackage(number, key)
			if of != nil {
				of(w, number)
			}
		})
	})
}

// aheadOfPlaces says that recipients and their devices are about to be read.
func (t *Txn) aheadOfPlaces(places []recipientPlace) {
	t.ahead(func(w *Wanted) {
		for _, p := range places {
			w.device(p.device)
			w.recipient(p.device, p.key)
		}
	})
}

// aheadOfKeyPackages says that the KeyPackages of recipients that were read are about to be.
func (t *Txn) aheadOfKeyPackages(places []recipientPlace) {
	t.ahead(func(w *Wanted) {
		for _, p := range places {
			if _, m := t.recipientAt(p); m != nil {
				w.keyPackage(p.device, m.kp)
			}
		}
	})
}

// aheadOfWelcome says that a Welcome and its recipients are about to be read.
func (t *Txn) aheadOfWelcome(id delivery.WelcomeID) {
	if t.asked == nil {
		return
	}
	t.ahead(func(w *Wanted) { w.row(kindWelcomeIDs, id[:welcomeIDPrefix]) })
	t.ahead(func(w *Wanted) {
		if number := t.rows.Get(kindWelcomeIDs, id[:welcomeIDPrefix]); number != nil {
			w.welcome(readNumber(number))
			w.posted(readNumber(number))
		}
	})
}

// mailboxAhead is how many rows of a caller's mailbox are read with its device: it comes
// for them more often than for anything else.
const mailboxAhead = 32

// aheadOfClaim says that what waits for a device is about to be consumed and given, as
// much as the filter lets through.
func (t *Txn) aheadOfClaim(d *device, f *claimFilter) {
	if t.asked == nil || d == nil {
		return
	}
	t.ahead(func(w *Wanted) {
		room := claimRoom{recipients: f.max, bytes: f.bytes}
		var given []*recipient
		for _, kind := range [...]byte{rowPending, rowDelivered} {
			for _, m := range t.recipients(d, kind) {
				w.keyPackage(d.number, m.kp)
				if len(f.skip) > 0 || f.newOnly {
					w.row(kindWelcomes, partKey(m.welcome, partHeader))
				}
				given = appendIfRoom(given, m, &room)
			}
		}
		for _, m := range given {
			w.delivery(m)
		}
	})
}

// aheadOfReceived says that a device's part of a Welcome is about to be read.
func (t *Txn) aheadOfReceived(id delivery.DeviceID, welcome delivery.WelcomeID) {
	t.aheadOfDevice(id, func(w *Wanted) { w.row(kindWelcomeIDs, welcome[:welcomeIDPrefix]) }, func(w *Wanted, number uint64) {
		w.device(number)
		row := t.rows.Get(kindWelcomeIDs, welcome[:welcomeIDPrefix])
		if row == nil {
			return
		}
		w.welcome(readNumber(row))
		for _, kind := range recipientKinds {
			w.begins(kindDevices, appendNumber(devicePart(number, kind), readNumber(row)), 0)
		}
	})
}

// aheadOfPublication says what is about to be read of a device that publishes, of those
// that had its id, and of the others of its user.
func (t *Txn) aheadOfPublication(p publication) {
	if t.asked == nil {
		return
	}
	var refs []mls.KeyPackageRef
	for _, item := range p.items {
		refs = append(refs, item.Ref)
	}
	earlier, name := append(nameKey(p.id), 0), nameKey(p.id)
	t.ahead(func(w *Wanted) {
		w.begins(kindNames, userPrefix(p.id.User), 0)
		w.begins(kindGone, earlier, 0)
		w.row(kindGone, userPrefix(p.id.User))
		w.refs(refs)
	})
	t.ahead(func(w *Wanted) {
		t.numbersIn(kindNames, userPrefix(p.id.User), w.device)
		t.numbersIn(kindGone, earlier, func(number uint64) {
			w.device(number)
			w.begins(kindDevices, devicePart(number, rowInitKeys), 0)
		})
		t.eachOwner(refs, func(number uint64, key keyPackageKey) {
			w.device(number)
			w.keyPackage(number, key)
		})
		row := t.rows.Get(kindNames, name)
		if row == nil {
			return
		}
		number := readNumber(row)
		w.begins(kindDevices, devicePart(number, rowInitKeys), 0)
		if p.replace {
			w.live(number)
		}
		for _, item := range p.items {
			if item.LastResort && !p.replace {
				w.shelf(number, shelfOf(item.Suite, true), 2)
			}
		}
	})
}

// aheadOfAsked says that the devices that a reservation asks are about to be read.
func (t *Txn) aheadOfAsked(r *reservation) {
	t.aheadOfReserved(r, func(*Wanted, uint64) {})
}

// aheadOfReservation does so with what they would give in the first suite.
func (t *Txn) aheadOfReservation(r *reservation) {
	if t.asked == nil {
		return
	}
	if suites := t.reservable(r.req.Suites); len(suites) > 0 {
		t.aheadOfReserved(r, func(w *Wanted, number uint64) { w.offer(number, suites[0]) })
	}
}

func (t *Txn) aheadOfReserved(r *reservation, of func(w *Wanted, number uint64)) {
	if t.asked == nil {
		return
	}
	users, key := slices.Clone(r.req.Users), r.record.key
	for _, id := range r.req.Devices {
		users = append(users, id.User)
	}
	t.aheadOfUsers(users, func(w *Wanted) {
		if key != nil {
			w.row(kindIdempotency, key)
		}
	}, func(w *Wanted, number uint64) {
		if key != nil && t.rows.Get(kindIdempotency, key) != nil {
			return // it was made before
		}
		w.device(number)
		of(w, number)
	})
}

// offer wants what a device would give in a suite: what comes first, or the last resort.
func (w *Wanted) offer(number uint64, suite mls.CipherSuite) {
	w.shelf(number, shelfOf(suite, false), 2)
	w.shelf(number, shelfOf(suite, true), 2)
}

// shelf wants what lies on a shelf of a device and behind it, most rows.
func (w *Wanted) shelf(number uint64, s shelf, most int) {
	w.Ranges = append(w.Ranges, Range{kindDevices, string(devicePart(number, rowShelf|byte(s))), keyBehind(numberKey(number)), most})
}

// aheadOfOffers says that devices are about to be asked for what they would give in a
// suite, and that its bytes are looked at.
func (t *Txn) aheadOfOffers(targets []*reserveTarget, suite mls.CipherSuite) {
	if t.asked == nil {
		return
	}
	t.ahead(func(w *Wanted) {
		for _, target := range targets {
			for _, d := range target.devices {
				if d.number != 0 && !d.leftOut {
					w.offer(d.number, suite)
				}
			}
		}
	})
	t.ahead(func(w *Wanted) {
		for _, target := range targets {
			for _, of := range target.devices {
				d := t.readDevice(of.number)
				if d == nil || of.leftOut {
					continue
				}
				t.eachOnShelf(d, suite, func(k *keyPackage) bool {
					usable := k.rec.OnShelf(t.sure, t.now) && (k.rec.LastResort || !target.lastResort)
					if usable {
						w.bytes(k)
					}
					return !usable
				})
			}
		}
	})
}

// aheadOfUnserved says that the shelves are about to be read of devices that have nothing
// to give: why they have not.
func (t *Txn) aheadOfUnserved(targets []*reserveTarget) {
	t.ahead(func(w *Wanted) {
		for _, target := range targets {
			for _, d := range target.devices {
				if d.number != 0 && d.offer == nil && !d.leftOut {
					w.shelves(d.number)
				}
			}
		}
	})
}

// aheadOfBytes says that those of what a reservation hands out are about to be read.
func (t *Txn) aheadOfBytes(answer delivery.Reservation) {
	if t.asked == nil {
		return
	}
	refs := refsIn(answer)
	t.aheadOfRefs(refs, nil, nil)
	t.ahead(func(w *Wanted) {
		t.eachOwner(refs, func(_ uint64, key keyPackageKey) { w.row(kindKeyPackages, numberKey(key.number)) })
	})
}

// refsIn are those of what a reservation hands out.
func refsIn(answer delivery.Reservation) (refs []mls.KeyPackageRef) {
	for _, u := range answer.Users {
		for _, d := range u.Devices {
			if d.KeyPackage != nil {
				refs = append(refs, d.KeyPackage.Ref)
			}
		}
	}
	return refs
}

// aheadOfPosting says what is about to be read of the KeyPackages that a Welcome is for,
// or of the same Welcome that is already here.
func (t *Txn) aheadOfPosting(id delivery.WelcomeID, p delivery.Posting) {
	if t.asked == nil {
		return
	}
	var refs []mls.KeyPackageRef
	for _, secret := range p.Welcome.Secrets {
		refs = append(refs, secret.NewMember)
	}
	t.ahead(func(w *Wanted) {
		w.row(kindWelcomeIDs, id[:welcomeIDPrefix])
		w.refs(refs)
	})
	if t.rows.Get(kindWelcomeIDs, id[:welcomeIDPrefix]) != nil {
		t.aheadOfWelcome(id)
		return
	}
	t.aheadOfRefs(refs, nil, nil)
	t.ahead(func(w *Wanted) { // which Welcomes have them
		t.eachOwner(refs, func(number uint64, key keyPackageKey) {
			d := t.readDevice(number)
			if d == nil {
				return
			}
			if k := t.keyPackage(d, key); k != nil && k.recipient != (recipientKey{}) && !k.rec.LastResort {
				w.row(kindWelcomes, partKey(k.recipient.welcome, partHeader))
			}
		})
	})
}

// aheadOfRecipients says that the recipients of a Welcome are about to be described.
func (t *Txn) aheadOfRecipients(welcome uint64) {
	if t.asked == nil {
		return
	}
	var all []recipientPlace
	t.ahead(func(w *Wanted) { w.posted(welcome) })
	t.ahead(func(w *Wanted) {
		t.eachPostedRecipient(welcome, func(key recipientKey, r *postedRecipient) bool {
			if r.device != 0 {
				all = append(all, recipientPlace{r.device, key})
			}
			return true
		})
	})
	t.aheadOfPlaces(all)
}

// aheadOfSync says what is about to be read of a device and of the KeyPackages that it
// names.
func (t *Txn) aheadOfSync(id delivery.DeviceID, refs []mls.KeyPackageRef) {
	t.aheadOfDevice(id, func(w *Wanted) { w.refs(refs) }, func(w *Wanted, number uint64) {
		w.open(number)
		w.live(number)
		t.eachOwner(refs, func(number uint64, key keyPackageKey) {
			w.device(number)
			w.keyPackage(number, key)
		})
	})
}

// aheadOfFates says that it is about to be read what has become of the Welcomes that wait
// for KeyPackages.
func (t *Txn) aheadOfFates(open openRecipients, d *device, all ...*keyPackage) {
	t.ahead(func(w *Wanted) {
		for _, k := range all {
			for _, m := range t.current(open, d, k) {
				w.row(kindPosted, numberKey(m.welcome))
			}
		}
	})
}

// aheadOfCaller says that a device is about to be read whose credentials are used.
func (t *Txn) aheadOfCaller(id delivery.DeviceID) {
	t.aheadOfDevice(id, func(w *Wanted) { w.row(kindGone, userPrefix(id.User)) }, func(w *Wanted, number uint64) { w.mailbox(number, mailboxAhead) })
}

// aheadOfListing says that the shelves of a user are about to be read, and the bytes of
// what comes on a page.
func (t *Txn) aheadOfListing(user delivery.UserID, p *page, after cursor) {
	if t.asked == nil {
		return
	}
	t.aheadOfUsers([]delivery.UserID{user}, nil, func(w *Wanted, number uint64) {
		w.device(number)
		w.shelves(number)
	})
	t.ahead(func(w *Wanted) {
		most := p.opts.Limit
		if most == 0 {
			most = listAhead
		}
		for _, d := range t.userDevices(user) {
			if len(p.opts.Devices) > 0 && !slices.Contains(p.opts.Devices, d.id.Name) {
				continue
			}
			for _, k := range t.onShelf(d, 0) {
				if after.before(cursor{d.id.Name, d.rowOf(k)[numberBytes:]}) && p.wants(t, k) {
					if w.bytes(k); len(w.Places) > most {
						return
					}
				}
			}
		}
	})
}

// listAhead is for how many KeyPackages the bytes are read at once for a listing without
// a limit.
const listAhead = 1000

// aheadOfGive says what is about to be read of a KeyPackage, of its device, and of the one
// that it is given to.
func (t *Txn) aheadOfGive(ref mls.KeyPackageRef, to delivery.DeviceID) {
	if t.asked == nil {
		return
	}
	refs, name := []mls.KeyPackageRef{ref}, nameKey(to)
	t.ahead(func(w *Wanted) {
		w.refs(refs)
		w.row(kindNames, name)
		w.row(kindGone, userPrefix(to.User))
		w.begins(kindGone, append(nameKey(to), 0), 1)
	})
	t.ahead(func(w *Wanted) {
		t.eachOwner(refs, func(number uint64, key keyPackageKey) {
			w.open(number)
			w.keyPackage(number, key)
			w.row(kindKeyPackages, numberKey(key.number))
			w.begins(kindDevices, devicePart(number, rowInitKeys), 0)
		})
		t.numbersIn(kindGone, append(nameKey(to), 0), w.device)
		if number := t.rows.Get(kindNames, name); number != nil {
			w.device(readNumber(number))
			w.begins(kindDevices, devicePart(readNumber(number), rowInitKeys), 0)
		}
	})
	t.ahead(func(w *Wanted) {
		if d, k := t.refOwner(ref); k != nil {
			for _, m := range t.current(t.openRecipients(d), d, k) {
				w.row(kindPosted, numberKey(m.welcome))
			}
		}
	})
}

func (t *Txn) aheadOfTokens(ids []string) {
	t.ahead(func(w *Wanted) { w.tokens(ids) })
}

func (w *Wanted) tokens(ids []string) {
	for _, id := range ids {
		w.row(kindTokens, []byte(id))
	}
}

// aheadOfRemoval says what is about to be read of a device that is removed, and of its
// tokens.
func (t *Txn) aheadOfRemoval(id delivery.DeviceID) {
	if t.asked == nil {
		return
	}
	owner, gone := delivery.TokenOwner{User: id.User, Device: id.Name}, append(nameKey(id), 0)
	t.aheadOfDevice(id, func(w *Wanted) {
		w.row(kindGone, userPrefix(id.User))
		w.begins(kindGone, gone, 1)
		w.begins(kindOwners, ownerKey(owner, false), 0)
	}, func(w *Wanted, number uint64) {
		w.mailbox(number, mailboxAhead)
		w.tokens(t.tokenIDs(owner))
	})
	t.ahead(func(w *Wanted) { // of one that is gone
		t.numbersIn(kindGone, gone, w.device)
		w.tokens(t.tokenIDs(owner))
	})
}

// aheadOfUserRemoval does so for all devices of a user.
func (t *Txn) aheadOfUserRemoval(user delivery.UserID) {
	if t.asked == nil {
		return
	}
	owner := delivery.TokenOwner{User: user}
	t.ahead(func(w *Wanted) {
		w.begins(kindNames, userPrefix(user), 0)
		w.begins(kindGone, userPrefix(user), 0)
		w.begins(kindOwners, ownerKey(owner, false), 0)
		w.begins(kindEvents, userPrefix(user), 2) // whether there are any
	})
	t.ahead(func(w *Wanted) {
		t.numbersIn(kindNames, userPrefix(user), w.device)
		t.numbersIn(kindGone, userPrefix(user), w.device)
		w.tokens(t.tokenIDs(owner))
	})
}

// aheadOfTimers says what is about to be read because timers of a kind are due.
func (t *Txn) aheadOfTimers(kind byte, due []timer) {
	if t.asked == nil || len(due) == 0 {
		return
	}
	switch kind {
	case timerDevice, timerTombstones:
		t.aheadOfAlarms(kind, due)
	case timerIdempotency:
		t.ahead(func(w *Wanted) {
			for _, timer := range due {
				w.row(kindIdempotency, timer.row)
			}
		})
	case timerToken:
		t.ahead(func(w *Wanted) {
			for _, timer := range due {
				w.row(kindTokens, timer.row)
			}
		})
	default:
		t.aheadOfWelcomes(kind, due)
	}
}

// aheadOfAlarms is aheadOfTimers of devices: what they have, and what has become of the
// Welcomes that end.
func (t *Txn) aheadOfAlarms(kind byte, due []timer) {
	var devices []*device
	t.ahead(func(w *Wanted) {
		for _, timer := range due {
			w.device(readNumber(timer.row))
		}
	})
	t.ahead(func(w *Wanted) {
		for _, timer := range due {
			d := t.readDevice(readNumber(timer.row))
			switch {
			case d == nil:
				continue
			case d.removed:
				w.row(kindGone, userPrefix(d.id.User))
				w.begins(kindGone, userPrefix(d.id.User), 3)
				w.begins(kindDevices, numberKey(d.number), 0)
			case kind == timerTombstones:
				w.begins(kindDevices, devicePart(d.number, rowTombstone), 0)
				w.begins(kindDevices, devicePart(d.number, rowInitKeys), 0)
			default:
				w.open(d.number)
				w.live(d.number)
			}
			devices = append(devices, d)
		}
	})
	if kind == timerTombstones {
		return
	}
	t.ahead(func(w *Wanted) {
		for _, d := range devices {
			for _, kind := range openKinds {
				for _, m := range t.recipients(d, kind) {
					if at := m.nextDue(); at.IsZero() || !at.After(t.sure) {
						w.row(kindPosted, numberKey(m.welcome))
						w.source(m)
					}
				}
			}
		}
	})
}

// aheadOfWelcomes is aheadOfTimers of Welcomes.
func (t *Txn) aheadOfWelcomes(kind byte, due []timer) {
	t.ahead(func(w *Wanted) {
		for _, timer := range due {
			number := readNumber(timer.row)
			w.welcome(number)
			if kind != timerHold {
				w.begins(kindWelcomes, numberKey(number), 0)
			}
		}
	})
	if kind != timerForget {
		return
	}
	var places []recipientPlace
	t.ahead(func(*Wanted) {
		for _, timer := range due {
			places = append(places, t.matchedPlaces(readNumber(timer.row))...)
		}
	})
	t.ahead(func(w *Wanted) {
		for _, p := range places {
			w.device(p.device)
			w.recipient(p.device, p.key)
		}
		for _, timer := range due {
			if h := t.header(readNumber(timer.row)); h != nil {
				w.row(kindWelcomeIDs, h.id[:welcomeIDPrefix])
			}
		}
	})
	t.ahead(func(w *Wanted) { // of devices that may be forgotten with them
		for _, p := range places {
			if d := t.readDevice(p.device); d != nil && d.removed {
				w.row(kindGone, userPrefix(d.id.User))
				w.begins(kindGone, userPrefix(d.id.User), 3)
				w.begins(kindDevices, numberKey(d.number), 0)
			}
		}
	})
}

// aheadOfIdle says which devices a sweep is about to look at, and what of those that may
// be forgotten.
func (t *Txn) aheadOfIdle(walk *idleWalk) {
	if t.asked == nil {
		return
	}
	var numbers []uint64
	t.ahead(func(w *Wanted) {
		w.Ranges = append(w.Ranges, Range{Kind: kindNames, From: string(walk.from), Most: idleLook + 1})
	})
	t.ahead(func(w *Wanted) {
		c := t.rows.Scan(kindNames, nil, walk.from)
		defer c.Close()
		for key, number := c.Next(); key != nil && len(numbers) < idleLook; key, number = c.Next() {
			numbers = append(numbers, readNumber(number))
			w.device(readNumber(number))
		}
	})
	t.aheadOfForgotten(walk, numbers)
}

// aheadOfForgotten says what is about to be read of devices that may be forgotten.
func (t *Txn) aheadOfForgotten(walk *idleWalk, numbers []uint64) {
	if t.asked == nil {
		return
	}
	t.ahead(func(w *Wanted) {
		for _, number := range numbers {
			w.device(number)
		}
	})
	var owners []delivery.TokenOwner
	after := t.limits.ForgetDevicesAfter
	t.ahead(func(w *Wanted) {
		for _, number := range numbers {
			d := t.readDevice(number)
			if d == nil || after == 0 || !t.idleFor(d, after) || !walk.watched(t.sure) {
				continue
			}
			owner := delivery.TokenOwner{User: d.id.User, Device: d.id.Name}
			owners = append(owners, owner)
			w.begins(kindDevices, devicePart(number, rowKeyPackage), 1)
			w.shelf(number, 0, 1)
			w.begins(kindOwners, ownerKey(owner, false), 0)
			w.row(kindGone, userPrefix(d.id.User))
		}
	})
	t.ahead(func(w *Wanted) {
		for _, owner := range owners {
			w.tokens(t.tokenIDs(owner))
		}
	})
}
