package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// reserveCost is roughly what a reservation adds to the file, in bytes.
const reserveCost = 1 << 10

// Reserve implements delivery.Store.
func (s *Store) Reserve(ctx context.Context, caller delivery.Caller, req delivery.ReserveRequest) (delivery.Reservation, error) {
	r := &reservation{caller: caller, req: req, record: idempotencyRecord(caller, req)}
	answer, err := s.reserve(ctx, r)
	if err == nil { // a refusal changes nothing
		s.retireDamaged(ctx, r.damaged)
	}
	return answer, err
}

func (s *Store) reserve(ctx context.Context, r *reservation) (delivery.Reservation, error) {
	// What cannot be posted need not be reserved: in a full file it counts as
	// payload.
	err := s.doAs(ctx, r.caller, &Event{Cost: reserveCost, Look: r.look, Run: r.apply})
	if err != nil {
		return delivery.Reservation{}, err
	}
	if r.applied {
		// The bytes are kept for longer than a reservation can be repeated.
		err = s.viewCommitted(ctx, func(t *Txn) error { r.fetch(t); return nil })
	}
	return r.answer, err
}

// A reservation is a Reserve in progress. It finds out outside the writer which devices there
// are, which suite serves them best, and what each would give: a request may name thousands of
// users that do not exist.
type reservation struct {
	caller  delivery.Caller
	req     delivery.ReserveRequest
	record  idempotency
	before  []byte // the row of the idempotency key, when it was looked at
	targets []*reserveTarget
	suite   mls.CipherSuite
	asked   []mls.CipherSuite // in which something would have served
	answer  delivery.Reservation
	applied bool
	sound   map[uint64]bool // KeyPackages whose bytes were looked at, by number
	damaged []damagedKeyPackage
}

// isSound reports whether the bytes of a KeyPackage are what was published. It looks at each
// only once. That is outside the writer, except for a KeyPackage that has come to the front of
// a shelf since.
func (r *reservation) isSound(t *Txn, d *device, k *keyPackage) bool {
	sound, known := r.sound[k.number]
	if known {
		return sound
	}
	if sound = t.intact(k); !sound {
		r.damaged = append(r.damaged, damagedKeyPackage{d.number, k.keyPackageKey, k.rec.Ref})
	}
	if r.sound == nil {
		r.sound = make(map[uint64]bool)
	}
	r.sound[k.number] = sound
	return sound
}

// isDamaged reports whether the reservation has found the KeyPackage damaged.
func (r *reservation) isDamaged(k *keyPackage) bool {
	sound, known := r.sound[k.number]
	return known && !sound
}

// look decides what the reservation takes.
func (r *reservation) look(t *Txn) (changes bool, err error) {
	*r = reservation{caller: r.caller, req: r.req, record: r.record, sound: r.sound, damaged: r.damaged}
	if n := len(r.req.Users); n > t.limits.UsersPerReserve {
		return false, fmt.Errorf("%w: %d users, at most %d in one reservation", delivery.ErrTooMany, n, t.limits.UsersPerReserve)
	}
	t.aheadOfReservation(r)
	if r.record.key != nil {
		r.before = cloneBytes(t.get(kindIdempotency, r.record.key))
	}
	if repeated, err := t.repeatedReservation(r.record, r.before); err != nil {
		return false, err
	} else if repeated != nil {
		r.answer = *repeated
		r.fetch(t)
		return false, nil
	}
	if r.targets, err = t.reserveTargets(r.caller, r.req); err != nil {
		return false, err
	}
	r.asked = t.reservable(r.req.Suites)
	if r.suite = r.bestOffers(t); r.suite != 0 {
		r.asked = []mls.CipherSuite{r.suite}
	}
	if err := t.limitOffers(r.targets, r.req.Bytes); err != nil {
		return false, err
	}
	changes = r.take(t, true) || r.record.key != nil
	if !changes {
		r.fetch(t)
	}
	return changes, nil
}

// apply takes what look has decided, and remembers the answer without the bytes.
func (r *reservation) apply(t *Txn) error {
	if r.record.key != nil {
		if !bytes.Equal(t.get(kindIdempotency, r.record.key), r.before) {
			return ErrMoved
		}
	}
	r.take(t, false)
	if r.record.key != nil {
		t.putReservation(r.record, t.now.Add(t.limits.IdempotencyKept), r.answer)
	}
	r.applied = true
	return nil
}

