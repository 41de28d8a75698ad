package delivery

import (
	"context"
	"io"
	"time"

	"welcomed/mls"
)

// A Store keeps KeyPackages and Welcomes and decides every event of their
// lives. Package storetest is the suite that every implementation passes.
//
// Each method is one transaction and one decision. When a method that changes
// something returns nil, the change survives a power cut. When it returns one
// of the refusals in errors.go, nothing was changed. [ErrOutcomeUnknown] leaves
// open which of the two; repeating the same event is then safe and gives the
// answer that was lost. A method that reports an earlier effect returns only
// after that effect is durable, and one that changes nothing writes nothing.
//
// There may be one writer or many, in one process or in several that serve one database.
// Every transition is a compare-and-set on the state row of one KeyPackage or of one
// (Welcome, ref), so a KeyPackage never has two takers. Limits on one device are exact.
// Those on a user, a poster or an owner of tokens may be overshot by the number of
// concurrent callers. "Oldest first" and "least recently given first" are so for each
// device, among events of which one had ended before the other began.
//
// The caller comes with every event. Whether it may use a path at all is
// decided in front of the store; the store binds reservations and Welcomes to
// it, and refuses the zero Caller with [ErrNoCaller] before anything else, and one
// whose credentials have outlived their device with [ErrDeviceRemoved]: see
// Caller.Bound. What is returned is the receiver's to keep.
//
// What is handed out is what was published or posted. A store notices when its copy of
// it was damaged, if it is to be handed out at the latest, and then hands out no byte of
// it. A damaged KeyPackage that is available is retired: an adder may have been handed
// good bytes, so that a Welcome for it still matches. A damaged Welcome ends for those
// whom the damage concerns, one recipient or all: it is Damaged for those who were not
// given it, and their KeyPackages become reserved by the poster, or retired where the
// store cannot read who that was; it is Lapsed for those who were given it and have not
// settled it. No damage of one keeps a caller from another.
type Store interface {
	// Publish puts KeyPackages on the device's shelf, all or none. The first
	// publication creates the device. Bytes that this device published before
	// are answered with what became of them and change nothing. After a restore,
	// what may have been handed out before it is retired at once: see [Restore].
	//
	// An item without Bytes is one of what BeforePublish has found: if that is forgotten
	// meanwhile, it is ErrNotFound.
	//
	// It refuses with ErrInvalidKeyPackage, ErrNotYours, ErrInitKeyReused, ErrKeyPackageSpent,
	// ErrStockFull or ErrDeviceLimit.
	Publish(ctx context.Context, caller Caller, device DeviceID, items []NewKeyPackage) (Publications, error)

	// BeforePublish returns which of refs this device has published before. What is
	// known is not checked and charged again. It does not wait for what is on its way to
	// the disk.
	BeforePublish(ctx context.Context, caller Caller, device DeviceID, refs []mls.KeyPackageRef) (known map[mls.KeyPackageRef]bool, err error)

	// Replace retires what is on the device's shelf (of one cipher suite if
	// suite is not zero) and publishes items, in one transaction. Bytes in both
	// sets stay on the shelf. It refuses as Publish does; then nothing was
	// retired.
	Replace(ctx context.Context, caller Caller, device DeviceID, suite mls.CipherSuite, items []NewKeyPackage) (Publications, error)

	// Inventory returns what the device has here. A device that does not exist
	// has an empty inventory.
	Inventory(ctx context.Context, caller Caller, device DeviceID) (Inventory, error)

	// Sync withdraws every KeyPackage of the device whose ref is not in refs,
	// except those that a claim has consumed: their Welcome may have to be
	// delivered again. It refuses with ErrInventoryChanged unless the digest of
	// the inventory is digest. Pending Welcomes of withdrawn KeyPackages end. A sync
	// that withdraws very many may do so in several transactions; a crash between two
	// of them leaves the rest to the next sync.
	Sync(ctx context.Context, caller Caller, device DeviceID, digest Digest, refs []mls.KeyPackageRef) (SyncResult, error)

	// Withdraw ends a KeyPackage, and with it the Welcomes that wait for it. It
	// refuses with ErrNotFound or ErrConsumed; one that has ended otherwise
	// stays as it is.
	Withdraw(ctx context.Context, caller Caller, device DeviceID, ref mls.KeyPackageRef) error

	// Give makes device the owner of a KeyPackage that another device has published
	// first, as may happen after a restore. It is retired: a new Welcome for it is
	// matched. The Welcomes that were posted for the other device end. It refuses with
	// ErrNotFound; repeating it succeeds. Who may do this is decided in front of the
	// store.
	Give(ctx context.Context, caller Caller, device DeviceID, ref mls.KeyPackageRef) error

	// Devices returns the user's devices by name.
	Devices(ctx context.Context, caller Caller, user UserID) ([]DeviceInfo, error)

	// RemoveDevice withdraws all KeyPackages of the device, ends its Welcomes
	// and revokes its tokens. Removing one that does not exist succeeds. With its own
	// credentials from before its removal that changes nothing. A device
	// that is made again under that id is another: it settles nothing that the first
	// one was given, and what that one has published stays spent.
	RemoveDevice(ctx context.Context, caller Caller, device DeviceID) error

	// RemoveUser removes all devices of the user and revokes all tokens of the
	// user, in one transaction.
	RemoveUser(ctx context.Context, caller Caller, user UserID) error

	// List returns a page of the KeyPackages that can be handed out now, by
	// device, cipher suite and age, last-resort ones behind the others of their
	// suite. It reserves nothing.
	List(ctx context.Context, caller Caller, user UserID, opts ListOptions) (Listing, error)

	// Reserve hands one KeyPackage of each device to the caller, in one
	// transaction: the oldest, and a last-resort one only where nothing else is
	// left. Nobody else is ever handed one of these unless it is given back, except
	// last-resort ones. One that is damaged is passed over.
	// With an idempotency key a repeated request returns the same ones for
	// IdempotencyKept; another request with that key is ErrIdempotencyKeyReused.
	// More devices than allowed are ErrTooMany, and so are KeyPackages of more
	// bytes than the request allows; then nothing was reserved.
	Reserve(ctx context.Context, caller Caller, req ReserveRequest) (Reservation, error)

	// BeforeReserve returns what is known of a reservation before it is made. It
	// refuses as Reserve does. A repeated answer is durable; for the rest it does
	// not wait for what is on its way to the disk.
	BeforeReserve(ctx context.Context, caller Caller, req ReserveRequest) (ReserveLook, error)

	// GiveBack returns KeyPackages that a reservation of the caller still holds and that
	// no Welcome has matched. Such a KeyPackage goes back to its shelf, behind the
	// others. It is retired instead if the shelf was replaced, restored or is full
	// since, if it is too old for the shelf, or with the reasons GivenBackIncompatible
	// and GivenBackInvalid. Last-resort ones stay as they are. Repeating it gives the
	// same answer. More refs than DevicesPerReserve are ErrTooMany.
	GiveBack(ctx context.Context, caller Caller, req GiveBackRequest) (GiveBackResult, error)

	// Post decides for each recipient of a Welcome whether it matches a
	// KeyPackage, and keeps the Welcome for those; from then on no other
	// Welcome matches these KeyPackages, except last-resort ones. Posting the
	// same again decides nothing again. It refuses with
	// ErrNoMatchingKeyPackage, ErrPostedDifferently, ErrCancelled or
	// ErrTooMany. Devices that wait are woken after the commit.
	Post(ctx context.Context, caller Caller, p Posting) (Outcome, error)

	// BeforePost returns what is known of a Welcome with this id and these
	// recipients before it is posted. It does not wait for what is on its way to
	// the disk.
	BeforePost(ctx context.Context, caller Caller, id WelcomeID, refs []mls.KeyPackageRef) (PostLook, error)

	// Outcome returns what became of a Welcome. One of another caller is
	// ErrNotFound, here and in Release and Cancel.
	Outcome(ctx context.Context, caller Caller, id WelcomeID) (Outcome, error)

	// Release ends the hold of a Welcome and wakes the devices that wait. It
	// refuses with ErrCancelled; a Welcome that is not held stays as it is.
	Release(ctx context.Context, caller Caller, id WelcomeID) (Outcome, error)

	// Cancel ends a Welcome for the recipients that have not been given it.
	// Their KeyPackages become reserved by the poster.
	Cancel(ctx context.Context, caller Caller, id WelcomeID) (Outcome, error)

	// Claim gives device the Welcomes that wait for it, new ones first, oldest
	// first. For each it consumes the KeyPackage that the Welcome names, in the
	// same transaction: once Claim returns nil, both survive a power cut and no
	// other call will match either. Welcomes claimed earlier and not settled
	// are returned again, least recently given first.
	Claim(ctx context.Context, caller Caller, device DeviceID, opts ClaimOptions) (ClaimResult, error)

	// Watch returns a channel that receives after each commit of this process that
	// may have given device a new Welcome, has removed it, or has revoked a token of
	// exactly owner (zero: nobody's), and within a few seconds after one of another
	// process. It may receive without a reason, and does not when a token expires. To wait without
	// missing anything: Watch, then Claim, then receive and look at everything
	// again. The channel is never closed; stop ends the watch.
	Watch(device DeviceID, owner TokenOwner) (wake <-chan struct{}, stop func())

	// Events returns a page of events. They are durable, and in an order that is the same for
	// every reader: events of one device are in the order of what they tell, others as
	// their transactions have numbered them. Nothing is ever told in front of a place that a
	// reader has read to: where several transactions write at a time, what is behind one
	// that has not ended waits for it. What is missing is said, see EventGap. Of a user who
	// was removed it tells nothing of before. It refuses with ErrBadCursor.
	//
	// No event is lost or told twice between catching up and going live: WatchEvents, then
	// read pages until More is false, then receive and read on from Next.
	Events(ctx context.Context, caller Caller, q EventQuery) (EventPage, error)

	// WatchEvents returns a channel that receives after each commit of this process that may
	// have added an event for a reader of user (empty: of all users), and when one can be
	// read that had to wait for another transaction; and within a few seconds after one of
	// another process. It also receives what Watch does of the removal of device, if its
	// name is not empty, and of the tokens of owner. It may receive without a reason. The
	// channel is never closed; stop ends the watch.
	WatchEvents(user UserID, device string, owner TokenOwner) (wake <-chan struct{}, stop func())

	// RatchetTree returns the ratchet tree that was posted with a Welcome that
	// device was given. It refuses with ErrNotFound, ErrNotDelivered or ErrDamaged.
	RatchetTree(ctx context.Context, caller Caller, device DeviceID, id WelcomeID) ([]byte, error)

	// Acknowledge settles a delivered Welcome: device has joined. With an empty
	// ref it settles all that were delivered to the device in that Welcome. It
	// is final and wins over a rejection. It refuses with ErrNotFound or
	// ErrNotDelivered; repeating it succeeds.
	Acknowledge(ctx context.Context, caller Caller, device DeviceID, id WelcomeID, ref mls.KeyPackageRef) error

	// Reject settles a delivered Welcome: device could not join. It refuses as
	// Acknowledge does; repeating it, or rejecting after an acknowledgement,
	// changes nothing. It returns how many recipients it has settled.
	// ReasonNoMatchingKeyPackage withdraws a last-resort KeyPackage.
	Reject(ctx context.Context, caller Caller, device DeviceID, id WelcomeID, ref mls.KeyPackageRef, reason Reason, detail string) (settled int, err error)

	// KeyPackage returns what became of a KeyPackage. ErrNotFound unless the
	// caller owns it, reserved it, or posted the Welcome that it matched.
	KeyPackage(ctx context.Context, caller Caller, ref mls.KeyPackageRef) (KeyPackageStatus, error)

	// AddToken keeps a token, whose CreatedAt it sets. It refuses with
	// ErrBadIdentifier if its owner is not well-formed, so that no token is for
	// everybody, and with ErrTooManyTokens if its owner has as many as are
	// allowed.
	AddToken(ctx context.Context, t Token) (Token, error)

	// Token returns the token with that id. One whose end has come only by a clock
	// that is not trusted is ErrClock. One that was revoked or has expired is
	// ErrNotFound, from the moment that RevokeToken, RemoveDevice or
	// RemoveUser has returned. It does not wait for what is on its way to the
	// disk: a secret is given out after its token is durable.
	Token(ctx context.Context, id string) (Token, error)

	// Tokens returns the tokens within an owner, by owner and age.
	Tokens(ctx context.Context, within TokenOwner) ([]Token, error)

	// RevokeToken ends a token within an owner; it refuses with ErrNotFound. What
	// was revoked, and what RemoveDevice and RemoveUser have removed, stays so when
	// the store is put back to a backup, unless the record of it is lost too.
	RevokeToken(ctx context.Context, within TokenOwner, id string) error

	// Sweep ends what has had its time, in batches of one transaction each, and
	// forgets what has ended long ago. It removes devices that were not seen for
	// ForgetDevicesAfter and need no private key any more; of very many it looks at
	// some. It counts apart those that were not seen for [IdleApart].
	// It refuses with ErrClock while the clock
	// cannot be trusted. It returns what this call has ended; another process may sweep
	// at the same time.
	Sweep(ctx context.Context) (SweepResult, error)

	// Stats returns what the store holds. Its cost does not grow with that.
	Stats(ctx context.Context) (Stats, error)

	// Histories are for who runs the server.
	Histories

	// Hints wait for who sends them.
	Hints

	// Ready returns nil if the store can serve, ErrClock if the clock is
	// behind, or what else is wrong. It asks the disk or the database.
	Ready(ctx context.Context) error

	// Time is one look at the clock by which the store goes.
	Time() ClockReading

	// Failed is closed when the store cannot go on (see ErrOutcomeUnknown); the
	// process has to stop, and Close returns why.
	Failed() <-chan struct{}

	// Close waits for the events under way and closes the store. Later calls
	// return ErrClosed.
	io.Closer
}

