package bolt

import (
	"bytes"
	"fmt"
	"time"

	"github.com/tidwall/btree"
	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/store"
)

// A bucket is a bucket of the file. Rows that are scattered lie in the rows bucket, whatever
// their kind: their changes go to the log first, and are merged later. The other buckets are
// small, or grow in the order of arrival, and are written at once.
type bucket struct {
	name []byte
	slot int     // in buckets
	fill float64 // how full a page is left when it splits
}

var (
	bucketMeta        = &bucket{slot: 0, name: []byte("meta"), fill: 0.5}
	bucketLog         = &bucket{slot: 1, name: []byte("log"), fill: 1}
	bucketKeyPackages = &bucket{slot: 2, name: []byte("key_packages"), fill: 1}
	bucketWelcomes    = &bucket{slot: 3, name: []byte("welcomes"), fill: 1}
	bucketRows        = &bucket{slot: 4, name: []byte("rows"), fill: 0.7}
)

// buckets has all buckets of the file.
var buckets = [...]*bucket{bucketMeta, bucketLog, bucketKeyPackages, bucketWelcomes, bucketRows}

// ownBucket has the bucket of a kind, by the code of the kind; nil for kinds that lie in the
// rows bucket.
var ownBucket = func() (own [256]*bucket) {
	for _, k := range store.Kinds {
		for _, b := range buckets {
			if k.Name == string(b.name) {
				own[k.Code] = b
			}
		}
	}
	return own
}()

// fileRows are the rows that a transaction of the file sees: those in its buckets, and above
// them the changes that are only in the log.
type fileRows struct {
	tx      *bbolt.Tx
	changed *rowMap
	state   state
	opened  [len(buckets)]openBucket
	scratch []byte // for keys
	logged  []byte // changes of this transaction, as they go to the log
	changes int    // how many those are
	direct  bool   // changes go to the rows bucket at once
}

// A fileTxn is a transaction of the file, with the transaction of package store over its rows.
type fileTxn struct {
	store.Txn
	file fileRows
	meta fileMeta // in a snapshot
}

// newTxn begins a transaction of a file that is served.
func (s *Store) newTxn(tx *bbolt.Tx, changed *rowMap) *fileTxn {
	f := &fileTxn{file: fileRows{tx: tx, changed: changed, state: *s.state.Load()}}
	s.Begin(&f.Txn, &f.file, f.file.state.seen)
	return f
}

// snapshot begins a transaction of a file that is not served. Its time is the latest time that
// the file has seen.
func snapshot(tx *bbolt.Tx, limits delivery.Limits) (f *fileTxn, log *changeLog, err error) {
	err = store.Recovering(func() error {
		meta, err := readMeta(tx)
		if err != nil {
			return err
		}
		f = &fileTxn{file: fileRows{tx: tx, changed: newRowMap(), state: meta.state}, meta: meta}
		log = loadLog(tx.Bucket(bucketLog.name), meta.state.merged, f.file.changed)
		store.New(nil, store.Options{Limits: limits, Meta: meta.Meta}).Begin(&f.Txn, &f.file, meta.state.seen)
		return nil
	})
	return f, log, err
}

// An openBucket keeps cursors for the next look-up: a new cursor costs more than the look-up.
type openBucket struct {
	*bbolt.Bucket
	lookup *bbolt.Cursor
	idle   []*fileCursor // for scans
}

