package store

// A Kind is a set of rows whose keys have the same form. An engine decides where each kind
// lies.
type Kind struct {
	Code byte   // tells its rows from others in one place
	Name string // of a place of its own
	// Payload: its rows are written in the order of arrival and hardly ever change.
	Payload bool
}

var (
	KindMeta        = &Kind{Code: 'm', Name: "meta"}
	kindKeyPackages = &Kind{Code: 'b', Name: "key_packages", Payload: true}
	kindWelcomes    = &Kind{Code: 'w', Name: "welcomes", Payload: true}

	kindTokens       = &Kind{Code: 'a', Name: "tokens"}
	kindDevices      = &Kind{Code: 'd', Name: "device_rows"}
	kindGone         = &Kind{Code: 'g', Name: "gone"}
	kindWelcomeIDs   = &Kind{Code: 'i', Name: "welcome_ids"}
	kindIdempotency  = &Kind{Code: 'k', Name: "idempotency"}
	kindNames        = &Kind{Code: 'n', Name: "names"}
	kindOwners       = &Kind{Code: 'o', Name: "owners"}
	kindPosted       = &Kind{Code: 'p', Name: "posted"}
	kindRefs         = &Kind{Code: 'r', Name: "refs"}
	kindTimers       = &Kind{Code: 't', Name: "timers"}
	kindReservations = &Kind{Code: 'v', Name: "reservations"}

	kindEvents = &Kind{Code: 'e', Name: "events"}
	kindFeed   = &Kind{Code: 'f', Name: "feed"}
)

// Kinds has all kinds of rows.
var Kinds = [...]*Kind{
	KindMeta, kindKeyPackages, kindWelcomes,
	kindTokens, kindDevices, kindGone, kindWelcomeIDs, kindIdempotency, kindNames, kindOwners, kindPosted, kindRefs, kindTimers,
	kindReservations, kindEvents, kindFeed,
}

// Rows is how a transaction reads and changes the rows of an engine. A key is only valid during
// the call that it is passed to. If something cannot be done, Rows panics with an error, which
// becomes the error of one event.
type Rows interface {
	// Get returns a row that is valid until the next change, nil if there is none.
	Get(k *Kind, key []byte) []byte
	// Scan returns the rows whose keys begin with prefix, in the order of their keys, from
	// a key on. No row of the kind may be changed before the cursor is closed.
	Scan(k *Kind, prefix, from []byte) Cursor
	// Put writes a row, and may keep the value.
	Put(k *Kind, key, value []byte)
	// Delete removes a row, if there is one.
	Delete(k *Kind, key []byte)

	// Next returns a number that is higher than all that were given to transactions which
	// have changed the same device before. Last returns one that is not lower than those
	// and not higher than the next.
	Next() uint64
	Last() uint64
	// Settled returns a number up to which the rows that are seen will not change any more by
	// what others insert: each transaction that was given a number at or below it is seen, or
	// will never commit. It never goes back. With one writer it is the last number that was
	// given to what is seen. With several it is below the first that an open transaction has
	// or may have, of whichever process; a database may know that by a row or a lock for each
	// open transaction, taken before its first number. Where it stays behind what was
	// committed, the engine calls Committed once more when it has caught up.
	Settled() uint64
	// Raise has all numbers that are given from now on be higher than n.
	Raise(n uint64)

	// Totals returns what all transactions that are seen have counted.
	Totals() Totals
}

// A Cursor returns rows one by one.
type Cursor interface {
	// Next returns the next row, which is valid until the next call or change; a nil key
	// is the end.
	Next() (key, value []byte)
	// Close ends it.
	Close()
}