// A PublishedStatus says what a publication did with one item.
type PublishedStatus string

const (
	Stored        PublishedStatus = "stored"         // now on the shelf
	AlreadyStored PublishedStatus = "already_stored" // published before, a Welcome may still name it
	Spent         PublishedStatus = "spent"          // published before, its end has come
	// NotAfterRestore: kept and matched, but never handed out, because it may have
	// been handed out before the store was restored. Its device makes new ones.
	NotAfterRestore PublishedStatus = "not_after_restore"
	// NotYetValid: now on the shelf, and handed out from UsableFrom on.
	NotYetValid PublishedStatus = "not_yet_valid"
	// TooShortLived: now kept off the shelf and never handed out, because it has too
	// little of its lifetime left, or will have when that begins.
	TooShortLived PublishedStatus = "too_short_lived"
	// Superseded: now kept off the shelf, because a newer last resort of its suite came
	// in the same publication.
	Superseded PublishedStatus = "superseded"
)

// A Published is the answer for one item of a publication.
type Published struct {
	Ref        mls.KeyPackageRef
	Suite      mls.CipherSuite
	LastResort bool
	Lifetime   mls.Lifetime
	ExpiresAt  time.Time // off the shelf at the latest
	UsableFrom time.Time // when its lifetime begins, if it is on the shelf until then; else zero
	Status     PublishedStatus
	New        bool // this publication stored it, whatever the status says of it
}

