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

var (
	bucketMeta        = []byte("meta")
	bucketNames       = []byte("names")
	bucketDevices     = []byte("devices")
	bucketRefs        = []byte("refs")
	bucketKeyPackages = []byte("key_packages")
	bucketWelcomes    = []byte("welcomes")
	bucketWelcomeIDs  = []byte("welcome_ids")
	bucketRecipients  = []byte("recipients")
	bucketPayloads    = []byte("payloads")
	bucketTimers      = []byte("timers")
	bucketIdempotency = []byte("idempotency")
)

var buckets = [][]byte{bucketMeta, bucketNames, bucketDevices, bucketRefs, bucketKeyPackages, bucketWelcomes,
	bucketWelcomeIDs, bucketRecipients, bucketPayloads, bucketTimers, bucketIdempotency}

// A txn is one bbolt transaction with the rows of this format on top. Events
// that share a commit share it.
type txn struct {
	tx      *bbolt.Tx
	store   *Store
	limits  *delivery.Limits
	now     time.Time // never before sure
	sure    time.Time // the latest trusted time: what ends things for good goes by it
	state   state
	writes  int // rows written so far
	opened  map[string]*bbolt.Bucket
	devices map[uint64]*device // loaded, written back by flush
	woken   []delivery.DeviceID
}

func (s *Store) newTxn(tx *bbolt.Tx) *txn {
	reading := s.guard.Look()
	t := &txn{tx: tx, store: s, limits: &s.opts.Limits, now: reading.Now.UTC().Truncate(time.Millisecond),
		opened: make(map[string]*bbolt.Bucket, len(buckets)), devices: make(map[uint64]*device)}
	t.sure = reading.Seen.UTC().Truncate(time.Millisecond)
	if t.now.Before(t.sure) {
		t.now = t.sure
	}
	t.state = *s.state.Load()
	t.state.seen = reading.Seen
	return t
}

func (t *txn) bucket(name []byte) *bbolt.Bucket {
	b := t.opened[string(name)]
	if b == nil {
		b = t.tx.Bucket(name)
		b.FillPercent = fillPercent(name)
		t.opened[string(name)] = b
	}
	return b
}

// fillPercent says how full a page is left when it splits. Keys that only grow
// leave full pages behind them.
func fillPercent(name []byte) float64 {
	switch string(name) {
	case "key_packages", "welcomes", "recipients", "payloads":
		return 0.95
	}
	return bbolt.DefaultFillPercent
}

// get returns a value that is valid until the next write. nil if there is none.
func (t *txn) get(bucket, key []byte) []byte { return t.bucket(bucket).Get(key) }

// put and del panic on what only a bug can cause; (*txn).run catches it.
func (t *txn) put(bucket, key, value []byte) {
	t.writes++
	if err := t.bucket(bucket).Put(key, value); err != nil {
		panic(fmt.Errorf("put in %s: %w", bucket, err))
	}
}

func (t *txn) del(bucket, key []byte) {
	t.writes++
	if err := t.bucket(bucket).Delete(key); err != nil {
		panic(fmt.Errorf("delete in %s: %w", bucket, err))
	}
}

// scan yields the rows whose keys begin with prefix, from the key start on.
// Nothing may be written to the bucket meanwhile: a cursor that is written
// under skips rows.
func (t *txn) scan(bucket, prefix, start []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		c := t.bucket(bucket).Cursor()
		from := prefix
		if bytes.Compare(start, prefix) > 0 {
			from = start
		}
		for k, v := c.Seek(from); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
			if !yield(k, v) {
				return
			}
		}
	}
}

// keys collects the keys that begin with prefix, at most most of them (0: all).
func (t *txn) keys(bucket, prefix []byte, most int) [][]byte {
	var keys [][]byte
	for k := range t.scan(bucket, prefix, nil) {
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

// flush writes what was kept in memory during the transaction.
func (t *txn) flush() (err error) {
	return t.run(func(*txn) error {
		for _, d := range t.devices {
			t.flushDevice(d)
		}
		t.put(bucketMeta, keyState, t.state.encode())
		return nil
	})
}

var (
	keyFormat   = []byte("format")
	keyState    = []byte("state")
	keyRestored = []byte("restored")
)

// A state is the row that every commit writes: what can not be found without
// counting.
type state struct {
	sequence    uint64
	seen        time.Time // the latest time that this file has seen
	keyPackages [8]int64  // by delivery.KeyPackageState
	welcomes    [10]int64 // by delivery.WelcomeState
	stock       [3]int64  // devices by stockLevel
	overdue     int64
	holdsOver   int64
}

func (s *state) counters() []*int64 {
	all := make([]*int64, 0, 23)
	for i := range s.keyPackages {
		all = append(all, &s.keyPackages[i])
	}
	for i := range s.welcomes {
		all = append(all, &s.welcomes[i])
	}
	for i := range s.stock {
		all = append(all, &s.stock[i])
	}
	return append(all, &s.overdue, &s.holdsOver)
}

func (s *state) encode() []byte {
	b := u64(s.sequence)
	b = binary.BigEndian.AppendUint64(b, millis(s.seen))
	for _, c := range s.counters() {
		b = binary.BigEndian.AppendUint64(b, uint64(*c))
	}
	return b
}

func decodeState(b []byte) (s state) {
	s.sequence, b = readU64(b), b[8:]
	s.seen, b = fromMillis(readU64(b)), b[8:]
	for _, c := range s.counters() {
		*c, b = int64(readU64(b)), b[8:]
	}
	return s
}

// Timers. A row that ends by itself has its next time in the row and an entry
// here. When the row moves on, the entry stays until its time and is then
// found stale.
const (
	timerKeyPackage  = 1 + iota // device, kp
	timerPending                // device, welcome, index: unclaimed long enough
	timerDelivered              // device, welcome, index: redelivery over
	timerHold                   // welcome: held for long
	timerSettled                // welcome: a recipient has ended, have all?
	timerForget                 // welcome: outcomes kept long enough
	timerIdempotency            // hash of caller and key
)

func timerKey(kind byte, due time.Time, row []byte) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{kind}, millis(due)), row...)
}

func (t *txn) setTimer(kind byte, due time.Time, row []byte) {
	t.put(bucketTimers, timerKey(kind, due, row), nil)
}

// A timer is an entry that is due.
type timer struct {
	key []byte
	due time.Time
	row []byte
}

// dueTimers returns at most most entries of a kind whose time has come.
func (t *txn) dueTimers(kind byte, most int) []timer {
	var due []timer
	for k := range t.scan(bucketTimers, []byte{kind}, nil) {
		at := fromMillis(readU64(k[1:]))
		if at.After(t.now) || len(due) == most {
			break
		}
		key := bytes.Clone(k)
		due = append(due, timer{key: key, due: at, row: key[9:]})
	}
	return due
}
