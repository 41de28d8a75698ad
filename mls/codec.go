package mls

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// maxLength is the largest length that a vector header can say, and so the
// largest object that another object could contain or a ref be taken of.
const maxLength = 1<<30 - 1

// A decoder reads one struct, field after field. The first failure empties it:
// every later read returns a zero value, so that the code which reads a struct
// looks like the struct and the error is asked for once, at the end.
type decoder struct {
	rest cryptobyte.String
	err  *Error
}

// fail keeps the first failure only: what comes after it is its consequence.
func (d *decoder) fail(field, problem string) {
	if d.err == nil {
		d.err = refuse(CodeMalformed, "%s: %s", field, problem)
	}
	d.rest = nil
}

// within passes on the failure of the struct or vector that is field.
func (d *decoder) within(field string, inner *Error) {
	if inner != nil {
		d.fail(field, inner.Detail)
	}
}

// finish says how reading the struct called name went; a byte that is left over
// is a failure (RFC 9420 s6: nothing follows the struct).
func (d *decoder) finish(name string) error {
	if d.err == nil && !d.rest.Empty() {
		d.fail("end", "bytes left over")
	}
	if d.err == nil {
		return nil
	}
	return refuse(CodeMalformed, "read %s: %s", name, d.err.Detail)
}

func (d *decoder) uint8(field string) (v uint8) {
	if !d.rest.ReadUint8(&v) {
		d.fail(field, "input ends early")
	}
	return v
}

func (d *decoder) uint16(field string) (v uint16) {
	if !d.rest.ReadUint16(&v) {
		d.fail(field, "input ends early")
	}
	return v
}

func (d *decoder) uint32(field string) (v uint32) {
	if !d.rest.ReadUint32(&v) {
		d.fail(field, "input ends early")
	}
	return v
}

func (d *decoder) uint64(field string) (v uint64) {
	if !d.rest.ReadUint64(&v) {
		d.fail(field, "input ends early")
	}
	return v
}

// vector reads opaque field<V>. The result is part of the input, not a copy.
func (d *decoder) vector(field string) (v []byte) {
	n, problem := readVarint(&d.rest)
	if problem == "" && !d.rest.ReadBytes(&v, int(n)) {
		problem = "length is more than the input holds"
	}
	if problem != "" {
		d.fail(field, problem)
	}
	return v
}

// each reads a vector of structs. read takes at least one byte or fails.
func (d *decoder) each(field string, read func(*decoder)) {
	inner := decoder{rest: d.vector(field)}
	for !inner.rest.Empty() {
		read(&inner)
	}
	d.within(field, inner.err)
}

// few is each for at most so many structs: of a tiny one the value in memory takes
// many times its bytes, and is made before any signature is checked.
func (d *decoder) few(field string, most int, read func(*decoder)) {
	n := 0
	d.each(field, func(inner *decoder) {
		if n++; n > most {
			inner.fail("length", fmt.Sprintf("more than %d elements", most))
			return
		}
		read(inner)
	})
}

// uint16s reads T field<V> where T is a uint16.
func uint16s[T ~uint16](d *decoder, field string) []T {
	rest := cryptobyte.String(d.vector(field))
	if len(rest)%2 != 0 {
		d.fail(field, "odd number of bytes in a vector of uint16")
		return nil
	}
	values := make([]T, 0, len(rest)/2)
	for v := uint16(0); rest.ReadUint16(&v); {
		values = append(values, T(v))
	}
	return values
}

// readVarint reads the header of a variable-size vector (RFC 9420 s2.1.2): two
// bits that say whether it has 1, 2 or 4 bytes, then the length in the rest. Unlike
// in QUIC, only the shortest header that can say the length is valid.
func readVarint(s *cryptobyte.String) (n uint32, problem string) {
	var first uint8
	if !s.ReadUint8(&first) {
		return 0, "input ends before the length"
	}
	prefix := first >> 6
	if prefix == 3 {
		return 0, "length has the invalid prefix 11"
	}
	n = uint32(first & 0x3f)
	for range 1<<prefix - 1 {
		var next uint8
		if !s.ReadUint8(&next) {
			return 0, "input ends inside the length"
		}
		n = n<<8 | uint32(next)
	}
	if varintSize(n) != 1<<prefix {
		return 0, "length is not in its shortest form"
	}
	return n, ""
}

// varintSize returns how many bytes the header for a length of n has.
func varintSize(n uint32) int {
	switch {
	case n < 1<<6:
		return 1
	case n < 1<<14:
		return 2
	default:
		return 4
	}
}

// appendVarint appends the header for a length of n, which is at most maxLength.
func appendVarint(b []byte, n int) []byte {
	switch varintSize(uint32(n)) {
	case 1:
		return append(b, byte(n))
	case 2:
		return append(b, 1<<6|byte(n>>8), byte(n))
	default:
		return append(b, 2<<6|byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
}

// appendVector appends opaque v<V>.
func appendVector(b, v []byte) []byte {
	return append(appendVarint(b, len(v)), v...)
}