// Publications answers a publication, in the order of its items.
type Publications struct {
	Items []Published
	Stock Stock
	// RestoreEpoch is that of the store, see [Restore].
	RestoreEpoch string
}

// A Stock is what a device has left to be handed out, last resort not counted.
//
// A device that wants to have nothing but last resorts says so by its first publication,
// or by a Replace of all suites, in which there is nothing else; it is such a device
// until it publishes others.
type Stock struct {
	Available int
	// NotYetValid are on the shelf as well, and can be handed out once their lifetimes
	// begin.
	NotYetValid int
	// Low: both together are below the low watermark. A device whose clock is ahead
	// need not publish more and more. After a day, one that wants to have nothing but
	// last resorts is low only if it has none on its shelf.
	Low  bool
	Room int // how many more the shelf takes, as told to who publishes; else 0
}

// A Digest is the SHA-256 over the raw refs of an inventory, sorted bytewise
// and concatenated.
type Digest [32]byte

// SuiteCounts counts a device's KeyPackages of one cipher suite by state.
// Available are those that can be handed out now; NotYetValid are in the same state,
// and their lifetimes have not begun. Delivered are the consumed ones whose Welcome is
// not settled.
type SuiteCounts struct {
	Suite                                                         mls.CipherSuite
	Available, NotYetValid, Reserved, Retired, Matched, Delivered int
}