// take makes the answer. Unless dry is true, it also reserves what is in it. It reports whether
// anything changes.
func (r *reservation) take(t *Txn, dry bool) (changes bool) {
	t.aheadOfUnserved(r.targets)
	r.answer = delivery.Reservation{Suite: r.suite} // its id with the first that can be given back
	for _, target := range r.targets {
		user := delivery.ReservedUser{User: target.user, Devices: []delivery.ReservedDevice{}}
		for i := range target.devices {
			answer, changed := r.takeFrom(t, &target.devices[i], target.lastResort, dry)
			user.Devices, changes = append(user.Devices, answer), changes || changed
		}
		user.Status = userStatus(target, user.Devices)
		r.answer.Users = append(r.answer.Users, user)
	}
	return changes
}

// takeFrom reserves what a device offered when it was looked at. If somebody else has that by
// now, it takes what follows on the shelf. If nothing follows, it starts at the front again,
// where new KeyPackages may lie: last resorts, and those that were given back, lie behind them.
func (r *reservation) takeFrom(t *Txn, from *reserveDevice, lastResort, dry bool) (answer delivery.ReservedDevice, changes bool) {
	defer func() { answer.IdleSince = from.idleSince }()
	if from.leftOut {
		return delivery.ReservedDevice{Device: from.id.Name, Status: delivery.DeviceIdle}, false
	}
	if !dry && from.offer == nil {
		return from.without, false
	}
	var d *device
	if from.number != 0 {
		d = t.deviceByNumber(from.number)
	}
	if d == nil || d.id != from.id || d.removed {
		from.without = delivery.ReservedDevice{Device: from.id.Name, Status: delivery.DeviceUnknown}
		return from.without, false
	}
	k := from.offer
	if !dry {
		if k = r.offerFrom(t, d, r.suite, lastResort, d.rowOf(k)); k == nil {
			k = r.offer(t, d.number, r.suite, lastResort)
		}
	}
	if k == nil {
		from.without = r.unserved(t, d, lastResort)
		return from.without, false
	}
	answer = delivery.ReservedDevice{Device: from.id.Name, Status: delivery.DeviceReserved}
	if k.rec.LastResort {
		answer.Status = delivery.DeviceLastResort
	}
	answer.KeyPackage = &delivery.ListedKeyPackage{Ref: k.rec.Ref}
	if changes = !k.rec.LastResort || k.rec.HandedOutAt.IsZero(); changes && !dry {
		k.rec.Reserve(*t.limits, r.caller.ID(), t.now)
		if !k.rec.LastResort {
			if r.answer.ID == 0 {
				r.answer.ID = t.newReservation()
			}
			k.rec.Reservation = r.answer.ID
		}
		t.saveKeyPackage(d, k)
	}
	return answer, changes
}

// fetch reads the bytes of what is handed out. If the answer is a repeated one, the bytes may
// be damaged by now.
func (r *reservation) fetch(t *Txn) {
	t.aheadOfBytes(r.answer)
	takeBack(&r.answer, delivery.DeviceDamaged, func(_ delivery.UserID, d *delivery.ReservedDevice) bool {
		owner, k := t.refOwner(d.KeyPackage.Ref)
		if k == nil {
			return false
		}
		if !r.isSound(t, owner, k) {
			return true
		}
		*d.KeyPackage = t.listed(k)
		return false
	})
}

// takeBack removes from an answer the KeyPackages for which gone returns true, and gives their
// devices the status why.
func takeBack(answer *delivery.Reservation, why delivery.DeviceReserveStatus, gone func(delivery.UserID, *delivery.ReservedDevice) bool) {
	for i := range answer.Users {
		u := &answer.Users[i]
		served, taken := 0, 0
		for j := range u.Devices {
			d := &u.Devices[j]
			if d.KeyPackage == nil {
				continue
			}
			if gone(u.User, d) {
				d.Status, d.KeyPackage = why, nil
				taken++
			} else {
				served++
			}
		}
		switch {
		case taken > 0 && served > 0:
			u.Status = delivery.UserPartial
		case taken > 0:
			u.Status = delivery.UserExhausted
		}
	}
}

// A reserveTarget is a user, with the devices that the request asks for.
type reserveTarget struct {
	user       delivery.UserID
	known      bool // the user has devices at all
	lastResort bool // nothing else is handed out
	devices    []reserveDevice
}

// A reserveDevice is a device that may not exist, with what it would give.
type reserveDevice struct {
	id      delivery.DeviceID
	number  uint64                  // 0 if there is no such device
	offer   *keyPackage             // in the suite that was chosen; nil: nothing
	next    *keyPackage             // in the suite that is looked at
	without delivery.ReservedDevice // the answer if there is no offer

	idleSince time.Time // if it was not seen for long
	leftOut   bool      // for longer than whoever reserves wants
}

