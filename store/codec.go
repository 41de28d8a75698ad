package store

import (
	"encoding/binary"
	"errors"
	"time"
)

// ErrCorrupt is the panic of code that finds a row it cannot read. The transaction turns it
// into an error of the caller.
var ErrCorrupt = errors.New("corrupt row in the database file; run a check of the file or restore a backup")

// An encoder appends the fields of a row.
type encoder []byte

func (e *encoder) byte(b byte)      { *e = append(*e, b) }
func (e *encoder) number(n uint64)  { *e = binary.AppendUvarint(*e, n) }
func (e *encoder) bytes(b []byte)   { e.number(uint64(len(b))); *e = append(*e, b...) }
func (e *encoder) string(s string)  { e.number(uint64(len(s))); *e = append(*e, s...) }
func (e *encoder) time(t time.Time) { e.number(Millis(t)) }

// times appends which of the times are set, and then those that are. A time that is a whole
// number of days after the one before it is written in days, as most limits are whole days.
// Others are written in milliseconds.
func (e *encoder) times(all ...time.Time) {
	set := uint64(0)
	for i, at := range all {
		if !at.IsZero() {
			set |= 1 << i
		}
	}
	e.number(set)
	before := uint64(0)
	for _, at := range all {
		if at.IsZero() {
			continue
		}
		now := Millis(at)
		if days := (now - before) / dayMillis; now >= before && now == before+days*dayMillis {
			e.number(days<<1 | 1)
		} else {
			e.number(now << 1)
		}
		before = now
	}
}

const dayMillis = 24 * 60 * 60 * 1000

func (e *encoder) flags(set ...bool) {
	var n uint64
	for i, on := range set {
		if on {
			n |= 1 << i
		}
	}
	e.number(n)
}

// A decoder reads the fields of a row in the order in which they were written. It panics with
// ErrCorrupt. What it returns shares memory with the row, except strings.
type decoder []byte

func (d *decoder) byte() byte {
	if len(*d) == 0 {
		panic(ErrCorrupt)
	}
	b := (*d)[0]
	*d = (*d)[1:]
	return b
}

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(*d)
	if size <= 0 {
		panic(ErrCorrupt)
	}
	*d = (*d)[size:]
	return n
}

func (d *decoder) bytes() []byte {
	n := d.number()
	if n > uint64(len(*d)) {
		panic(ErrCorrupt)
	}
	b := (*d)[:n:n]
	*d = (*d)[n:]
	return b
}

func (d *decoder) string() string  { return string(d.bytes()) }
func (d *decoder) time() time.Time { return FromMillis(d.number()) }

func (d *decoder) times(all ...*time.Time) {
	set, before := d.number(), uint64(0)
	for i, at := range all {
		if set&(1<<i) == 0 {
			continue
		}
		if n := d.number(); n&1 == 1 {
			before += n >> 1 * dayMillis
		} else {
			before = n >> 1
		}
		*at = FromMillis(before)
	}
}

func (d *decoder) flags(set ...*bool) {
	n := d.number()
	for i, on := range set {
		*on = n&(1<<i) != 0
	}
}

// A coder either writes or reads the fields of a row, so that code lists the fields only once.
type coder struct {
	row   []byte // what was written, or what is left to be read
	reads bool
}

// goesOn reports whether there are more fields. When a coder writes, more says so. When it
// reads, the length of the row does.
func (c *coder) goesOn(more bool) bool {
	if c.reads {
		return len(c.row) > 0
	}
	return more
}

func (c *coder) byte(b *byte) {
	if c.reads {
		*b = (*decoder)(&c.row).byte()
	} else {
		(*encoder)(&c.row).byte(*b)
	}
}

func (c *coder) numbers(all ...*uint64) {
	for _, n := range all {
		if c.reads {
			*n = (*decoder)(&c.row).number()
		} else {
			(*encoder)(&c.row).number(*n)
		}
	}
}

func (c *coder) int64(n *int64) {
	u := uint64(*n)
	c.numbers(&u)
	*n = int64(u)
}

func (c *coder) ints(all ...*int) {
	for _, n := range all {
		u := uint64(*n)
		c.numbers(&u)
		*n = int(u)
	}
}

func (c *coder) string(s *string) {
	if c.reads {
		*s = (*decoder)(&c.row).string()
	} else {
		(*encoder)(&c.row).string(*s)
	}
}

func (c *coder) time(t *time.Time) {
	if c.reads {
		*t = (*decoder)(&c.row).time()
	} else {
		(*encoder)(&c.row).time(*t)
	}
}

func (c *coder) times(all ...*time.Time) {
	if c.reads {
		(*decoder)(&c.row).times(all...)
		return
	}
	var values [8]time.Time
	for i, t := range all {
		values[i] = *t
	}
	(*encoder)(&c.row).times(values[:len(all)]...)
}

func (c *coder) flags(all ...*bool) {
	if c.reads {
		(*decoder)(&c.row).flags(all...)
		return
	}
	var values [8]bool
	for i, set := range all {
		values[i] = *set
	}
	(*encoder)(&c.row).flags(values[:len(all)]...)
}

// Millis and FromMillis convert times to milliseconds since 1970 and back. 0 is no time.
func Millis(t time.Time) uint64 {
	if t.IsZero() || t.UnixMilli() < 0 {
		return 0
	}
	return uint64(t.UnixMilli())
}

func FromMillis(ms uint64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)).UTC()
}

// Numbers of the sequence and times have 48 bits in keys: enough for 100 years
// at 40,000 events per second and 30,000 restores, and for the year 10889.
const numberBytes = 6

func appendNumber(b []byte, n uint64) []byte {
	return append(b, byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func numberKey(n uint64) []byte { return appendNumber(make([]byte, 0, 16), n) }

func readNumber(b []byte) uint64 {
	if len(b) < numberBytes {
		panic(ErrCorrupt)
	}
	return uint64(b[0])<<40 | uint64(b[1])<<32 | uint64(b[2])<<24 | uint64(b[3])<<16 | uint64(b[4])<<8 | uint64(b[5])
}

func readU64(b []byte) uint64 {
	if len(b) < 8 {
		panic(ErrCorrupt)
	}
	return binary.BigEndian.Uint64(b)
}
