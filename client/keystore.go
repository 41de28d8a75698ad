package client

import (
	"context"
	"time"
)

// A KeyStore is where the application keeps, for one device, the private keys of its
// KeyPackages and the groups that it has joined. Any number of processes may use it, an app
// and its notification extension for example, if each method is one transaction.
//
// A method that cannot read the store returns an error. It never returns less than there
// is: what it leaves out counts as lost.
type KeyStore interface {
	// KeyPackages returns all KeyPackages whose private keys are in the store.
	KeyPackages(ctx context.Context) ([]HeldKeyPackage, error)

	// Make makes KeyPackages with the MLS library and saves them with their private keys.
	// Once it has returned them they survive a crash: from then on they are published. A
	// store whose MLS library makes none of last resort returns none for such an order.
	Make(ctx context.Context, order Order) ([]HeldKeyPackage, error)

	// Delete deletes KeyPackages with their private keys. It ignores refs that are not there.
	Delete(ctx context.Context, refs []string) error

	// Joined reports whether the application has saved a group that it joined with the
	// Welcome of this id. See [Device.Join].
	Joined(ctx context.Context, welcomeID string) (bool, error)
}

// A HeldKeyPackage is a KeyPackage whose private key is in a [KeyStore].
type HeldKeyPackage struct {
	Ref          string // KeyPackageRef in lower-case hexadecimal; the MLS library computes it
	CipherSuite  uint16
	LastResort   bool
	RestoreEpoch string    // of the Order for which it was made
	MadeAt       time.Time // by which [Device] sees how fast KeyPackages are used up
	Bytes        []byte    // what is published; bare or an MLSMessage
}

// An Order asks a [KeyStore] for KeyPackages. Begin the lifetime of each an hour ago, as
// clocks differ, and let it last one to three months.
type Order struct {
	Count        int
	CipherSuite  uint16
	LastResort   bool   // with the extension last_resort
	RestoreEpoch string // to be saved with each
}

// CannotJoin is the error by which [Device.Join] says that the device can never join with a
// Welcome. The adder is told Reason and Detail, and can add the device again.
type CannotJoin struct {
	Reason Reason
	Detail string // of 256 printable characters; what is longer is cut off
}

// Error implements error.
func (e *CannotJoin) Error() string {
	if e.Detail == "" {
		return "cannot join: " + string(e.Reason)
	}
	return "cannot join: " + string(e.Reason) + ", " + e.Detail
}
