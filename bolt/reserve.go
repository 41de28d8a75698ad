package bolt

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// reserveCost is about what a reservation adds to the file, in bytes.
const reserveCost = 1 << 10

// Reserve implements delivery.Store.
func (s *Store) Reserve(ctx context.Context, caller delivery.Caller, req delivery.ReserveRequest) (answer delivery.Reservation, err error) {
	if err := caller.Valid(); err != nil {
		return answer, err
	}
	record := idempotencyRecord(caller, req)
	// What cannot be posted need not be reserved: in a full file it counts as
	// payload.
	err = s.writer.do(ctx, reserveCost, func(t *txn) error {
		answer, err = t.reserve(caller, req, record)
		return err
	})
	if err != nil {
		return delivery.Reservation{}, err
	}
	// The bytes are read outside the writer. They are kept for longer than a
	// reservation can be repeated.
	err = s.viewCommitted(ctx, func(t *txn) error {
		for _, u := range answer.Users {
			for _, d := range u.Devices {
				if d.KeyPackage == nil {
					continue
				}
				if _, k := t.refOwner(d.KeyPackage.Ref); k != nil {
					*d.KeyPackage = t.listed(k)
				}
			}
		}
		return nil
	})
	return answer, err
}

func (t *txn) reserve(caller delivery.Caller, req delivery.ReserveRequest, record idempotency) (delivery.Reservation, error) {
	if n := len(req.Users); n > t.limits.UsersPerReserve {
		return delivery.Reservation{}, fmt.Errorf("%w: %d users, at most %d in one reservation", delivery.ErrTooMany, n, t.limits.UsersPerReserve)
	}
	if repeated, err := t.repeatedReservation(record); err != nil {
		return delivery.Reservation{}, err
	} else if repeated != nil {
		return *repeated, nil
	}
	targets, err := t.reserveTargets(caller, req)
	if err != nil {
		return delivery.Reservation{}, err
	}
	offers := t.bestOffers(targets, t.reservable(req.Suites))
	if err := t.limitOffers(offers, req.Bytes); err != nil {
		return delivery.Reservation{}, err
	}
	answer, asked := delivery.Reservation{Suite: offers.suite}, t.reservable(req.Suites)
	if offers.suite != 0 {
		asked = []mls.CipherSuite{offers.suite}
	}
	for _, target := range targets {
		user := delivery.ReservedUser{User: target.user, Devices: []delivery.ReservedDevice{}}
		for _, d := range target.devices {
			user.Devices = append(user.Devices, t.take(caller, d, offers, asked, target.lastResort))
		}
		user.Status = userStatus(target, user.Devices)
		answer.Users = append(answer.Users, user)
	}
	t.keepReservation(record, answer)
	return answer, nil
}

// A reserveTarget is a user and those of its devices that are asked for.
type reserveTarget struct {
	user       delivery.UserID
	known      bool // the user has devices at all
	lastResort bool // nothing else is handed out
	devices    []reserveDevice
}

// A reserveDevice is a device that may not exist.
type reserveDevice struct {
	id  delivery.DeviceID
	row *device
}

func (t *txn) reserveTargets(caller delivery.Caller, req delivery.ReserveRequest) ([]*reserveTarget, error) {
	var targets []*reserveTarget
	byUser, asked := map[delivery.UserID]*reserveTarget{}, map[delivery.DeviceID]bool{}
	for _, id := range req.Except {
		asked[id] = true
	}
	target := func(user delivery.UserID) *reserveTarget {
		if byUser[user] == nil {
			byUser[user] = &reserveTarget{user: user, lastResort: slices.Contains(req.LastResortOnly, user)}
			targets = append(targets, byUser[user])
		}
		return byUser[user]
	}
	add := func(to *reserveTarget, id delivery.DeviceID, row *device) {
		if !asked[id] && !caller.IsDevice(id) {
			to.devices = append(to.devices, reserveDevice{id, row})
		}
		asked[id] = true
	}
	for _, user := range req.Users {
		to := target(user)
		for _, d := range t.userDevices(user) {
			to.known = true
			add(to, d.id, d)
		}
	}
	for _, id := range req.Devices {
		to, d := target(id.User), t.device(id)
		if d != nil && d.removed {
			d = nil
		}
		to.known = to.known || d != nil || len(t.userDevices(id.User)) > 0
		add(to, id, d)
	}
	total := 0
	for _, to := range targets {
		total += len(to.devices)
	}
	if total > t.limits.DevicesPerReserve {
		return nil, fmt.Errorf("%w: %d devices, at most %d in one reservation", delivery.ErrTooMany, total, t.limits.DevicesPerReserve)
	}
	return targets, nil
}

