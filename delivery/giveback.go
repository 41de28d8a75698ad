package delivery

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"welcomed/mls"
)

// A ReservationID names a reservation for who made it. 0: none.
type ReservationID uint64

// String returns 16 hexadecimal digits.
func (id ReservationID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// ParseReservationID reads what String returns.
func ParseReservationID(text string) (ReservationID, error) {
	id, err := strconv.ParseUint(text, 16, 64)
	if err != nil || len(text) != 16 || id == 0 {
		return 0, fmt.Errorf("%q is not the id of a reservation", text)
	}
	return ReservationID(id), nil
}

// A GiveBackReason says why a KeyPackage was given back.
type GiveBackReason string

// The reasons.
const (
	GivenBackUnused       GiveBackReason = "unused"       // nothing is wrong with it
	GivenBackIncompatible GiveBackReason = "incompatible" // the group cannot have it; never shelved again
	GivenBackInvalid      GiveBackReason = "invalid"      // it is not what it should be; never shelved again
)

// GiveBackReasons lists every reason.
var GiveBackReasons = []GiveBackReason{GivenBackUnused, GivenBackIncompatible, GivenBackInvalid}

// Known reports whether the reason is one of those.
func (r GiveBackReason) Known() bool { return slices.Contains(GiveBackReasons, r) }

// A GiveBackRequest returns what a reservation still holds: of Refs, or all if that is
// nil.
type GiveBackRequest struct {
	Reservation ReservationID
	Refs        []mls.KeyPackageRef
	Reason      GiveBackReason
}

// A GiveBackStatus says what became of a KeyPackage that was to be given back.
type GiveBackStatus string

// The statuses.
const (
	GivenBack          GiveBackStatus = "given_back"  // by this reservation, now or before
	GiveBackLastResort GiveBackStatus = "last_resort" // nothing changes
	GiveBackUsed       GiveBackStatus = "used"        // a Welcome has matched it
	GiveBackEnded      GiveBackStatus = "ended"       // it expired, or its owner took it back
	GiveBackNotHeld    GiveBackStatus = "not_held"    // not by this reservation of this caller
)

// A GivenBackKeyPackage is the answer for one KeyPackage.
type GivenBackKeyPackage struct {
	Ref    mls.KeyPackageRef
	Status GiveBackStatus
}

// A GiveBackResult answers a GiveBackRequest, in the order of its refs. New counts
// those that had not been given back before.
type GiveBackResult struct {
	KeyPackages []GivenBackKeyPackage
	New         int
}

// A Return is when, by whom and why a KeyPackage was given back the last time.
type Return struct {
	Reservation ReservationID // 0: it never was
	By          string        // Caller.ID
	At          time.Time
	Reason      GiveBackReason
}

// A ReturnedKeyPackage is one that was given back, as its owner is told.
type ReturnedKeyPackage struct {
	Ref    mls.KeyPackageRef
	Suite  mls.CipherSuite
	At     time.Time
	Reason GiveBackReason
}

// GiveBackStatus says what becomes of the KeyPackage if caller gives it back from the
// reservation id at sure, a time that is certain. Where that is GivenBack, held reports whether it was not yet.
func (r *KeyPackageRecord) GiveBackStatus(caller Caller, id ReservationID, sure time.Time) (status GiveBackStatus, held bool) {
	switch {
	case r.LastResort && !r.HandedOutAt.IsZero():
		return GiveBackLastResort, false
	case r.Returned.Reservation == id && caller.May(r.Returned.By):
		return GivenBack, false
	case r.Reservation != id || !caller.May(r.ReservedBy):
		return GiveBackNotHeld, false
	}
	switch r.StateAt(sure) {
	case Reserved:
		return GivenBack, true
	case Matched, Consumed:
		return GiveBackUsed, false
	}
	return GiveBackEnded, false
}

// GiveBack ends the reservation. With shelve the KeyPackage is available again, else
// it is retired.
func (r *KeyPackageRecord) GiveBack(l Limits, reason GiveBackReason, shelve bool, now time.Time) {
	r.Returned = Return{Reservation: r.Reservation, By: r.ReservedBy, At: now, Reason: reason}
	r.Reservation, r.ReservedBy, r.ReservedAt, r.Abandoned = 0, "", time.Time{}, false
	if !shelve {
		r.Retire(l, now)
		return
	}
	r.State = Available
	r.MatchableUntil = earlier(r.NotAfter(), r.ShelfUntil.Add(l.RetiredFor))
}

// CountsAsRetired reports whether the KeyPackage counts against what its device may
// leave off the shelf. What others gave back does not: nobody may keep a device from
// publishing.
func (r *KeyPackageRecord) CountsAsRetired() bool {
	return r.State == Retired && r.Returned.Reservation == 0
}
