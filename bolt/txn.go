package bolt

import (
	"bytes"
	"iter"
	"time"

	"welcomed/delivery"
)

// A txn is one transaction with the rows of this format on top. Events that share a
// commit share it.
type txn struct {
	rows    Rows
	key     []byte // a key on its way to the rows
	store   *decisions
	limits  *delivery.Limits
	raw     bool      // rows of devices that are gone are read as they are written
	now     time.Time // what happens is dated by it; never before sure
	sure    time.Time // has come for certain: only by it does anything end
	clock   delivery.ClockReading
	seen    time.Time             // the latest time that was seen before this transaction
	given   uint64                // the last number that was given before it
	counted Totals                // by how much it changes them
	writes  int                   // rows written so far
	reads   int                   // rows looked up or scanned so far
	passed  int                   // rows that could not be read and were passed over
	devices map[uint64]*device    // loaded, written back by flush
	woken   []delivery.DeviceID   // may have a new Welcome, or were removed
	revoked []delivery.TokenOwner // some of whose tokens are gone
}

// begin makes t a transaction over rows, at a time that is read from a clock. seen is the
// latest time that was seen before.
func (s *decisions) begin(t *txn, rows Rows, clock delivery.ClockReading, seen time.Time) {
	t.rows, t.store, t.limits, t.clock, t.seen, t.given = rows, s, &s.limits, clock, seen, rows.Last()
	t.now, t.sure = clock.Now.UTC().Truncate(time.Millisecond), clock.Sure.UTC().Truncate(time.Millisecond)
}

// get returns a value that is valid until the next write. nil if there is none.
func (t *txn) get(k *Kind, key []byte) []byte {
	t.reads++
	t.key = append(t.key[:0], key...) // so that the caller's does not escape
	return t.rows.Get(k, t.key)
}

// put and del panic on what only a bug can cause; (*txn).run catches it.
func (t *txn) put(k *Kind, key, value []byte) {
	t.writes++
	t.key = append(t.key[:0], key...)
	t.rows.Put(k, t.key, value)
}

func (t *txn) del(k *Kind, key []byte) {
	t.writes++
	t.key = append(t.key[:0], key...)
	t.rows.Delete(k, t.key)
}

// scan yields the rows whose keys begin with prefix, from the key start on.
// Nothing of the kind may be written meanwhile: a cursor that is written
// under skips rows.
func (t *txn) scan(k *Kind, prefix, start []byte) iter.Seq2[[]byte, []byte] {
	from := prefix
	if bytes.Compare(start, prefix) > 0 {
		from = start
	}
	return func(yield func(k, v []byte) bool) {
		c := t.cursor(k, prefix, from)
		defer c.Close()
		for key, value := c.Next(); key != nil; key, value = c.Next() {
			if t.reads++; !yield(key, value) {
				return
			}
		}
	}
}

func (t *txn) cursor(k *Kind, prefix, from []byte) Cursor {
	t.key = append(append(t.key[:0], prefix...), from...)
	return t.rows.Scan(k, t.key[:len(prefix)], t.key[len(prefix):])
}

// keys collects the keys that begin with prefix, at most most of them (0: all).
func (t *txn) keys(k *Kind, prefix []byte, most int) [][]byte {
	var keys [][]byte
	for key := range t.scan(k, prefix, nil) {
		keys = append(keys, bytes.Clone(key))
		if len(keys) == most {
			break
		}
	}
	return keys
}

// next returns the next number of the sequence, from 1.
func (t *txn) next() uint64 { return t.rows.Next() }

// raise has the numbers that are given from now on be higher than n.
func (t *txn) raise(n uint64) {
	if t.rows.Last() < n {
		t.rows.Raise(n)
		t.writes++
	}
}

// flush writes what was kept in memory during the transaction.
func (t *txn) flush() {
	for _, d := range t.devices {
		t.flushDevice(d)
	}
}

var (
	keyRestored = []byte("restored")
	// keyRestoredAt is when it was gone the last time.
	keyRestoredAt = []byte("restored_at")
	// keyRestoredOrder is the number that the sequence had at the last restore.
	keyRestoredOrder = []byte("restored_order")
	// keyRestoreEpoch is delivery.Restore's.
	keyRestoreEpoch = []byte("restore_epoch")
	keyBackedUpAt   = []byte("backed_up_at")
)
