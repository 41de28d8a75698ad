package delivery

import (
	"errors"
	"fmt"
	"strings"
)

// What a [Store] refuses. Each is matched with errors.Is; the texts are for
// people and may change. A refusal has changed nothing.
var (
	// ErrBadIdentifier: a user or device id is not well-formed.
	ErrBadIdentifier = errors.New("bad identifier")
	// ErrNotFound: there is no such object, or the caller may not know of it.
	ErrNotFound = errors.New("not found")
	// ErrInvalidKeyPackage: an item of a publication is refused. The error is
	// a *[PublishError] that names each item.
	ErrInvalidKeyPackage = errors.New("invalid KeyPackage")
	// ErrKeyPackageSpent: every item of a publication is spent, or an item, of a
	// KeyPackage that has ended,
	// brings other bytes with an init_key that was seen before (RFC 9420 §10).
	// The error is a *[PublishError].
	ErrKeyPackageSpent = errors.New("KeyPackage spent")
	// ErrInitKeyReused: an item brings other bytes with an init_key whose KeyPackage
	// has not ended. The error is a *[PublishError].
	ErrInitKeyReused = errors.New("init_key reused")
	// ErrNotYours: the same bytes were published by another device. The error
	// is a *[PublishError].
	ErrNotYours = errors.New("KeyPackage of another device")
	// ErrStockFull: the publication does not fit on the device's shelf, on all
	// shelves of the user, or beside them. The error is a *[StockFullError] that
	// says how much does.
	ErrStockFull = errors.New("shelf full")
	// ErrDeviceLimit: the user has as many devices as are allowed.
	ErrDeviceLimit = errors.New("too many devices")
	// ErrDeviceRemoved: the credentials are those of a device that was removed
	// after they had been issued.
	ErrDeviceRemoved = errors.New("device removed")
	// ErrTooManyTokens: the owner of a token has as many as are allowed.
	ErrTooManyTokens = errors.New("too many tokens")
	// ErrWrongSuite: a replacement is limited to one cipher suite and an item
	// has another.
	ErrWrongSuite = errors.New("KeyPackage of another cipher suite")
	// ErrConsumed: the KeyPackage is consumed and can no longer be withdrawn.
	ErrConsumed = errors.New("KeyPackage consumed")
	// ErrInventoryChanged: a sync was made against an inventory that has
	// changed since.
	ErrInventoryChanged = errors.New("inventory changed")
	// ErrIdempotencyKeyReused: the key came with another request before.
	ErrIdempotencyKeyReused = errors.New("idempotency key reused with another request")
	// ErrTooMany: a request names more users, devices or recipients than are
	// allowed.
	ErrTooMany = errors.New("too many")
	// ErrBadCursor: what was given as the place of a page is none.
	ErrBadCursor = errors.New("bad cursor")
	// ErrNoMatchingKeyPackage: no recipient of the Welcome (with RequireAll:
	// not every one) has a KeyPackage that can open it. The error is a
	// *[NoMatchError] with the verdict for each recipient.
	ErrNoMatchingKeyPackage = errors.New("no matching KeyPackage")
	// ErrPostedDifferently: the error is a *[PostedDifferentlyError]. This caller posted these bytes before with another
	// hold, require, ratchet tree or context.
	ErrPostedDifferently = errors.New("posted differently before")
	// ErrCancelled: the Welcome was cancelled by its poster.
	ErrCancelled = errors.New("cancelled by its poster")
	// ErrNotDelivered: the device was not given this Welcome yet.
	ErrNotDelivered = errors.New("not delivered yet")
	// ErrDamaged: what the store has kept of it is not what it was given, so it is
	// handed out no more.
	ErrDamaged = errors.New("the store's copy is damaged")
)

// What may go wrong in any method of a [Store].
var (
	// ErrNoCaller: the event has the zero Caller, which has no power. Whoever
	// calls the store has not found out who asks, which is a fault of theirs.
	ErrNoCaller = errors.New("no caller")
	// ErrFull: the disk or the size limit is reached. Nothing was changed. Where it
	// is known which, the error is ErrDiskFull or ErrSizeLimit, which are ErrFull too.
	ErrFull = errors.New("store full")
	// ErrDiskFull: the disk of the store, or a quota on it, has too little room.
	ErrDiskFull = fmt.Errorf("%w: its disk has too little room", ErrFull)
	// ErrSizeLimit: the store has reached the size that its operator allows.
	ErrSizeLimit = fmt.Errorf("%w: it has reached its size limit (--max-size)", ErrFull)
	// ErrOutcomeUnknown: the commit failed half-way, and the store could not find out in
	// the time that the caller gives whether it survives. Repeating the event is safe. A
	// store that can only know it after a restart has failed, see Store.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrUnavailable: the store takes no changes as long as something is wrong
	// with it that can be mended while it runs. Nothing was changed.
	ErrUnavailable = errors.New("store takes no changes")
	// ErrFileGone: the file of the store was removed, renamed or replaced while it
	// was open. It is ErrUnavailable too.
	ErrFileGone = fmt.Errorf("%w: its file was removed, renamed or replaced, and its operator has to put it back", ErrUnavailable)
	// ErrClosed: the store is closing or closed. Nothing was changed.
	ErrClosed = errors.New("store closed")
	// ErrClock: the clock is behind the latest time that the store has seen,
	// or has jumped ahead and is not trusted yet; or it shows a time that cannot
	// be, and what is to be kept would be dated by it. Nothing was changed.
	ErrClock = errors.New("clock not trusted")
)