// reservable returns those of suites that are accepted here, each once: a
// request must not have the shelves searched for thousands of others.
func (t *txn) reservable(suites []mls.CipherSuite) []mls.CipherSuite {
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

// offers are what the devices have in one cipher suite.
type offers struct {
	suite mls.CipherSuite
	of    map[uint64]*keyPackage // by device number
}

// bestOffers picks the first suite that serves every device, else the one that
// serves most.
func (t *txn) bestOffers(targets []*reserveTarget, suites []mls.CipherSuite) offers {
	var best offers
	for _, suite := range suites {
		found, all := offers{suite, map[uint64]*keyPackage{}}, true
		for _, target := range targets {
			for _, d := range target.devices {
				k := t.offer(d.row, suite, target.lastResort)
				if k == nil {
					all = false
					continue
				}
				found.of[d.row.number] = k
			}
		}
		if len(found.of) > len(best.of) {
			best = found
		}
		if all {
			break
		}
	}
	return best
}

// limitOffers refuses what has more than most bytes; 0: any. One is offered
// however large it is, and few cannot have too many, so nothing is read for them.
func (t *txn) limitOffers(o offers, most int) error {
	if most == 0 || len(o.of) <= max(1, most/max(1, t.limits.KeyPackageBytes)) {
		return nil
	}
	total := 0
	for _, k := range o.of {
		total += len(t.get(bucketKeyPackages, numberKey(k.number)))
	}
	if total > most {
		return fmt.Errorf("%w: KeyPackages of %d bytes, at most %d in one reservation", delivery.ErrTooMany, total, most)
	}
	return nil
}

// offer is what the device would give next: the oldest KeyPackage that is no
// last resort, else the last resort, or only that. nil if it has none.
func (t *txn) offer(d *device, suite mls.CipherSuite, lastResort bool) *keyPackage {
	if d == nil {
		return nil
	}
	var offer *keyPackage
	t.eachOnShelf(d, suite, func(k *keyPackage) bool {
		if k.rec.OnShelf(t.now) && (k.rec.LastResort || !lastResort) {
			offer = k
		}
		return offer == nil
	})
	return offer
}

// take reserves what the device offers. If that is nothing, the answer says why;
// asked are the suites in which something would have served.
func (t *txn) take(caller delivery.Caller, target reserveDevice, o offers, asked []mls.CipherSuite, lastResort bool) delivery.ReservedDevice {
	d := target.row
	if d == nil {
		return delivery.ReservedDevice{Device: target.id.Name, Status: delivery.DeviceUnknown}
	}
	k := o.of[d.number]
	if k == nil {
		return t.unserved(d, asked, lastResort)
	}
	answer := delivery.ReservedDevice{Device: target.id.Name, Status: delivery.DeviceReserved}
	if k.rec.LastResort {
		answer.Status = delivery.DeviceLastResort
	}
	if !k.rec.LastResort || k.rec.HandedOutAt.IsZero() {
		k.rec.Reserve(*t.limits, caller.ID(), t.now)
		t.saveKeyPackage(d, k)
	}
	answer.KeyPackage = &delivery.ListedKeyPackage{Ref: k.rec.Ref}
	return answer
}

// unserved says why the device has nothing to give in the suites that were asked
// for.
func (t *txn) unserved(d *device, asked []mls.CipherSuite, lastResort bool) delivery.ReservedDevice {
	answer := delivery.ReservedDevice{Device: d.id.Name, Status: delivery.DeviceExhausted}
	for _, suite := range asked {
		t.eachAvailable(d, suite, lastResort, func(k *keyPackage) bool {
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
		t.eachAvailable(d, suite, lastResort, func(*keyPackage) bool {
			answer.Status, answer.Suites = delivery.DeviceIncompatible, append(answer.Suites, suite)
			return false
		})
	}
	return answer
}

// eachAvailable is eachOnShelf without what has aged, and with lastResort without
// what is no last resort.
func (t *txn) eachAvailable(d *device, suite mls.CipherSuite, lastResort bool, yield func(*keyPackage) bool) {
	t.eachOnShelf(d, suite, func(k *keyPackage) bool {
		if k.rec.StateAt(t.now) != delivery.Available || lastResort && !k.rec.LastResort {
			return true
		}
		return yield(k)
	})
}

func userStatus(target *reserveTarget, devices []delivery.ReservedDevice) delivery.UserReserveStatus {
	served, incompatible := 0, 0
	for _, d := range devices {
		switch d.Status {
		case delivery.DeviceReserved, delivery.DeviceLastResort:
			served++
		case delivery.DeviceIncompatible:
			incompatible++
		}
	}
	switch {
	case !target.known:
		return delivery.UserUnknown
	case served == len(devices):
		return delivery.UserSuccess
	case served > 0:
		return delivery.UserPartial
	case incompatible == len(devices):
		return delivery.UserIncompatible
	}
	return delivery.UserExhausted
}

// An idempotency is what is kept of a reservation so that it can be repeated.
type idempotency struct {
	key     []byte // of its row; nil if the request has no key
	request [sha256.Size]byte
}

func idempotencyRecord(caller delivery.Caller, req delivery.ReserveRequest) idempotency {
	if req.IdempotencyKey == "" {
		return idempotency{}
	}
	key := sha256.Sum256([]byte(caller.ID() + "\x00" + req.IdempotencyKey))
	// Marshalling strings and numbers cannot fail.
	body, _ := json.Marshal(req)
	return idempotency{key: key[:16], request: sha256.Sum256(append(body, caller.Device...))}
}

// repeatedReservation returns the answer that the same request got before.
func (t *txn) repeatedReservation(r idempotency) (*delivery.Reservation, error) {
	if r.key == nil {
		return nil, nil
	}
	row := t.get(bucketIdempotency, r.key)
	if row == nil {
		return nil, nil
	}
	d := decoder(row)
	if due := d.time(); !t.now.Before(due) {
		return nil, nil
	}
	if string(d.bytes()) != string(r.request[:]) {
		return nil, delivery.ErrIdempotencyKeyReused
	}
	answer := decodeReservation(d.bytes())
	if !t.kept(answer) {
		return nil, nil
	}
	return &answer, nil
}

// kept reports whether all that was handed out can be handed out again: an answer
// from a wrong future outlives what is kept of the KeyPackages.
func (t *txn) kept(answer delivery.Reservation) bool {
	for _, u := range answer.Users {
		for _, d := range u.Devices {
			if d.KeyPackage == nil {
				continue
			}
			if _, k := t.refOwner(d.KeyPackage.Ref); k == nil || !k.payload {
				return false
			}
		}
	}
	return true
}

// keepReservation remembers the answer without the bytes.
func (t *txn) keepReservation(r idempotency, answer delivery.Reservation) {
	if r.key == nil {
		return
	}
	t.putReservation(r, t.now.Add(t.limits.IdempotencyKept), answer)
}

func (t *txn) putReservation(r idempotency, due time.Time, answer delivery.Reservation) {
	var e encoder
	e.time(due)
	e.bytes(r.request[:])
	e.bytes(encodeReservation(answer))
	t.put(bucketIdempotency, r.key, e)
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
	return r
}
