package explain

import (
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// Facts is what the store, and the memory of refusals, had at Now about whoever cannot join.
type Facts struct {
	Now    time.Time
	Limits delivery.Limits
	// Trouble is why the server cannot serve anybody; empty if it can.
	Trouble string
	// RestoredAt is when shelves were retired because the store was a copy; zero if
	// never. Unopened: it is one, and no server has opened it.
	RestoredAt time.Time
	Unopened   bool
	// Remembers is since when refusals are remembered; zero: they are not known,
	// because no server was asked.
	Remembers time.Time

	Question
	Devices     []Device // of a user, or the one that was asked about
	MoreDevices int      // left out
	// Own are all devices of the user that exist, and some that were removed.
	Own []delivery.KnownDevice
	// Asked are requests of the user that were refused and were not for a device of
	// theirs: they wanted to add somebody.
	Asked       []Refusal
	KeyPackages []KeyPackage // one, where a ref was asked about
	Welcome     *Welcome     // where one was asked about
}

// A Question says what to explain. One of User, Ref and Object is set.
type Question struct {
	User   delivery.UserID
	Device string            // with User; empty: all
	Ref    mls.KeyPackageRef // or the id of a Welcome, which looks the same
	Object *mls.Welcome      // a Welcome whose bytes are there
}

// A Device is what is known of a device. Known is false if there are only refusals.
type Device struct {
	delivery.DeviceHistory
	Known bool
	// Refused are requests of the device, or of its user for it, that were refused;
	// Strangers those of somebody who could not show to be them.
	Refused, Strangers []Refusal
	// Unmatched are Welcomes that were refused for KeyPackages of the device, and
	// Unserved reservations that got nothing of it.
	Unmatched, Unserved []Refusal
}

// A KeyPackage is what is known of a ref.
type KeyPackage struct {
	Ref   mls.KeyPackageRef
	Known bool
	delivery.KeyPackageHistory
	Owner Device // if it is known
	// Verdict is what the post decided, where it did not match.
	Verdict delivery.Status
	// Unmatched are Welcomes that named it and did not match.
	Unmatched []Refusal
}

// A Welcome is what is known of a Welcome. Posted is false if it was not posted here, or is
// forgotten.
type Welcome struct {
	Posted bool
	delivery.WelcomeHistory
	Recipients []KeyPackage // in the order of secrets[]
	More       int          // left out
}

// CodeFreshWithdrawn is the Code of a sync that withdrew KeyPackages which its device
// had published lately.
const CodeFreshWithdrawn = "fresh_withdrawn"

// A Refusal is something that was refused, once or several times.
type Refusal struct {
	First, Last time.Time
	Count       int
	Who         string // Caller.ID, or the address of who has none; empty: nobody in particular
	Request     string // "POST …/claim"
	Status      int    // 0: it was no error, but not what was wanted
	Code        string
	Item        delivery.ItemCode // of the first KeyPackage of a publication that was refused
	Advice      string            // what whoever was refused can do
	Detail      string            // may have a stranger's words in it
	Ref         mls.KeyPackageRef // if it was about one
}