// A LastResort is a last-resort KeyPackage on the shelf.
type LastResort struct {
	Ref         mls.KeyPackageRef
	Suite       mls.CipherSuite
	HandedOutAt time.Time // zero if never; the owner should rotate it
	UsableFrom  time.Time // when its lifetime begins, if it has not; else zero
}

// An Inventory is what a device has here.
type Inventory struct {
	Counts     []SuiteCounts // by suite
	LastResort []LastResort
	// Refs are those whose private key the device still needs, sorted bytewise.
	Refs   []mls.KeyPackageRef
	Digest Digest
	// GivenBack are those of Refs that were given back the last time they were
	// reserved, by ref.
	GivenBack []ReturnedKeyPackage
	// RestoreEpoch is that of the store, see [Restore].
	RestoreEpoch string
}

// A SyncResult says what a sync did. Unknown refs should be published, the
// private keys of spent ones may go. Digest is that of the inventory after it.
type SyncResult struct {
	Withdrawn, Unknown, Spent []mls.KeyPackageRef
	// Fresh is how many of Withdrawn were on the shelf and had been published less than
	// FreshFor ago. A device that has lost its keys withdraws these once. Two
	// installations under one device id do so again and again: each withdraws what the
	// other has published.
	Fresh  int
	Digest Digest
}

