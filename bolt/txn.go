package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
)

// A bucket is one of the file, or a kind of rows in the rows bucket: those are
// scattered, so their changes go to the log first and are merged later. The
// other buckets are appended to in the order of arrival, or small, and are
// written at once.
type bucket struct {
	name []byte
	kind byte    // in the rows bucket; 0: not in it
	slot int     // in buckets
	fill float64 // how full a page is left when it splits
}

func (b *bucket) logged() bool { return b.kind != 0 }

var (
	bucketMeta        = &bucket{slot: 0, name: []byte("meta"), fill: 0.5}
	bucketLog         = &bucket{slot: 1, name: []byte("log"), fill: 1}
	bucketKeyPackages = &bucket{slot: 2, name: []byte("key_packages"), fill: 1}
	bucketWelcomes    = &bucket{slot: 3, name: []byte("welcomes"), fill: 1}
	bucketRows        = &bucket{slot: 4, name: []byte("rows"), fill: 0.7}

	bucketNames       = &bucket{kind: 'n'}
	bucketDevices     = &bucket{kind: 'd'}
	bucketRefs        = &bucket{kind: 'r'}
	bucketWelcomeIDs  = &bucket{kind: 'i'}
	bucketPosted      = &bucket{kind: 'p'}
	bucketTimers      = &bucket{kind: 't'}
	bucketIdempotency = &bucket{kind: 'k'}
	bucketTokens      = &bucket{kind: 'a'}
	bucketOwners      = &bucket{kind: 'o'}
	bucketGone        = &bucket{kind: 'g'}

	bucketReservations = &bucket{kind: 'v'}
)

// buckets are those that the file has.
var buckets = [...]*bucket{bucketMeta, bucketLog, bucketKeyPackages, bucketWelcomes, bucketRows}

// A txn is one bbolt transaction with the rows of this format on top. Events
// that share a commit share it.
type txn struct {
	tx      *bbolt.Tx
	rows    *rowMap // changes that are not in their buckets yet
	scratch []byte  // for keys
	logged  []byte  // those of this transaction, as they go to the log
	changes int     // how many those are
	store   *Store
	limits  *delivery.Limits
	raw     bool      // rows of devices that are gone are read as they are written
	now     time.Time // what happens is dated by it; never before sure
	sure    time.Time // has come for certain: only by it does anything end
	clock   delivery.ClockReading
	state   state
	writes  int // rows written so far
	reads   int // rows looked up or scanned so far
	passed  int // rows that could not be read and were passed over
	opened  [len(buckets)]openBucket
	devices map[uint64]*device    // loaded, written back by flush
	woken   []delivery.DeviceID   // may have a new Welcome, or were removed
	revoked []delivery.TokenOwner // some of whose tokens are gone
}

func (s *Store) newTxn(tx *bbolt.Tx, rows *rowMap) *txn {
	reading := s.guard.Look()
	t := &txn{tx: tx, rows: rows, store: s, limits: &s.opts.Limits, clock: reading, state: *s.state.Load()}
	t.now, t.sure = reading.Now.UTC().Truncate(time.Millisecond), reading.Sure.UTC().Truncate(time.Millisecond)
	t.state.seen = reading.Sure
	return t
}

// An openBucket keeps cursors for the next to look something up: a new one
// costs more than the look.
type openBucket struct {
	*bbolt.Bucket
	lookup *bbolt.Cursor
	idle   []*bbolt.Cursor // for scans
}

// base is a bucket without the changes above it.
func (t *txn) base(b *bucket) *openBucket {
	o := &t.opened[b.slot]
	if o.Bucket == nil {
		o.Bucket = t.tx.Bucket(b.name)
		o.FillPercent = b.fill
		o.lookup = o.Cursor()
	}
	return o
}

// get is Bucket.Get without a cursor of its own.
func (o *openBucket) get(key []byte) []byte {
	if k, v := o.lookup.Seek(key); bytes.Equal(k, key) {
		return v
	}
	return nil
}

// scan yields the rows whose keys begin with prefix, from a key on.
func (o *openBucket) scan(prefix, from []byte, yield func(k, v []byte) bool) {
	var c *bbolt.Cursor
	if n := len(o.idle); n > 0 {
		c, o.idle = o.idle[n-1], o.idle[:n-1]
	} else {
		c = o.Cursor()
	}
	defer func() { o.idle = append(o.idle, c) }()
	for k, v := c.Seek(from); k != nil && bytes.HasPrefix(k, prefix) && yield(k, v); k, v = c.Next() {
	}
}

// get returns a value that is valid until the next write. nil if there is none.
func (t *txn) get(b *bucket, key []byte) []byte {
	t.reads++
	if !b.logged() {
		return t.base(b).get(key)
	}
	t.scratch = appendRowKey(t.scratch[:0], b, key)
	if row, changed := t.rows.Get(lookFor(t.scratch)); changed {
		return row.value()
	}
	return t.base(bucketRows).get(t.scratch)
}

// put and del panic on what only a bug can cause; (*txn).run catches it.
func (t *txn) put(b *bucket, key, value []byte) {
	t.writes++
	if b.logged() {
		t.change(b, key, value, false)
	} else if err := t.base(b).Put(key, value); err != nil {
		panic(fmt.Errorf("put in %s: %w", b.name, err))
	}
}

