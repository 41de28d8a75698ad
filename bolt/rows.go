package bolt

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/tidwall/btree"
)

// A rowMap holds the rows that have changed since they were last written to
// their buckets, in the order of bucket and key; nil stands for a row that is
// gone. Copies share what they have in common: one costs nothing, and what is
// done to it afterwards is not seen in the other.
type rowMap struct{ rows *btree.Map[string, []byte] }

// rowDegree keeps nodes small, as a commit copies each that it changes.
const rowDegree = 16

func newRowMap() *rowMap { return &rowMap{btree.NewMap[string, []byte](rowDegree)} }

func (m *rowMap) copy() *rowMap { return &rowMap{m.rows.Copy()} }

func (m *rowMap) len() int { return m.rows.Len() }

// get returns the row as it has changed. changed is false if its bucket says
// what it is.
func (m *rowMap) get(b *bucket, key []byte) (value []byte, changed bool) {
	if m.len() == 0 {
		return nil, false
	}
	var buf [48]byte
	return m.rows.Get(string(append(append(buf[:0], b.id), key...)))
}

// put and del change a row and append the change to the log's bytes.
func (m *rowMap) put(log []byte, b *bucket, key, value []byte) []byte {
	kept := append(make([]byte, 0, len(value)), value...)
	return m.set(log, rowKey(b, key), kept)
}

func (m *rowMap) del(log []byte, b *bucket, key []byte) []byte {
	return m.set(log, rowKey(b, key), nil)
}

func (m *rowMap) set(log []byte, key string, value []byte) []byte {
	m.rows.Set(key, value)
	log = binary.AppendUvarint(log, uint64(len(key)))
	log = append(log, key...)
	if value == nil {
		return append(log, 0)
	}
	log = binary.AppendUvarint(log, uint64(len(value))+1)
	return append(log, value...)
}

// replay applies what set has appended to a log. It panics with errCorrupt.
func (m *rowMap) replay(log []byte) {
	d := decoder(log)
	for len(d) > 0 {
		key := d.string()
		if key == "" || int(key[0]) >= len(buckets) || !buckets[key[0]].logged {
			panic(errCorrupt)
		}
		size := d.number()
		if size == 0 {
			m.rows.Set(key, nil)
			continue
		}
		if size-1 > uint64(len(d)) {
			panic(errCorrupt)
		}
		m.rows.Set(key, append(make([]byte, 0, size-1), d[:size-1]...))
		d = d[size-1:]
	}
}

// changes are the changed rows of a bucket from a key on, as far as they have the
// prefix.
type changes struct {
	rows   btree.MapIter[string, []byte]
	more   bool
	prefix string
}

func (m *rowMap) changes(b *bucket, prefix, from []byte) (c changes) {
	first, key := rowKey(b, from), rowKey(b, prefix)
	// Most scans find nothing here, and an iterator costs more than this look.
	m.rows.Ascend(first, func(k string, _ []byte) bool {
		c.more = strings.HasPrefix(k, key)
		return false
	})
	if c.more {
		c.rows, c.prefix = m.rows.Iter(), key
		c.rows.Seek(first)
	}
	return c
}

// before yields the changed rows in front of key, nil being the end, until yield
// returns false.
func (c *changes) before(key []byte, yield func(k, v []byte) bool) bool {
	for c.more && (key == nil || c.rows.Key()[1:] < string(key)) {
		if v := c.rows.Value(); v != nil && !yield([]byte(c.rows.Key()[1:]), v) {
			return false
		}
		c.more = c.rows.Next() && strings.HasPrefix(c.rows.Key(), c.prefix)
	}
	return true
}

// at reports whether the row with that key has changed: before will yield it.
func (c *changes) at(key []byte) bool { return c.more && c.rows.Key()[1:] == string(key) }

// A row is one that has changed; value is nil if it is gone.
type row struct {
	key   string
	value []byte
}

// from returns up to most changed rows from the key on.
func (m *rowMap) from(key string, most int) []row {
	rows := make([]row, 0, min(most, m.len()))
	m.rows.Ascend(key, func(key string, value []byte) bool {
		if len(rows) < most {
			rows = append(rows, row{key, value})
		}
		return len(rows) < most
	})
	return rows
}

// merge writes a changed row to its bucket.
func (t *txn) merge(r row) {
	b, key := buckets[r.key[0]], []byte(r.key[1:])
	var err error
	if r.value == nil {
		err = t.base(b).Delete(key)
	} else {
		err = t.base(b).Put(key, r.value)
	}
	if err != nil {
		panic(fmt.Errorf("merge into %s: %w", b.name, err))
	}
	t.rows.rows.Delete(r.key)
}

func rowKey(b *bucket, key []byte) string {
	return string(append(append(make([]byte, 0, len(key)+1), b.id), key...))
}
