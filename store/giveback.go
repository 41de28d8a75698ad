package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"welcomed/delivery"
	"welcomed/mls"
)

// reservationTimeBits is how many bits of a reservation's id are from the time that it was
// made; a number is in front of them. The number alone would not do, because a restored file
// gives numbers again.
const reservationTimeBits = 16

// newReservation returns an id. Of two ids the later one is greater.
func (t *Txn) newReservation() delivery.ReservationID {
	return delivery.ReservationID(t.next()<<reservationTimeBits | Millis(t.now)&(1<<reservationTimeBits-1))
}

// madeSince reports whether a reservation was made after the sequence had reached a number.
func madeSince(id delivery.ReservationID, number uint64) bool {
	return uint64(id)>>reservationTimeBits > number
}

// GiveBack implements delivery.Store.
func (s *Store) GiveBack(ctx context.Context, caller delivery.Caller, req delivery.GiveBackRequest) (delivery.GiveBackResult, error) {
	g := &giveBack{caller: caller, req: req}
	err := s.doAs(ctx, caller, &Event{Look: g.look, Run: g.apply})
	return g.answer, err
}

// A giveBack is a GiveBack in progress.
type giveBack struct {
	caller delivery.Caller
	req    delivery.GiveBackRequest
	answer delivery.GiveBackResult
}

func (g *giveBack) look(t *Txn) (changes bool, err error) {
	if n := len(g.req.Refs); n > t.limits.DevicesPerReserve {
		return false, fmt.Errorf("%w: %d refs, at most %d are given back at once", delivery.ErrTooMany, n, t.limits.DevicesPerReserve)
	}
	g.take(t, true)
	return g.answer.New > 0, nil
}

func (g *giveBack) apply(t *Txn) error {
	g.take(t, false)
	return nil
}

// take makes the answer. Unless dry is true, it also gives back what is in it.
func (g *giveBack) take(t *Txn, dry bool) {
	t.aheadOfRefs(g.req.Refs, nil, nil)
	g.answer = delivery.GiveBackResult{}
	if g.req.Refs == nil {
		for _, of := range t.ofReservation(g.req.Reservation) {
			if status := g.takeOne(t, of.d, of.k, dry); status != delivery.GiveBackNotHeld {
				g.answer.KeyPackages = append(g.answer.KeyPackages, delivery.GivenBackKeyPackage{Ref: of.k.rec.Ref, Status: status})
			}
		}
		slices.SortFunc(g.answer.KeyPackages, func(a, b delivery.GivenBackKeyPackage) int {
			return strings.Compare(string(a.Ref), string(b.Ref))
		})
	}
	done := map[mls.KeyPackageRef]delivery.GiveBackStatus{}
	for _, ref := range g.req.Refs {
		status, again := done[ref]
		if !again {
			status = delivery.GiveBackNotHeld
			if d, k := t.refOwner(ref); k != nil {
				status = g.takeOne(t, d, k, dry)
			}
			done[ref] = status
		}
		g.answer.KeyPackages = append(g.answer.KeyPackages, delivery.GivenBackKeyPackage{Ref: ref, Status: status})
	}
}

func (g *giveBack) takeOne(t *Txn, d *device, k *keyPackage, dry bool) delivery.GiveBackStatus {
	status, held := k.rec.GiveBackStatus(g.caller, g.req.Reservation, t.sure)
	if held && d.removed {
		return delivery.GiveBackEnded
	}
	if !held {
		return status
	}
	if g.answer.New++; !dry {
		k.rec.BeforeRestore = k.rec.BeforeRestore || !madeSince(k.rec.Reservation, t.restoredOrder())
		k.rec.GiveBack(*t.limits, g.req.Reason, g.shelve(t, d, k), t.now)
		t.saveKeyPackage(d, k)
	}
	return status
}

// shelve reports whether the KeyPackage goes back to its shelf. A time that may be wrong is no
// reason to keep it off for good.
func (g *giveBack) shelve(t *Txn, d *device, k *keyPackage) bool {
	return g.req.Reason == delivery.GivenBackUnused && t.mayComeBack(d, k) &&
		t.sure.Before(k.rec.ShelfUntil) && t.available(d) < t.limits.KeyPackagesPerDevice
}

// mayComeBack reports whether nothing has retired the shelf since the KeyPackage was
// reserved.
func (t *Txn) mayComeBack(d *device, k *keyPackage) bool {
	return madeSince(k.rec.Reservation, max(d.replaced[k.rec.Suite&7], t.restoredOrder()))
}

// restoredOrder is the number that the sequence had at the last restore.
func (t *Txn) restoredOrder() uint64 {
	if v := t.get(KindMeta, keyRestoredOrder); v != nil {
		return readNumber(v)
	}
	return 0
}

// An ownKeyPackage is a KeyPackage with its device.
type ownKeyPackage struct {
	d *device
	k *keyPackage
}

// ofReservation returns the KeyPackages of a reservation.
func (t *Txn) ofReservation(id delivery.ReservationID) (found []ownKeyPackage) {
	prefix := binary.BigEndian.AppendUint64(nil, uint64(id))
	var rows [][]byte
	for key, row := range t.scan(kindReservations, prefix, nil) {
		rows = append(rows, slices.Concat(key[len(prefix):], row))
	}
	t.ahead(func(w *Wanted) {
		for _, row := range rows {
			if len(row) == 2*numberBytes+1 {
				number := readNumber(row[numberBytes:])
				w.device(number)
				w.keyPackage(number, keyPackageKey{readNumber(row), shelf(row[2*numberBytes])})
			}
		}
	})
	for _, row := range rows {
		if len(row) != 2*numberBytes+1 {
			panic(ErrCorrupt)
		}
		d := t.deviceByNumber(readNumber(row[numberBytes:]))
		if d == nil {
			panic(ErrCorrupt)
		}
		k := t.keyPackage(d, keyPackageKey{readNumber(row), shelf(row[2*numberBytes])})
		if k == nil {
			panic(ErrCorrupt)
		}
		if ids := k.reservations(); slices.Contains(ids[:], id) { // else its device was removed
			found = append(found, ownKeyPackage{d, k})
		}
	}
	return found
}

// reservedBefore reports whether the device has KeyPackages of a suite (0: of any) that are
// reserved or matched and could come back to the shelf. After a replacement of the shelf they
// must not.
func (t *Txn) reservedBefore(d *device, suite mls.CipherSuite) bool {
	if d == nil {
		return false
	}
	for key, row := range t.scan(kindDevices, d.key(rowKeyPackage), nil) {
		k := keyPackageAt(key, row)
		held := k.rec.Reservation != 0 && (k.rec.State == delivery.Reserved || k.rec.State == delivery.Matched)
		if held && (suite == 0 || k.rec.Suite == suite) && t.mayComeBack(d, k) {
			return true
		}
	}
	return false
}

// noteReplaced notes that the shelf of a suite (0: of all suites) was replaced.
func (t *Txn) noteReplaced(d *device, suite mls.CipherSuite) {
	number := t.next()
	for s := range d.replaced {
		if suite == 0 || int(suite) == s {
			d.replaced[s] = number
		}
	}
	t.changed(d)
}
