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

// DefaultLimits returns the documented defaults.
func DefaultLimits() Limits {
	return Limits{
		CipherSuites:          []mls.CipherSuite{1, 2, 3, 4, 5, 6, 7},
		KeyPackagesPerPublish: 100,
		KeyPackagesPerDevice:  500,
		KeyPackagesPerUser:    5000,
		RetiredPerDevice:      20000,
		RetiredPerUser:        40000,
		DevicesPerUser:        50,
		UsersPerReserve:       1000,
		DevicesPerReserve:     5000,
		KeyPackageBytes:       64 << 10,
		WelcomeBytes:          4 << 20,
		ContextBytes:          4 << 10,
		RecipientsPerWelcome:  5000,
		PendingPerDevice:      1000,
		PendingBytesPerDevice: 64 << 20,
		PendingPerPoster:      250,
		PendingBytesPerPoster: 16 << 20,
		OpenPerDevice:         5000,
		LowWatermark:          10,
		TokensPerOwner:        100,

		ShelfAge:           90 * day,
		RetiredFor:         30 * day,
		LifetimeMargin:     day,
		ClockSkew:          day,
		WelcomeKept:        30 * day,
		Redelivery:         14 * day,
		OutcomesKept:       30 * day,
		TombstoneKept:      30 * day,
		TombstoneKeptMost:  400 * day,
		ReservationOverdue: day,
		HoldOverdue:        time.Hour,
		IdempotencyKept:    day,
	}
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