// base returns a bucket without the changes above it.
func (f *fileRows) base(b *bucket) *openBucket {
	o := &f.opened[b.slot]
	if o.Bucket == nil {
		o.Bucket = f.tx.Bucket(b.name)
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

// Get implements store.Rows.
func (f *fileRows) Get(k *store.Kind, key []byte) []byte {
	if own := ownBucket[k.Code]; own != nil {
		return f.base(own).get(key)
	}
	f.scratch = appendRowKey(f.scratch[:0], k, key)
	if row, changed := f.changed.Get(lookFor(f.scratch)); changed {
		return row.value()
	}
	return f.base(bucketRows).get(f.scratch)
}

// Put implements store.Rows.
func (f *fileRows) Put(k *store.Kind, key, value []byte) {
	if own := ownBucket[k.Code]; own == nil {
		f.change(k, key, value, false)
	} else if err := f.base(own).Put(key, value); err != nil {
		panic(fmt.Errorf("put in %s: %w", own.name, err))
	}
}

// Delete implements store.Rows.
func (f *fileRows) Delete(k *store.Kind, key []byte) {
	if own := ownBucket[k.Code]; own == nil {
		f.change(k, key, nil, true)
	} else if err := f.base(own).Delete(key); err != nil {
		panic(fmt.Errorf("delete in %s: %w", own.name, err))
	}
}

// Next implements store.Rows. One sequence numbers everything.
func (f *fileRows) Next() uint64 {
	f.state.sequence++
	return f.state.sequence
}

// Last implements store.Rows.
func (f *fileRows) Last() uint64 { return f.state.sequence }

// Settled implements store.Rows. It is of the snapshot; state may be of a later commit.
func (f *fileRows) Settled() uint64 { return readU64(f.base(bucketMeta).get(keyState)) }

// Raise implements store.Rows.
func (f *fileRows) Raise(n uint64) { f.state.sequence = max(f.state.sequence, n) }

// Totals implements store.Rows.
func (f *fileRows) Totals() store.Totals { return f.state.Totals }

// Scan implements store.Rows.
func (f *fileRows) Scan(k *store.Kind, prefix, from []byte) store.Cursor {
	if own := ownBucket[k.Code]; own != nil {
		c := f.cursor(own)
		c.prefix, c.from, c.cut = append(c.prefix, prefix...), append(c.from, from...), 0
		return c
	}
	c := f.cursor(bucketRows)
	c.prefix, c.from, c.cut = appendRowKey(c.prefix, k, prefix), appendRowKey(c.from, k, from), 1
	return c
}

// strays yields the keys in the rows bucket that are of no known kind.
func (f *fileRows) strays(yield func(key []byte)) {
	var scattered [256]bool
	for _, k := range store.Kinds {
		scattered[k.Code] = ownBucket[k.Code] == nil
	}
	c := f.cursor(bucketRows)
	defer c.Close()
	for key, _ := c.Next(); key != nil; key, _ = c.Next() {
		if code := key[0]; !scattered[code] {
			yield(key)
		} else if c.from, c.begun = append(c.from[:0], code+1), false; code == 0xff {
			return
		}
	}
}

// cursor returns a cursor that is in front of a bucket.
func (f *fileRows) cursor(b *bucket) *fileCursor {
	o := f.base(b)
	if n := len(o.idle); n > 0 {
		c := o.idle[n-1]
		o.idle = o.idle[:n-1]
		c.prefix, c.from, c.cut, c.begun = c.prefix[:0], c.from[:0], 0, false
		return c
	}
	c := &fileCursor{bucket: o, rows: o.Cursor()}
	if b == bucketRows {
		c.changed = f.changed
	}
	return c
}

// A fileCursor goes over the rows whose keys begin with prefix, in a bucket and in the changes
// above it.
type fileCursor struct {
	bucket  *openBucket
	rows    *bbolt.Cursor
	changed *rowMap // nil: there are none above this bucket
	changes btree.IterG[changedRow]
	prefix  []byte
	from    []byte
	cut     int // so many bytes are cut off the front of each key

	begun    bool
	key, row []byte // next of the bucket; a nil key is the end
	more     bool   // changes has a next one
	// what the last call has returned, so that the next one goes on behind it
	movesRows, movesChanges bool
}

// Next implements store.Cursor.
func (c *fileCursor) Next() (key, value []byte) {
	c.advance()
	for {
		if c.more {
			changed := c.changes.Item()
			order := -1
			if c.key != nil {
				order = bytes.Compare(changed.keyBytes(), c.key)
			}
			if order <= 0 {
				c.movesChanges, c.movesRows = true, order == 0
				if !changed.gone {
					return changed.keyBytes()[c.cut:], changed.value()
				}
				c.advance()
				continue
			}
		}
		if c.key == nil {
			return nil, nil
		}
		c.movesRows = true
		return c.key[c.cut:], c.row
	}
}

// advance goes to the first row, or to the row behind the one that was returned last.
func (c *fileCursor) advance() {
	if !c.begun {
		c.begun, c.movesRows, c.movesChanges = true, false, false
		c.keep(c.rows.Seek(c.from))
		if c.more = c.changed != nil; c.more {
			c.changes.Init(c.changed, false)
			c.more = c.changes.Seek(lookFor(c.from)) && c.belongs()
		}
		return
	}
	if c.movesRows {
		c.keep(c.rows.Next())
	}
	if c.movesChanges {
		c.more = c.changes.Next() && c.belongs()
	}
	c.movesRows, c.movesChanges = false, false
}

func (c *fileCursor) keep(key, row []byte) {
	if c.key, c.row = key, row; !bytes.HasPrefix(key, c.prefix) {
		c.key = nil
	}
}

func (c *fileCursor) belongs() bool { return bytes.HasPrefix(c.changes.Item().keyBytes(), c.prefix) }

// Close implements store.Cursor.
func (c *fileCursor) Close() { c.bucket.idle = append(c.bucket.idle, c) }

// flush writes the transaction to the file. Its changes go to the log, of which it merges as
// many rows as merge returns into the bucket. Then it writes the rows that every commit writes.
func (f *fileTxn) flush(log *changeLog, merge func() int) error {
	f.Txn.Flush()
	return f.file.flush(f.Clock().Sure, f.Counted(), log, merge)
}

func (f *fileRows) flush(seen time.Time, counted *store.Totals, log *changeLog, merge func() int) error {
	if err := log.append(f.base(bucketLog), f.logged); err != nil {
		return err
	}
	if most := merge(); most > 0 {
		log.merge(f, most)
	}
	f.state.merged, f.state.seen = log.first, seen
	f.state.Add(counted)
	f.Put(store.KindMeta, keyState, f.state.encode())
	f.Put(store.KindMeta, keyCommit, encodeCommit(f.tx, log.next()))
	return nil
}