func (t *Txn) reserveTargets(caller delivery.Caller, req delivery.ReserveRequest) ([]*reserveTarget, error) {
	var targets []*reserveTarget
	byUser, asked, total := map[delivery.UserID]*reserveTarget{}, map[delivery.DeviceID]bool{}, 0
	for _, id := range req.Except {
		asked[id] = true
	}
	own, known := map[delivery.UserID][]*device{}, map[delivery.DeviceID]*device{}
	target := func(user delivery.UserID) *reserveTarget {
		if byUser[user] == nil {
			byUser[user] = &reserveTarget{user: user, lastResort: slices.Contains(req.LastResortOnly, user)}
			targets = append(targets, byUser[user])
			own[user] = t.userDevices(user)
			for _, d := range own[user] {
				byUser[user].known, known[d.id] = true, d
			}
		}
		return byUser[user]
	}
	add := func(to *reserveTarget, id delivery.DeviceID) {
		if !asked[id] && !caller.IsDevice(id) {
			to.devices = append(to.devices, t.reserveDevice(id, known[id], req))
			total++
		}
		asked[id] = true
	}
	for _, user := range req.Users {
		to := target(user)
		for _, d := range own[user] {
			add(to, d.id)
		}
	}
	for _, id := range req.Devices {
		add(target(id.User), id)
	}
	if total > t.limits.DevicesPerReserve {
		return nil, fmt.Errorf("%w: %d devices, at most %d in one reservation", delivery.ErrTooMany, total, t.limits.DevicesPerReserve)
	}
	return targets, nil
}

// reserveDevice returns a device that the request asks for; d is nil if there is none.
func (t *Txn) reserveDevice(id delivery.DeviceID, d *device, req delivery.ReserveRequest) reserveDevice {
	r := reserveDevice{id: id}
	if d != nil {
		r.number, r.idleSince = d.number, delivery.IdleSince(d.seenAt, t.sure)
		r.leftOut = delivery.TooIdle(r.idleSince, t.sure, req.MaxIdle)
	}
	return r
}

// reservable returns the suites that are accepted here, each once. So a request cannot make the
// server search the shelves for thousands of others.
func (t *Txn) reservable(suites []mls.CipherSuite) []mls.CipherSuite {
	if len(suites) == 0 {
		return t.limits.CipherSuites
	}
	var accepted []mls.CipherSuite
	for _, suite := range suites {
		if t.limits.Accepts(suite) && !slices.Contains(accepted, suite) {
			accepted = append(accepted, suite)
		}
	}
	return accepted
}

// bestOffers picks the first suite that serves every device, or else the one that serves most
// devices. It notes what each device would give in it.
func (r *reservation) bestOffers(t *Txn) (best mls.CipherSuite) {
	most := 0
	for _, suite := range r.asked {
		t.aheadOfOffers(r.targets, suite)
		found, all := 0, true
		for _, target := range r.targets {
			for i := range target.devices {
				d := &target.devices[i]
				if d.leftOut {
					continue
				}
				if d.next = r.offer(t, d.number, suite, target.lastResort); d.next != nil {
					found++
				} else {
					all = false
				}
			}
		}
		if found > most {
			best, most = suite, found
			for _, target := range r.targets {
				for i := range target.devices {
					target.devices[i].offer = target.devices[i].next
				}
			}
		}
		if all {
			break
		}
	}
	return best
}

// limitOffers refuses a reservation with more than most bytes; 0: no limit. One KeyPackage is
// allowed whatever its size. A few KeyPackages cannot be too large, so it reads nothing for
// them.
func (t *Txn) limitOffers(targets []*reserveTarget, most int) error {
	var offers []*keyPackage
	for _, target := range targets {
		for _, d := range target.devices {
			if d.offer != nil {
				offers = append(offers, d.offer)
			}
		}
	}
	if most == 0 || len(offers) <= max(1, most/max(1, t.limits.KeyPackageBytes)) {
		return nil
	}
	total := 0
	for _, k := range offers {
		total += len(t.get(kindKeyPackages, numberKey(k.number)))
	}
	if total > most {
		return fmt.Errorf("%w: KeyPackages of %d bytes, at most %d in one reservation", delivery.ErrTooMany, total, most)
	}
	return nil
}