// A DeviceInfo is what a user sees of a device. SeenAt is exact to a day.
type DeviceInfo struct {
	Device string
	SeenAt time.Time
	// IdleSince is the day at which it was seen last, if that is [IdleShown] ago; else zero.
	IdleSince time.Time
	Counts    []SuiteCounts
	Pending   int // Welcomes that wait, held ones not counted
}

// ListOptions narrow and page a listing.
type ListOptions struct {
	Suites  []mls.CipherSuite // none: all
	Devices []string          // none: all
	Limit   int               // KeyPackages; 0: any number
	Bytes   int               // of KeyPackages; at least one is returned; 0: any
	After   string            // Next of the page before
	// LastResortOnly leaves out what can be used up.
	LastResortOnly bool
}

// A ListedKeyPackage is one that can be handed out.
type ListedKeyPackage struct {
	Ref        mls.KeyPackageRef
	Suite      mls.CipherSuite
	LastResort bool
	Lifetime   mls.Lifetime
	ExpiresAt  time.Time
	Bytes      []byte // bare
}

// A DeviceListing is the part of a page that belongs to one device.
type DeviceListing struct {
	Device      string
	KeyPackages []ListedKeyPackage
}

// A Listing is a page of a user's KeyPackages. Next is empty on the last page.
type Listing struct {
	Devices []DeviceListing
	Next    string
}

