package delivery

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"welcomed/mls"
)

// Limits are what the operator allows and how long things are kept. A store
// and the server in front of it are given the same.
type Limits struct {
	CipherSuites          []mls.CipherSuite // accepted, in the order a reserver without preference gets
	KeyPackagesPerPublish int
	KeyPackagesPerDevice  int // on the shelf, last resort not counted
	KeyPackagesPerUser    int // the same of all devices together
	RetiredPerDevice      int // off the shelf and not reserved, still matchable, last resort counted
	RetiredPerUser        int // the same of all devices together
	DevicesPerUser        int
	UsersPerReserve       int
	DevicesPerReserve     int
	KeyPackageBytes       int
	WelcomeBytes          int // Welcome, ratchet tree and context together
	ContextBytes          int
	RecipientsPerWelcome  int
	PendingPerDevice      int   // held and pending Welcomes
	PendingBytesPerDevice int64 // their sizes as delivered, trees included
	PendingPerPoster      int   // of a device's held and pending ones, those of one other user
	PendingBytesPerPoster int64 // their sizes
	OpenPerDevice         int   // held, pending, and delivered ones that are not settled
	MatchReserved         bool  // Welcomes match only what their posters have reserved
	LowWatermark          int   // a stock below it is low
	TokensPerOwner        int   // of one user, device or service
	HintsPerChannel       int   // that wait to be sent

	ShelfAge           time.Duration // off the shelf after it, whatever not_after says
	RetiredFor         time.Duration // matchable after it left the shelf or was reserved, at most until not_after
	LifetimeMargin     time.Duration // not handed out with less of its lifetime left
	MaxLifetime        time.Duration // not_after - not_before; 0 means any (RFC 9420 §7.2)
	ClockSkew          time.Duration // not_before may be this far ahead
	WelcomeKept        time.Duration // unclaimed, since it was posted
	Redelivery         time.Duration // unacknowledged, since it was first claimed
	OutcomesKept       time.Duration // since the last recipient's end
	TombstoneKept      time.Duration // since the KeyPackage's end, at least
	TombstoneKeptMost  time.Duration // since the KeyPackage's end, at most
	ReservationOverdue time.Duration // a reservation older than this counts as abandoned
	HoldOverdue        time.Duration // a hold older than this counts as overdue
	IdempotencyKept    time.Duration
	ForgetDevicesAfter time.Duration // a device that was not seen for so long is removed; 0: never
}

const day = 24 * time.Hour

const (
	// IdleShown is how long a device was not seen before others are told: they are not
	// to learn when somebody was last online.
	IdleShown = 30 * day
	// IdleApart is how long it was not seen when it is counted apart: what it has left is
	// nothing to act on.
	IdleApart = 90 * day
)

// TooIdle reports whether a device with that IdleSince is left out at sure, where one may be
// idle for less than most; 0: none is left out.
func TooIdle(idleSince, sure time.Time, most time.Duration) bool {
	return most > 0 && !idleSince.IsZero() && !sure.Before(idleSince.Add(most))
}

// IdleSince is when a device was seen last, exact to a day, if that is [IdleShown] ago at
// sure, a time that is certain; else zero.
func IdleSince(seen, sure time.Time) (since time.Time) {
	if day := seen.UTC().Truncate(day); !seen.IsZero() && !sure.Before(day.Add(IdleShown)) {
		since = day
	}
	return since
}

