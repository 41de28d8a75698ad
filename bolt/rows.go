package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/tidwall/btree"
)

// A rowMap holds the rows that have changed since they were last written to the
// rows bucket, by key. Copies share what they have in common: one costs nothing,
// and what is done to it afterwards is not seen in the other.
type rowMap = btree.BTreeG[changedRow]

// A changedRow is one that has changed, or is gone.
type changedRow struct {
	head uint64 // of the key: most comparisons need no more
	row  []byte // the key, then the value
	key  uint16 // its length
	gone bool
}

func newChangedRow(key, value []byte, gone bool) changedRow {
	row := make([]byte, 0, len(key)+len(value))
	row = append(append(row, key...), value...)
	return changedRow{head: headOf(key), row: row, key: uint16(len(key)), gone: gone}
}

// lookFor is a row to look for, which shares the key's bytes.
func lookFor(key []byte) changedRow {
	return changedRow{head: headOf(key), row: key, key: uint16(len(key))}
}

func headOf(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var padded [8]byte
	copy(padded[:], key)
	return binary.BigEndian.Uint64(padded[:])
}

func (r changedRow) keyBytes() []byte { return r.row[:r.key:r.key] }

// value is nil if the row is gone.
func (r changedRow) value() []byte {
	if r.gone {
		return nil
	}
	return r.row[r.key:]
}

func (r changedRow) before(o changedRow) bool {
	if r.head != o.head {
		return r.head < o.head
	}
	return bytes.Compare(r.keyBytes(), o.keyBytes()) < 0
}

// rowDegree keeps nodes small, as a commit copies each that it changes.
const rowDegree = 16

func newRowMap() *rowMap {
	return btree.NewBTreeGOptions(changedRow.before, btree.Options{Degree: rowDegree, NoLocks: true})
}

// appendRowKey appends a key in the rows bucket.
func appendRowKey(to []byte, b *bucket, key []byte) []byte {
	return append(append(to, b.kind), key...)
}

// change notes a changed row, and in which order rows have changed.
func (t *txn) change(b *bucket, key, value []byte, gone bool) {
	t.changes++
	t.scratch = appendRowKey(t.scratch[:0], b, key)
	t.rows.Set(newChangedRow(t.scratch, value, gone))
	t.logged = binary.AppendUvarint(t.logged, uint64(len(t.scratch)))
	t.logged = append(t.logged, t.scratch...)
	if gone {
		t.logged = append(t.logged, 0)
		return
	}
	t.logged = binary.AppendUvarint(t.logged, uint64(len(value))+1)
	t.logged = append(t.logged, value...)
}

// replay applies what change has appended to a log. It panics with errCorrupt.
func replay(rows *rowMap, log []byte) {
	d := decoder(log)
	for len(d) > 0 {
		key, size := d.bytes(), d.number()
		if size > uint64(len(d))+1 {
			panic(errCorrupt)
		}
		value := d[:max(size, 1)-1]
		rows.Set(newChangedRow(key, value, size == 0))
		d = d[len(value):]
	}
}

// changes are the changed rows from a key on, as far as they have the prefix.
type changes struct {
	rows   btree.IterG[changedRow]
	more   bool
	prefix []byte
}

func changesFrom(rows *rowMap, prefix, from []byte) *changes {
	c := &changes{rows: rows.Iter(), prefix: prefix}
	c.more = c.rows.Seek(lookFor(from)) && c.belongs()
	return c
}

func (c *changes) belongs() bool { return bytes.HasPrefix(c.rows.Item().keyBytes(), c.prefix) }

// before yields the changed rows in front of key, nil being the end, until yield
// returns false.
func (c *changes) before(key []byte, yield func(k, v []byte) bool) bool {
	for c.more {
		r := c.rows.Item()
		if key != nil && bytes.Compare(r.keyBytes(), key) >= 0 {
			break
		}
		if !r.gone && !yield(r.keyBytes(), r.value()) {
			return false
		}
		c.more = c.rows.Next() && c.belongs()
	}
	return true
}

// at reports whether the row with that key has changed: before will yield it.
func (c *changes) at(key []byte) bool {
	return c.more && bytes.Equal(c.rows.Item().keyBytes(), key)
}

// nextChanges returns up to most changed rows from a key on.
func nextChanges(rows *rowMap, from []byte, most int) []changedRow {
	next := make([]changedRow, 0, min(most, rows.Len()))
	rows.Ascend(lookFor(from), func(r changedRow) bool {
		if len(next) < most {
			next = append(next, r)
		}
		return len(next) < most
	})
	return next
}

// merge writes a changed row to the rows bucket.
func (t *txn) merge(r changedRow) {
	var err error
	if r.gone {
		err = t.base(bucketRows).Delete(r.keyBytes())
	} else {
		err = t.base(bucketRows).Put(r.keyBytes(), r.value())
	}
	if err != nil {
		panic(fmt.Errorf("merge: %w", err))
	}
	t.rows.Delete(r)
}