// An ItemCode says why one KeyPackage of a publication is refused. The codes
// of package mls are used as they are; these are the ones that need a clock, a
// limit or the memory of what was published before.
type ItemCode string

const (
	// ItemExpired: not_after has passed (RFC 9420 §7.3).
	ItemExpired ItemCode = "expired"
	// ItemNotYetValid: not_before is further ahead than clocks may differ.
	ItemNotYetValid ItemCode = "not_yet_valid"
	// ItemLifetimeTooLong: not_after - not_before exceeds the application's
	// maximum (RFC 9420 §7.2).
	ItemLifetimeTooLong ItemCode = "lifetime_too_long"
	// ItemUnsupportedCipherSuite: this server does not accept the suite.
	ItemUnsupportedCipherSuite ItemCode = "unsupported_cipher_suite"
	// ItemWrongSuite: a replacement is for another cipher suite.
	ItemWrongSuite ItemCode = "wrong_suite"
	// ItemInitKeyReused: another KeyPackage of this device had this init_key
	// (RFC 9420 §10).
	ItemInitKeyReused ItemCode = "init_key_reused"
	// ItemSpent: these bytes were published before and their end has come.
	ItemSpent ItemCode = "spent"
	// ItemNotYours: another device published these bytes.
	ItemNotYours ItemCode = "not_yours"
)

// An InvalidItem is one refused KeyPackage of a publication.
type InvalidItem struct {
	Index  int    // in the publication, from 0
	Ref    string // lower-case hex, empty if none could be computed
	Code   ItemCode
	Detail string
}

// A PublishError names the items for which a publication is refused; Err is
// ErrInvalidKeyPackage, ErrWrongSuite, ErrNotYours, ErrInitKeyReused or
// ErrKeyPackageSpent.
type PublishError struct {
	Err   error
	Items []InvalidItem
}

func (e *PublishError) Error() string {
	if len(e.Items) == 0 {
		return e.Err.Error()
	}
	first := e.Items[0]
	return fmt.Sprintf("%v: item %d: %s (%d refused)", e.Err, first.Index, first.Detail, len(e.Items))
}

func (e *PublishError) Unwrap() error { return e.Err }

// A StockFullError says what is full and for how many more KeyPackages there is
// room.
type StockFullError struct {
	Room int
	Full FullPlace
}

func (e *StockFullError) Error() string {
	return fmt.Sprintf("%v: room for %d more %s", ErrStockFull, e.Room, e.Full)
}

func (e *StockFullError) Unwrap() error { return ErrStockFull }

// A FullPlace is where KeyPackages do not fit, as the end of a sentence.
type FullPlace string

const (
	FullShelf   FullPlace = "on the device's shelf"
	FullShelves FullPlace = "on the shelves of all the user's devices"
	// FullRetired: a replacement, a newer last resort or a short lifetime would
	// leave too many that a Welcome may still name. A sync that withdraws some
	// makes room, and so does time.
	FullRetired FullPlace = "beside the shelf: too many are off it and not withdrawn"
)

// A PostedDifferentlyError names what differs from the posting before, in the words
// of the API.
type PostedDifferentlyError struct{ Fields []string }

// PostedDifferently returns a *PostedDifferentlyError for what differs, nil if nothing
// does.
func PostedDifferently(hold, requireAll, tree, context bool) error {
	var fields []string
	for _, f := range []struct {
		name    string
		differs bool
	}{{"hold", hold}, {"require", requireAll}, {"ratchet_tree", tree}, {"context", context}} {
		if f.differs {
			fields = append(fields, f.name)
		}
	}
	if fields == nil {
		return nil
	}
	return &PostedDifferentlyError{fields}
}

func (e *PostedDifferentlyError) Error() string {
	return fmt.Sprintf("%v: with another %s", ErrPostedDifferently, strings.Join(e.Fields, " and another "))
}

func (e *PostedDifferentlyError) Unwrap() error { return ErrPostedDifferently }

// A NoMatchError carries the verdict for each recipient of a refused Welcome.
type NoMatchError struct{ Recipients []Recipient }

func (e *NoMatchError) Error() string { return ErrNoMatchingKeyPackage.Error() }

func (e *NoMatchError) Unwrap() error { return ErrNoMatchingKeyPackage }