// A ReserveRequest asks for one KeyPackage of each device of Users and of each
// of Devices, except those in Except and the calling device.
type ReserveRequest struct {
	Users          []UserID
	Devices        []DeviceID
	Except         []DeviceID
	Suites         []mls.CipherSuite // by preference; none: what the server accepts; others are passed over
	IdempotencyKey string
	// MaxIdle leaves out devices that were not seen for so long; 0: none. Less than
	// [IdleShown] is as much as that.
	MaxIdle time.Duration
	// LastResortOnly are those of whom nothing is handed out that can be used
	// up. It is no part of what a repeated request has to have in common with
	// the first.
	LastResortOnly []UserID
	// Bytes of KeyPackages in the answer, or one; 0: any. No part of it either.
	Bytes int
}

// A UserReserveStatus sums up the devices of a user, as in MIMI's
// KeyMaterialUserCode. Those that are left out because they are idle do not count.
type UserReserveStatus string

const (
	UserSuccess      UserReserveStatus = "success"
	UserPartial      UserReserveStatus = "partial"
	UserExhausted    UserReserveStatus = "exhausted"
	UserIncompatible UserReserveStatus = "incompatible"
	UserUnknown      UserReserveStatus = "unknown_user"
	// UserLeftOut: nothing was asked of the user. Each device of theirs is excepted, idle or
	// the one that asks.
	UserLeftOut UserReserveStatus = "left_out"
)

// A DeviceReserveStatus says what a reservation got from one device.
type DeviceReserveStatus string

const (
	DeviceReserved   DeviceReserveStatus = "reserved"
	DeviceLastResort DeviceReserveStatus = "last_resort"
	// DeviceExhausted: the device has nothing on its shelf.
	DeviceExhausted DeviceReserveStatus = "exhausted"
	// DeviceNotYetValid: the device has KeyPackages of a suite that was asked for,
	// and the lifetime of none has begun.
	DeviceNotYetValid DeviceReserveStatus = "not_yet_valid"
	// DeviceIncompatible: the device has only KeyPackages of other suites.
	DeviceIncompatible DeviceReserveStatus = "incompatible"
	// DeviceUnknown: the device was named, and was removed or never published.
	DeviceUnknown DeviceReserveStatus = "unknown_device"
	// DeviceGivenBack: a repeated request was handed a KeyPackage the first time and has
	// given it back since, so that somebody else may hold it; or Give has given it to
	// another device.
	DeviceGivenBack DeviceReserveStatus = "given_back"
	// DeviceIdle: the device was not seen for MaxIdle, so it is left out.
	DeviceIdle DeviceReserveStatus = "idle"
	// DeviceDamaged: a repeated request was handed a KeyPackage the first time, and the
	// store's copy of it is damaged by now. Whoever has the first answer may use it.
	DeviceDamaged DeviceReserveStatus = "damaged"
)

// DeviceReserveStatuses lists every status.
var DeviceReserveStatuses = []DeviceReserveStatus{
	DeviceReserved, DeviceLastResort, DeviceExhausted, DeviceNotYetValid, DeviceIncompatible, DeviceUnknown, DeviceGivenBack, DeviceIdle,
	DeviceDamaged,
}

// A ReservedDevice is the answer for one device. KeyPackage is nil unless
// something was reserved.
type ReservedDevice struct {
	Device     string
	Status     DeviceReserveStatus
	KeyPackage *ListedKeyPackage
	// Suites are what an incompatible device has on its shelf, in their order.
	Suites []mls.CipherSuite
	// UsableFrom is when the first KeyPackage of a DeviceNotYetValid becomes valid.
	UsableFrom time.Time
	// IdleSince is the day at which the device was seen last, if that is [IdleShown] ago;
	// else zero.
	IdleSince time.Time
}