// offer returns what a device would give next: the oldest KeyPackage that is no last resort, or
// else the last resort. With lastResort, only a last resort. It returns nil if the device has
// none.
func (r *reservation) offer(t *Txn, number uint64, suite mls.CipherSuite, lastResort bool) *keyPackage {
	if number == 0 {
		return nil
	}
	d := t.deviceByNumber(number)
	return r.offerFrom(t, d, suite, lastResort, d.key(rowShelf|byte(shelfOf(suite, false))))
}

// offerFrom is offer, from the key of a row of the shelf on. It skips damaged KeyPackages.
func (r *reservation) offerFrom(t *Txn, d *device, suite mls.CipherSuite, lastResort bool, from []byte) (offer *keyPackage) {
	t.eachOnShelfFrom(d, suite, from, func(k *keyPackage) bool {
		if k.rec.OnShelf(t.sure, t.now) && (k.rec.LastResort || !lastResort) && r.isSound(t, d, k) {
			offer = k
		}
		return offer == nil
	})
	return offer
}

// unserved says why the device has nothing to give in the suites of the request.
func (r *reservation) unserved(t *Txn, d *device, lastResort bool) delivery.ReservedDevice {
	answer := delivery.ReservedDevice{Device: d.id.Name, Status: delivery.DeviceExhausted}
	for _, suite := range r.asked {
		r.eachAvailable(t, d, suite, lastResort, func(k *keyPackage) bool {
			if at := k.rec.NotBefore(); answer.UsableFrom.IsZero() || at.Before(answer.UsableFrom) {
				answer.Status, answer.UsableFrom = delivery.DeviceNotYetValid, at
			}
			return true
		})
	}
	if answer.Status == delivery.DeviceNotYetValid {
		return answer
	}
	for suite := mls.CipherSuite(1); suite <= lastShelf.suite(); suite++ {
		r.eachAvailable(t, d, suite, lastResort, func(*keyPackage) bool {
			answer.Status, answer.Suites = delivery.DeviceIncompatible, append(answer.Suites, suite)
			return false
		})
	}
	return answer
}

// eachAvailable is eachOnShelf without KeyPackages that have aged or were found damaged. With
// lastResort, it yields only last resorts.
func (r *reservation) eachAvailable(t *Txn, d *device, suite mls.CipherSuite, lastResort bool, yield func(*keyPackage) bool) {
	t.eachOnShelf(d, suite, func(k *keyPackage) bool {
		if k.rec.StateAt(t.sure) != delivery.Available || lastResort && !k.rec.LastResort || r.isDamaged(k) {
			return true
		}
		return yield(k)
	})
}

func userStatus(target *reserveTarget, devices []delivery.ReservedDevice) delivery.UserReserveStatus {
	served, incompatible, idle := 0, 0, 0
	for _, d := range devices {
		switch d.Status {
		case delivery.DeviceIdle:
			idle++
		case delivery.DeviceReserved, delivery.DeviceLastResort:
			served++
		case delivery.DeviceIncompatible:
			incompatible++
		}
	}
	switch {
	case !target.known:
		return delivery.UserUnknown
	case idle == len(devices):
		return delivery.UserLeftOut
	case served == len(devices)-idle:
		return delivery.UserSuccess
	case served > 0:
		return delivery.UserPartial
	case incompatible == len(devices)-idle:
		return delivery.UserIncompatible
	}
	return delivery.UserExhausted
}

// An idempotency identifies a reservation that can be repeated.
type idempotency struct {
	key     []byte // of its row; nil if the request has no key
	request fingerprint
	caller  delivery.Caller
	asked   delivery.ReserveRequest
}

// isOf reports whether a row with this fingerprint is of the same request.
func (r *idempotency) isOf(kept []byte) bool {
	if bytes.Equal(kept, r.request[:]) {
		return true
	}
	old := fingerprint4(r.caller, r.asked)
	return bytes.Equal(kept, old[:])
}

func idempotencyRecord(caller delivery.Caller, req delivery.ReserveRequest) idempotency {
	if req.IdempotencyKey == "" {
		return idempotency{}
	}
	key := sha256.Sum256([]byte(caller.ID() + "\x00" + req.IdempotencyKey))
	return idempotency{key: key[:16], request: fingerprintOf(caller, req), caller: caller, asked: req}
}

// repeatedReservation returns the answer that the same request got before, which its row has.
func (t *Txn) repeatedReservation(r idempotency, row []byte) (*delivery.Reservation, error) {
	if row == nil {
		return nil, nil
	}
	d := decoder(row)
	if due := d.time(); !t.sure.Before(due) {
		return nil, nil
	}
	if !r.isOf(d.bytes()) {
		return nil, delivery.ErrIdempotencyKeyReused
	}
	answer := decodeReservation(d.bytes())
	t.aheadOfBytes(answer)
	if !t.kept(answer) {
		return nil, nil
	}
	t.withoutGivenBack(&answer)
	return &answer, nil
}

