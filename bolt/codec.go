package bolt

import (
	"encoding/binary"
	"errors"
	"time"
)

// errCorrupt is what a row that cannot be read panics with; the transaction
// turns it into an error of its caller.
var errCorrupt = errors.New("corrupt row in the database file; run a check of the file or restore a backup")

// An encoder appends the fields of a row.
type encoder []byte

func (e *encoder) number(n uint64)  { *e = binary.AppendUvarint(*e, n) }
func (e *encoder) bytes(b []byte)   { e.number(uint64(len(b))); *e = append(*e, b...) }
func (e *encoder) string(s string)  { e.number(uint64(len(s))); *e = append(*e, s...) }
func (e *encoder) time(t time.Time) { e.number(millis(t)) }
func (e *encoder) flags(set ...bool) {
	var n uint64
	for i, on := range set {
		if on {
			n |= 1 << i
		}
	}
	e.number(n)
}

// A decoder reads the fields of a row in the same order. It panics with
// errCorrupt. What it returns aliases the row, except strings.
type decoder []byte

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(*d)
	if size <= 0 {
		panic(errCorrupt)
	}
	*d = (*d)[size:]
	return n
}

func (d *decoder) bytes() []byte {
	n := d.number()
	if n > uint64(len(*d)) {
		panic(errCorrupt)
	}
	b := (*d)[:n:n]
	*d = (*d)[n:]
	return b
}

func (d *decoder) string() string  { return string(d.bytes()) }
func (d *decoder) time() time.Time { return fromMillis(d.number()) }

func (d *decoder) flags(set ...*bool) {
	n := d.number()
	for i, on := range set {
		*on = n&(1<<i) != 0
	}
}

// millis and fromMillis keep times as milliseconds since 1970; 0 is no time.
func millis(t time.Time) uint64 {
	if t.IsZero() || t.UnixMilli() < 0 {
		return 0
	}
	return uint64(t.UnixMilli())
}

func fromMillis(ms uint64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func readU64(b []byte) uint64 {
	if len(b) < 8 {
		panic(errCorrupt)
	}
	return binary.BigEndian.Uint64(b)
}