// A ReservedUser is the answer for one user.
type ReservedUser struct {
	User    UserID
	Status  UserReserveStatus
	Devices []ReservedDevice
}

// A Reservation answers a ReserveRequest with KeyPackages of one suite.
type Reservation struct {
	ID       ReservationID   // 0 if there is nothing that could be given back
	Suite    mls.CipherSuite // 0 if nothing was reserved
	Users    []ReservedUser  // in the order of the request
	Repeated bool            // a retry: this is the first answer again
}

// A ReserveLook is what is known of a reservation before it is made.
type ReserveLook struct {
	// Repeated is the answer that the same request got before; nil if it got none.
	Repeated *Reservation
	// Devices is how many devices there are of each user of whom one is asked for.
	Devices map[UserID]int
}

// A PostLook is what is known of a Welcome before it is posted.
type PostLook struct {
	Posted bool    // by this caller, some time
	Owners []Owner // of the recipients that are known here, in no order
}

// An Owner is whose a KeyPackage is.
type Owner struct {
	Device     DeviceID
	Reserved   bool // by the caller who asks, some time
	LastResort bool
}

// A Posting is a Welcome to be posted.
type Posting struct {
	Welcome     *mls.Welcome // verified with its Verify
	RatchetTree []byte       // nil if none
	Context     []byte       // nil if none
	Hold        bool
	RequireAll  bool
	DryRun      bool // decide, keep nothing
}

// An Outcome is what became of a Welcome, for its poster.
type Outcome struct {
	ID         WelcomeID
	PostedAt   time.Time
	Hold       bool // was posted with a hold
	RequireAll bool
	Repeated   bool // Post: these bytes had been posted before
	Cancelled  bool
	Recipients []Recipient // in the order of secrets[]
}

// ClaimOptions narrow a claim.
type ClaimOptions struct {
	// Refs limits the claim to Welcomes for these KeyPackages: the device says
	// that it holds no other private key. nil means no filter.
	Refs  []mls.KeyPackageRef
	Skip  []WelcomeID // those in hand
	Max   int         // Welcomes; 0: any number
	Bytes int         // of Welcomes; one is returned however large it is; 0: any
	// NewOnly: nothing is returned again, and nothing changes, unless there is
	// something that the device was not given before.
	NewOnly bool
	// Room is asked before about so many bytes are read; nil: there is room. If it
	// refuses, its error is returned, and nothing has changed.
	Room func(bytes int) error
}

// A Delivery is a Welcome as one device gets it.
type Delivery struct {
	ID              WelcomeID
	Ref             mls.KeyPackageRef
	Welcome         []byte // bare, sliced to this recipient
	PostedBy        UserID // empty if not posted by a user
	PostedAt        time.Time
	Context         []byte
	RatchetTree     []byte // nil if larger than TreeInline
	RatchetTreeSize int
	Redelivered     bool
	// RedeliveredUntil is when it ends to be delivered again, if it is not settled before.
	RedeliveredUntil time.Time
}

// TreeInline is the largest ratchet tree that comes with a Delivery, in bytes.
const TreeInline = 64 << 10

// An Unsettled names what a device was given and has not settled.
type Unsettled struct {
	ID  WelcomeID
	Ref mls.KeyPackageRef
}

// A ClaimResult answers a claim.
type ClaimResult struct {
	Deliveries []Delivery
	More       bool // another claim would return others
	Withheld   int  // left out because their ref is not in Refs
	// NewlyWithheld counts those of Withheld that were noted as such by this claim. A
	// claim notes only so many; the next one notes others.
	NewlyWithheld int
	Stock         Stock
	// Unsettled are those that would have been returned without NewOnly, in that
	// order; none if there are Deliveries.
	Unsettled []Unsettled
	// Exists: the device has published something and was not removed since.
	Exists bool
}

// New reports whether a Welcome is among the deliveries that the device has
// not been given before.
func (r ClaimResult) New() bool {
	for _, d := range r.Deliveries {
		if !d.Redelivered {
			return true
		}
	}
	return false
}

