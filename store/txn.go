package store

import (
	"bytes"
	"iter"
	"time"

	"welcomed/delivery"
)

// A Txn is a transaction over the rows of this format. The events of one commit share it.
type Txn struct {
	rows       Rows
	asked      AskedRows // rows, if they want to hear what is about to be read
	key        []byte    // a key on its way to the rows
	store      *Store
	limits     *delivery.Limits
	raw        bool      // rows of devices that are gone are read as they are written
	now        time.Time // what happens is dated by it; never before sure
	sure       time.Time // has come for certain: only by it does anything end
	clock      delivery.ClockReading
	seen       time.Time             // the latest time that was seen before this transaction
	given      uint64                // the last number that was given before it
	newSetBack SetBack               // that Flush has noted
	counted    Totals                // by how much it changes them
	writes     int                   // rows written so far
	reads      int                   // rows looked up or scanned so far
	passed     int                   // rows that could not be read and were passed over
	devices    map[uint64]*device    // loaded, written back by flush
	woken      []delivery.DeviceID   // may have a new Welcome, or were removed
	revoked    []delivery.TokenOwner // some of whose tokens are gone
	tellers    []string              // who has new events, see tell
	quiet      bool                  // nothing that it does is told as an event
	hinted     [len(channels)]bool   // some hints of the channel are due
	unhinted   [len(channels)]int    // and so many were not kept
}

// Begin makes t a transaction over rows. seen is the latest time that the database has seen.
func (s *Store) Begin(t *Txn, rows Rows, seen time.Time) {
	clock := delivery.ClockReading{Now: seen, Sure: seen}
	if s.guard != nil {
		clock = s.Time()
	}
	t.asked, _ = rows.(AskedRows)
	t.rows, t.store, t.limits, t.clock, t.seen, t.given = rows, s, &s.limits, clock, seen, rows.Last()
	t.now, t.sure = clock.Now.UTC().Truncate(time.Millisecond), clock.Sure.UTC().Truncate(time.Millisecond)
}

// Rows returns the rows of the transaction. Changes made through it are counted.
func (t *Txn) Rows() Rows { return countedRows{t.rows, t} }

type countedRows struct {
	Rows
	t *Txn
}

func (r countedRows) Get(k *Kind, key []byte) []byte { return r.t.get(k, key) }
func (r countedRows) Put(k *Kind, key, value []byte) { r.t.put(k, key, value) }
func (r countedRows) Delete(k *Kind, key []byte)     { r.t.del(k, key) }

// Clock returns the time of the transaction.
func (t *Txn) Clock() delivery.ClockReading { return t.clock }

// Reads returns how many rows were looked up or scanned, and Writes how many were written.
func (t *Txn) Reads() int  { return t.reads }
func (t *Txn) Writes() int { return t.writes }

// Counted returns by how much the transaction changes the totals. Call it after Flush.
func (t *Txn) Counted() *Totals { return &t.counted }

// Run runs a part of the transaction. It returns a panic, of a corrupt row or of a bug, as an
// error, so that it costs one request and not the process.
func (t *Txn) Run(fn func(*Txn) error) error {
	return Recovering(func() error { return fn(t) })
}

// get returns a value that is valid until the next write. nil if there is none.
func (t *Txn) get(k *Kind, key []byte) []byte {
	t.reads++
	t.key = append(t.key[:0], key...) // so that the caller's does not escape
	return t.rows.Get(k, t.key)
}

// put and del panic if a bug makes them fail. Run returns that as an error.
func (t *Txn) put(k *Kind, key, value []byte) {
	t.writes++
	t.key = append(t.key[:0], key...)
	t.rows.Put(k, t.key, value)
}

func (t *Txn) del(k *Kind, key []byte) {
	t.writes++
	t.key = append(t.key[:0], key...)
	t.rows.Delete(k, t.key)
}

// scan yields the rows whose keys begin with prefix, from the key start on. Until it ends, no
// row of the kind may be written, because the cursor would skip rows.
func (t *Txn) scan(k *Kind, prefix, start []byte) iter.Seq2[[]byte, []byte] {
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

func (t *Txn) cursor(k *Kind, prefix, from []byte) Cursor {
	t.key = append(append(t.key[:0], prefix...), from...)
	return t.rows.Scan(k, t.key[:len(prefix)], t.key[len(prefix):])
}

// keys collects the keys that begin with prefix, at most most of them (0: all).
func (t *Txn) keys(k *Kind, prefix []byte, most int) [][]byte {
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
func (t *Txn) next() uint64 { return t.rows.Next() }

// raise makes all numbers that are given from now on higher than n.
func (t *Txn) raise(n uint64) {
	if t.rows.Last() < n {
		t.rows.Raise(n)
		t.writes++
	}
}

// Flush writes what the transaction has kept in memory. The engine calls it once, before it
// commits.
func (t *Txn) Flush() {
	if t.store.guard != nil {
		t.noteSetBack()
	}
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
