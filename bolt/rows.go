package bolt

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/tidwall/btree"
)

// A rowMap holds the rows that have changed since they were last written to the
// rows bucket, by key; nil stands for a row that is gone. Copies share what they
// have in common: one costs nothing, and what is done to it afterwards is not
// seen in the other.
type rowMap = btree.Map[string, []byte]

// rowDegree keeps nodes small, as a commit copies each that it changes.
const rowDegree = 16

func newRowMap() *rowMap { return btree.NewMap[string, []byte](rowDegree) }

// rowKey is a key in the rows bucket.
func rowKey(b *bucket, key []byte) string {
	return string(append(append(make([]byte, 0, 64), b.kind), key...))
}

// change notes a changed row, and in which order rows have changed.
func (t *txn) change(key string, value []byte) {
	t.rows.Set(key, value)
	t.logged = binary.AppendUvarint(t.logged, uint64(len(key)))
	t.logged = append(t.logged, key...)
	if value == nil {
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
		key, size := d.string(), d.number()
		if size == 0 {
			rows.Set(key, nil)
			continue
		}
		if size-1 > uint64(len(d)) {
			panic(errCorrupt)
		}
		rows.Set(key, append(make([]byte, 0, size-1), d[:size-1]...))
		d = d[size-1:]
	}
}

// changes are the changed rows from a key on, as far as they have the prefix.
type changes struct {
	rows   btree.MapIter[string, []byte]
	more   bool
	prefix string
}

func changesFrom(rows *rowMap, prefix, from string) (c changes) {
	// Most scans find nothing here, and an iterator costs more than this look.
	rows.Ascend(from, func(k string, _ []byte) bool {
		c.more = strings.HasPrefix(k, prefix)
		return false
	})
	if c.more {
		c.rows, c.prefix = rows.Iter(), prefix
		c.rows.Seek(from)
	}
	return c
}

// before yields the changed rows in front of key, nil being the end, until yield
// returns false.
func (c *changes) before(key []byte, yield func(k, v []byte) bool) bool {
	for c.more && (key == nil || c.rows.Key() < string(key)) {
		if v := c.rows.Value(); v != nil && !yield([]byte(c.rows.Key()), v) {
			return false
		}
		c.more = c.rows.Next() && strings.HasPrefix(c.rows.Key(), c.prefix)
	}
	return true
}

// at reports whether the row with that key has changed: before will yield it.
func (c *changes) at(key []byte) bool { return c.more && c.rows.Key() == string(key) }

// A changedRow is one that has changed; value is nil if it is gone.
type changedRow struct {
	key   string
	value []byte
}

// nextChanges returns up to most changed rows from a key on.
func nextChanges(rows *rowMap, from string, most int) []changedRow {
	next := make([]changedRow, 0, min(most, rows.Len()))
	rows.Ascend(from, func(key string, value []byte) bool {
		if len(next) < most {
			next = append(next, changedRow{key, value})
		}
		return len(next) < most
	})
	return next
}

// merge writes a changed row to the rows bucket.
func (t *txn) merge(r changedRow) {
	var err error
	if r.value == nil {
		err = t.base(bucketRows).Delete([]byte(r.key))
	} else {
		err = t.base(bucketRows).Put([]byte(r.key), r.value)
	}
	if err != nil {
		panic(fmt.Errorf("merge: %w", err))
	}
	t.rows.Delete(r.key)
}