func (t *txn) del(b *bucket, key []byte) {
	t.writes++
	if b.logged() {
		t.change(b, key, nil, true)
	} else if err := t.base(b).Delete(key); err != nil {
		panic(fmt.Errorf("delete in %s: %w", b.name, err))
	}
}

// scan yields the rows whose keys begin with prefix, from the key start on.
// Nothing may be written to the bucket meanwhile: a cursor that is written
// under skips rows.
func (t *txn) scan(b *bucket, prefix, start []byte) iter.Seq2[[]byte, []byte] {
	from := prefix
	if bytes.Compare(start, prefix) > 0 {
		from = start
	}
	return func(yield func(k, v []byte) bool) {
		counted := func(k, v []byte) bool { t.reads++; return yield(k, v) }
		if b.logged() {
			t.scanRows(appendRowKey(nil, b, prefix), appendRowKey(nil, b, from), func(k, v []byte) bool { return counted(k[1:], v) })
		} else {
			t.base(b).scan(prefix, from, counted)
		}
	}
}

// scanRows yields the rows of the rows bucket, with the changes above it, by
// their keys in it.
func (t *txn) scanRows(prefix, from []byte, yield func(k, v []byte) bool) {
	changed, more := changesFrom(t.rows, prefix, from), true
	t.base(bucketRows).scan(prefix, from, func(k, v []byte) bool {
		more = changed.before(k, yield) && (changed.at(k) || yield(k, v))
		return more
	})
	if more {
		changed.before(nil, yield)
	}
}

// keys collects the keys that begin with prefix, at most most of them (0: all).
func (t *txn) keys(b *bucket, prefix []byte, most int) [][]byte {
	var keys [][]byte
	for k := range t.scan(b, prefix, nil) {
		keys = append(keys, bytes.Clone(k))
		if len(keys) == most {
			break
		}
	}
	return keys
}

// next returns the next number of the sequence, from 1.
func (t *txn) next() uint64 {
	t.state.sequence++
	return t.state.sequence
}

// flush writes what was kept in memory during the transaction, and then merges
// as many rows into their bucket as merge says.
func (t *txn) flush(log *changeLog, merge func() int) error {
	for _, d := range t.devices {
		t.flushDevice(d)
	}
	if err := log.append(t.base(bucketLog), t.logged); err != nil {
		return err
	}
	if most := merge(); most > 0 {
		log.merge(t, most)
	}
	t.state.merged = log.first
	t.put(bucketMeta, keyState, t.state.encode())
	t.put(bucketMeta, keyCommit, encodeCommit(t.tx, log.next()))
	return nil
}

var (
	keyFormat   = []byte("format")
	keyState    = []byte("state")
	keyRestored = []byte("restored")
	// keyRestoredAt is when it was gone the last time.
	keyRestoredAt = []byte("restored_at")
	// keyRestoredOrder is the number that the sequence had at the last restore.
	keyRestoredOrder = []byte("restored_order")
	// keyRestoreEpoch is delivery.Restore's.
	keyRestoreEpoch = []byte("restore_epoch")
	keyBackedUpAt   = []byte("backed_up_at")
)

// A state is the row that every commit writes: what can not be found without
// counting.
type state struct {
	sequence    uint64
	merged      uint64    // pieces of the log before it are in their buckets
	seen        time.Time // the latest time that this file has seen
	keyPackages [8]int64  // by delivery.KeyPackageState
	welcomes    [11]int64 // by delivery.WelcomeState
	stock       [5]int64  // devices by stockLevel; those behind stockEmpty from format 5 on
	overdue     int64
	holdsOver   int64
	shelves     [lastShelf + 1]int64 // KeyPackages by shelf; from format 4 on
}

func (s *state) counters() []*int64 {
	all := make([]*int64, 0, stateCounters4+len(s.stock)+1)
	for i := range s.keyPackages {
		all = append(all, &s.keyPackages[i])
	}
	for i := range delivery.Damaged {
		all = append(all, &s.welcomes[i])
	}
	for i := range s.stock[:stockEmpty+1] {
		all = append(all, &s.stock[i])
	}
	all = append(all, &s.overdue, &s.holdsOver)
	for i := range s.shelves {
		all = append(all, &s.shelves[i])
	}
	for i := range s.stock[stockEmpty+1:] {
		all = append(all, &s.stock[int(stockEmpty)+1+i])
	}
	return append(all, &s.welcomes[delivery.Damaged])
}

func (s *state) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, s.sequence)
	b = binary.BigEndian.AppendUint64(b, s.merged)
	b = binary.BigEndian.AppendUint64(b, millis(s.seen))
	for _, c := range s.counters() {
		b = binary.BigEndian.AppendUint64(b, uint64(*c))
	}
	return b
}

// How many counters files of format 3 and 4 have.
const (
	stateCounters3 = 23
	stateCounters4 = stateCounters3 + int(lastShelf) + 1
)

func decodeState(b []byte) (s state) {
	s.sequence, b = readU64(b), b[8:]
	s.merged, b = readU64(b), b[8:]
	s.seen, b = fromMillis(readU64(b)), b[8:]
	for i, c := range s.counters() {
		if len(b) == 0 && (i == stateCounters3 || i == stateCounters4) {
			return s
		}
		*c, b = int64(readU64(b)), b[8:]
	}
	return s
}
