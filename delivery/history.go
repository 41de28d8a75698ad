package delivery

import (
	"context"
	"time"

	"welcomed/mls"
)

// Histories tell who runs the server what has become of everything. No caller
// comes with the question, and no rule about callers applies: what they tell is
// for nobody else. They read only, and only what is durable.
//
// States are told as everybody is told them: what has had its time ends with the
// next sweep. An answer is bounded by most; how long it takes may grow with what
// the device or the Welcome in question has.
type Histories interface {
	// UserHistory returns the devices of a user by name, those that were removed
	// behind the others for as long as they are remembered. A user of whom nothing
	// is known has none.
	UserHistory(ctx context.Context, user UserID, most int) (UserHistory, error)

	// DeviceHistory returns what is known of a device, also of one that was
	// removed: of its KeyPackages those to which something happened last, of its
	// Welcomes those that wait, and then those posted last. It refuses with
	// ErrNotFound.
	DeviceHistory(ctx context.Context, device DeviceID, most int) (DeviceHistory, error)

	// KeyPackageHistory returns the life of a KeyPackage with the Welcomes that
	// matched it. It refuses with ErrNotFound if nobody has published it here, or
	// if it is forgotten.
	KeyPackageHistory(ctx context.Context, ref mls.KeyPackageRef, most int) (KeyPackageHistory, error)

	// WelcomeHistory returns what became of a Welcome, with the first recipients in
	// the order of secrets[]. The device of each is told if its KeyPackage is known.
	// It refuses with ErrNotFound.
	WelcomeHistory(ctx context.Context, id WelcomeID, most int) (WelcomeHistory, error)
}

// A UserHistory is which devices a user has and had.
type UserHistory struct {
	At      time.Time
	Devices []KnownDevice
	More    int // left out
}

// A KnownDevice is one that exists or is remembered.
type KnownDevice struct {
	Name    string
	Removed bool
	SeenAt  time.Time // as in a DeviceHistory
}

// A DeviceHistory is what is known of a device.
type DeviceHistory struct {
	At        time.Time
	Device    DeviceID
	Removed   bool
	RemovedAt time.Time // last; it may be back since
	// SeenAt is when it last published, claimed or settled something. That it asked
	// and got nothing is noted once a day.
	SeenAt time.Time

	Counts     []SuiteCounts // by suite
	LastResort []LastResort
	Stock      Stock
	// LastResortsOnly: it wants to have nothing but last resorts, see [Stock].
	LastResortsOnly bool

	Pending, Held, Delivered int   // Welcomes, also those left out below
	WaitingBytes             int64 // pending and held, as delivered
	Overdue                  int   // pending although the device has claimed since
	OldestPending            time.Time

	KeyPackages     []KeyPackageRecord
	MoreKeyPackages int // left out
	Welcomes        []RecipientHistory
	MoreWelcomes    int // left out
}

// A KeyPackageHistory is the life of a KeyPackage.
type KeyPackageHistory struct {
	At     time.Time
	Device DeviceID // whose it is
	KeyPackageRecord
	Welcomes     []RecipientHistory // that matched it, as in a DeviceHistory
	MoreWelcomes int
}

// A RecipientHistory is what became of a Welcome for one KeyPackage that it matched.
type RecipientHistory struct {
	RecipientRecord
	ID       WelcomeID
	Ref      mls.KeyPackageRef
	PostedBy string // Caller.ID
	Hold     bool   // was posted with a hold
	Size     int64  // as delivered
	// Overdue: it is pending, and the device has claimed since it could have been
	// given it.
	Overdue bool
}

// A WelcomeHistory is what became of a Welcome.
type WelcomeHistory struct {
	At time.Time
	Outcome
	PostedBy                string // Caller.ID
	Suite                   mls.CipherSuite
	ReleasedAt, CancelledAt time.Time
	More                    int // recipients left out
}

// LastAt is when something happened to the KeyPackage last.
func (r *KeyPackageRecord) LastAt() time.Time {
	return later(later(later(r.PublishedAt, r.ReservedAt), later(r.HandedOutAt, r.EndedAt)), r.Returned.At)
}
