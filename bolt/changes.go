package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/tidwall/btree"

	"welcomed/store"
)

// A rowMap holds the rows that have changed since they were last written to the rows bucket, by
// key. A copy costs nothing: it shares everything with the original until one of them is
// changed.
type rowMap = btree.BTreeG[changedRow]

// A changedRow is a row that has changed or is gone.
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

// lookFor returns a row to search for. It shares the bytes of the key.
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

// value returns nil if the row is gone.
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

// rowDegree keeps nodes small, because a commit copies each node that it changes.
const rowDegree = 16

func newRowMap() *rowMap {
	return btree.NewBTreeGOptions(changedRow.before, btree.Options{Degree: rowDegree, NoLocks: true})
}

// appendRowKey appends a key in the rows bucket.
func appendRowKey(to []byte, k *store.Kind, key []byte) []byte {
	return append(append(to, k.Code), key...)
}

// change notes a changed row, and appends it to what goes to the log.
func (f *fileRows) change(k *store.Kind, key, value []byte, gone bool) {
	f.changes++
	f.scratch = appendRowKey(f.scratch[:0], k, key)
	row := newChangedRow(f.scratch, value, gone)
	if f.direct {
		f.merge(row)
		return
	}
	f.changed.Set(row)
	f.logged = binary.AppendUvarint(f.logged, uint64(len(f.scratch)))
	f.logged = append(f.logged, f.scratch...)
	if gone {
		f.logged = append(f.logged, 0)
		return
	}
	f.logged = binary.AppendUvarint(f.logged, uint64(len(value))+1)
	f.logged = append(f.logged, value...)
}

// replay applies changes of the log to rows. It panics with ErrCorrupt.
func replay(rows *rowMap, log []byte) {
	for len(log) > 0 {
		var key, value []byte
		var size uint64
		size, log = cutNumber(log)
		key, log = cutBytes(log, size)
		size, log = cutNumber(log)
		value, log = cutBytes(log, max(size, 1)-1)
		rows.Set(newChangedRow(key, value, size == 0))
	}
}

func cutNumber(log []byte) (n uint64, rest []byte) {
	n, size := binary.Uvarint(log)
	if size <= 0 {
		panic(store.ErrCorrupt)
	}
	return n, log[size:]
}

func cutBytes(log []byte, n uint64) (b, rest []byte) {
	if n > uint64(len(log)) {
		panic(store.ErrCorrupt)
	}
	return log[:n:n], log[n:]
}

// nextChanges returns the next changed rows from a key on, at most most.
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
func (f *fileRows) merge(r changedRow) {
	var err error
	if r.gone {
		err = f.base(bucketRows).Delete(r.keyBytes())
	} else {
		err = f.base(bucketRows).Put(r.keyBytes(), r.value())
	}
	if err != nil {
		panic(fmt.Errorf("merge: %w", err))
	}
	f.changed.Delete(r)
}