// withoutGivenBack removes from an answer the KeyPackages that were given back since, because
// somebody else may hold them, or that were given to another device.
func (t *Txn) withoutGivenBack(answer *delivery.Reservation) {
	takeBack(answer, delivery.DeviceGivenBack, func(user delivery.UserID, d *delivery.ReservedDevice) bool {
		owner, k := t.refOwner(d.KeyPackage.Ref)
		return owner.id != delivery.DeviceID{User: user, Name: d.Device} || !k.rec.LastResort && k.rec.Reservation != answer.ID
	})
}

// kept reports whether each KeyPackage of an answer is still there, or has only lost its bytes
// to damage. An answer that a wrong clock dated in the future may outlive its KeyPackages.
func (t *Txn) kept(answer delivery.Reservation) bool {
	for _, u := range answer.Users {
		for _, d := range u.Devices {
			if d.KeyPackage == nil {
				continue
			}
			if _, k := t.refOwner(d.KeyPackage.Ref); k == nil || !k.payload && k.rec.State.Ended() {
				return false
			}
		}
	}
	return true
}

func (t *Txn) putReservation(r idempotency, due time.Time, answer delivery.Reservation) {
	var e encoder
	e.time(due)
	e.bytes(r.request[:])
	e.bytes(encodeReservation(answer))
	t.put(kindIdempotency, r.key, e)
	t.setTimer(timerIdempotency, due, r.key)
}

func encodeReservation(r delivery.Reservation) []byte {
	var e encoder
	e.number(uint64(r.Suite))
	e.number(uint64(len(r.Users)))
	for _, u := range r.Users {
		e.string(string(u.User))
		e.string(string(u.Status))
		e.number(uint64(len(u.Devices)))
		for _, d := range u.Devices {
			e.string(d.Device)
			e.string(string(d.Status))
			if d.KeyPackage == nil {
				e.string("")
			} else {
				e.string(string(d.KeyPackage.Ref))
			}
		}
	}
	for _, u := range r.Users {
		for _, d := range u.Devices {
			switch d.Status {
			case delivery.DeviceNotYetValid:
				e.time(d.UsableFrom)
			case delivery.DeviceIncompatible:
				e.number(uint64(len(d.Suites)))
				for _, suite := range d.Suites {
					e.number(uint64(suite))
				}
			}
		}
	}
	e.number(uint64(r.ID))
	for i, u := range r.Users {
		for j, d := range u.Devices {
			if !d.IdleSince.IsZero() {
				e.number(uint64(i))
				e.number(uint64(j))
				e.time(d.IdleSince)
			}
		}
	}
	return e
}

func decodeReservation(row []byte) delivery.Reservation {
	d := decoder(row)
	r := delivery.Reservation{Repeated: true, Suite: mls.CipherSuite(d.number())}
	for range d.number() {
		u := delivery.ReservedUser{
			User: delivery.UserID(d.string()), Status: delivery.UserReserveStatus(d.string()),
			Devices: []delivery.ReservedDevice{},
		}
		for range d.number() {
			device := delivery.ReservedDevice{Device: d.string(), Status: delivery.DeviceReserveStatus(d.string())}
			if ref := d.string(); ref != "" {
				device.KeyPackage = &delivery.ListedKeyPackage{Ref: mls.KeyPackageRef(ref)}
			}
			u.Devices = append(u.Devices, device)
		}
		r.Users = append(r.Users, u)
	}
	if len(d) == 0 {
		return r // of format 4, which does not say why a device had nothing
	}
	for _, u := range r.Users {
		for i := range u.Devices {
			device := &u.Devices[i]
			switch device.Status {
			case delivery.DeviceNotYetValid:
				device.UsableFrom = d.time()
			case delivery.DeviceIncompatible:
				for range d.number() {
					device.Suites = append(device.Suites, mls.CipherSuite(d.number()))
				}
			}
		}
	}
	r.ID = delivery.ReservationID(d.number())
	for len(d) > 0 {
		i, j := d.number(), d.number()
		if i >= uint64(len(r.Users)) || j >= uint64(len(r.Users[i].Devices)) {
			panic(ErrCorrupt)
		}
		// Without a time there is no entry: 0 is the first day of 1970.
		r.Users[i].Devices[j].IdleSince = time.UnixMilli(int64(d.number())).UTC()
	}
	return r
}