// DefaultLimits returns the documented defaults. Those with a reason beside them are
// the same for everybody, or follow from another one: no flag turns them.
func DefaultLimits() Limits {
	return Limits{
		CipherSuites:          []mls.CipherSuite{1, 2, 3, 4, 5, 6, 7},
		KeyPackagesPerPublish: 100, // a device that has more sends a second request
		KeyPackagesPerDevice:  500,
		KeyPackagesPerUser:    5000,  // see FollowShelf
		RetiredPerDevice:      20000, // see FollowShelf
		RetiredPerUser:        40000, // see FollowShelf
		DevicesPerUser:        50,
		UsersPerReserve:       1000,     // whoever adds more asks again
		DevicesPerReserve:     5000,     // the members of the largest groups that anybody has shown
		KeyPackageBytes:       64 << 10, // one with post-quantum keys has a tenth of it
		WelcomeBytes:          4 << 20,
		ContextBytes:          4 << 10, // a hint for who joins; what is larger belongs into the group
		RecipientsPerWelcome:  5000,    // as DevicesPerReserve
		PendingPerDevice:      1000,
		PendingBytesPerDevice: 64 << 20, // see FollowWelcome
		PendingPerPoster:      250,      // see FollowMailbox
		PendingBytesPerPoster: 16 << 20, // see FollowWelcome
		OpenPerDevice:         5000,     // see FollowMailbox
		LowWatermark:          10,
		TokensPerOwner:        100,     // an owner that needs more forgets to revoke
		HintsPerChannel:       100_000, // some 20 MB, while a back end is down for days

		ShelfAge:           90 * day,
		RetiredFor:         30 * day, // as long as a Welcome waits
		LifetimeMargin:     day,      // an adder may be slow, and a clock wrong
		ClockSkew:          day,      // phones have wrong clocks
		WelcomeKept:        30 * day,
		Redelivery:         14 * day, // a device that got it and lost it is back by then
		OutcomesKept:       30 * day,
		TombstoneKept:      30 * day,  // so that a device that comes back is told that its keys are spent
		TombstoneKeptMost:  400 * day, // a year and a month: clients exist whose lifetimes never end
		ReservationOverdue: day,       // it is counted, and nothing else happens
		HoldOverdue:        time.Hour, // it is counted, and nothing else happens
		IdempotencyKept:    day,       // a client that has not repeated by then begins anew
	}
}

// FollowShelf adapts what follows from KeyPackagesPerDevice: ten full shelves of a
// user, and as many KeyPackages off them as some months leave. No limit comes below
// its default.
func (l *Limits) FollowShelf() {
	d, n := DefaultLimits(), l.KeyPackagesPerDevice
	l.KeyPackagesPerUser = max(d.KeyPackagesPerUser, 10*n)
	l.RetiredPerDevice, l.RetiredPerUser = max(d.RetiredPerDevice, 40*n), max(d.RetiredPerUser, 80*n)
}

// FollowMailbox adapts what follows from PendingPerDevice: a quarter of one poster, so
// that it takes four to fill a mailbox, and five times as many that are not settled,
// because clients exist that never acknowledge.
func (l *Limits) FollowMailbox() {
	l.PendingPerPoster = max(1, l.PendingPerDevice/4)
	l.OpenPerDevice = max(DefaultLimits().OpenPerDevice, 5*l.PendingPerDevice)
}

// FollowWelcome adapts what follows from WelcomeBytes: a mailbox holds 16 of the
// largest, a quarter of them of one poster, and a context fits into a Welcome.
func (l *Limits) FollowWelcome() {
	d := DefaultLimits()
	l.PendingBytesPerDevice = max(d.PendingBytesPerDevice, 16*int64(l.WelcomeBytes))
	l.PendingBytesPerPoster = max(d.PendingBytesPerPoster, 4*int64(l.WelcomeBytes))
	l.ContextBytes = min(d.ContextBytes, l.WelcomeBytes)
}

// Accepted names the cipher suites that are accepted, as the end of a sentence.
func (l Limits) Accepted() string {
	numbers := make([]string, len(l.CipherSuites))
	for i, suite := range l.CipherSuites {
		numbers[i] = strconv.Itoa(int(suite))
	}
	return "accepted are " + strings.Join(numbers, ", ")
}

// Accepts reports whether KeyPackages and Welcomes of suite are accepted.
func (l Limits) Accepts(suite mls.CipherSuite) bool {
	return slices.Contains(l.CipherSuites, suite)
}