// A KeyPackageStatus is what became of a KeyPackage. Zero times have not come.
type KeyPackageStatus struct {
	Ref         mls.KeyPackageRef
	Device      DeviceID
	Suite       mls.CipherSuite
	LastResort  bool
	State       KeyPackageState
	Lifetime    mls.Lifetime
	PublishedAt time.Time
	ReservedAt  time.Time
	HandedOutAt time.Time
	UsableFrom  time.Time // when its lifetime begins, if it is on the shelf until then
	EndedAt     time.Time
	// Welcome matched it last. Set for its owner and for that Welcome's poster.
	Welcome *WelcomeID
}

// A SweepResult counts what a sweep did.
type SweepResult struct {
	Retired             int // KeyPackages off the shelf
	Expired             int // KeyPackages
	Abandoned           int // reservations nobody used in time
	ExpiredUnclaimed    int // recipients whose Welcome was never claimed
	Lapsed              int // recipients that never settled
	ForgottenWelcomes   int
	ForgottenKeyPackage int // tombstones
	ForgottenDevices    int // removed, as they did not come back
	ForgottenEvents     int
	AbandonedHints      int // nobody has taken them
}

// Add adds what another sweep has done.
func (r *SweepResult) Add(o SweepResult) {
	r.Retired += o.Retired
	r.Expired += o.Expired
	r.Abandoned += o.Abandoned
	r.ExpiredUnclaimed += o.ExpiredUnclaimed
	r.Lapsed += o.Lapsed
	r.ForgottenWelcomes += o.ForgottenWelcomes
	r.ForgottenKeyPackage += o.ForgottenKeyPackage
	r.ForgottenDevices += o.ForgottenDevices
	r.ForgottenEvents += o.ForgottenEvents
	r.AbandonedHints += o.AbandonedHints
}

// Stats are what the database holds, whichever process is asked. Counts are of rows as written: what has had
// its time, or was of a device that was removed, is counted where it was until it is
// swept.
type Stats struct {
	KeyPackages  map[KeyPackageState]int
	Welcomes     map[WelcomeState]int // recipients
	DevicesOK    int
	DevicesLow   int
	DevicesEmpty int
	// Those above go by what can be handed out. What was not yet valid when it was
	// published counts, here and in Shelves, from the sweep on that finds it valid.
	//
	// DevicesLastResort want to have nothing but last resorts, see [Stock], and have one.
	DevicesLastResort int
	// DevicesIdle were not seen for [IdleApart], as the last sweep found. They are in none
	// of the other counts of devices.
	DevicesIdle   int
	Overdue       int       // pending although the device has claimed since
	HoldsOverdue  int       // Welcomes held for longer than HoldOverdue
	OldestPending time.Time // when it was posted; zero if none is pending
	UsedBytes     int64
	FreeBytes     int64 // inside the file, reusable; 0 where there is no file
	LimitBytes    int64 // 0: none
	OpenReads     int   // read transactions of this process

	// Shelves is what could be handed out, by suite; suites that have nothing on
	// a shelf are left out.
	Shelves map[mls.CipherSuite]Shelf
	// Hints is how many hints wait or are being sent, of each channel that has some.
	Hints map[HintChannel]int
	// SoonestEnd is when the next KeyPackage leaves its shelf because of its age or
	// its lifetime, last-resort ones counted; zero if there is none.
	SoonestEnd time.Time
	RestoredAt time.Time // when shelves were retired because the store was a copy; zero if never
	BackedUpAt time.Time // when the last backup was known to be safe; zero if never
	// DiskFreeBytes is what the file system of the store has left for this user;
	// -1 if that is not known.
	DiskFreeBytes int64
}

// A Shelf counts the KeyPackages of one cipher suite on all shelves.
type Shelf struct {
	Available  int // last-resort ones not counted
	LastResort int
}
