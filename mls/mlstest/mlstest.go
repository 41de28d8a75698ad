// Package mlstest makes KeyPackages and Welcomes, for tests, demonstrations and
// load generators. The KeyPackages are valid and signed like a client's, in all
// seven suites of RFC 9420, unless an option gives them a defect. The Welcomes are
// well-formed, but what should be encrypted in them is random bytes, so nobody
// can join with one.
//
// It has no fixtures and no clock. Functions panic only where the system has no
// randomness or where they are asked for a cipher suite that does not exist.
package mlstest

import (
	"crypto/rand"
	"fmt"

	"welcomed/mls"
)

// NoEnd is the not_after of a KeyPackage that never expires.
const NoEnd = 1<<64 - 1

// Suites are all suites that KeyPackages can be made for.
var Suites = []mls.CipherSuite{1, 2, 3, 4, 5, 6, 7}

// Random returns n random bytes.
func Random(n int) []byte {
	b := make([]byte, n)
	must(rand.Read(b))
	return b
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("mlstest: %v", err))
	}
	return v
}

func appendUint16(b []byte, v uint16) []byte { return append(b, byte(v>>8), byte(v)) }

// Vector returns opaque v<V> (RFC 9420 s2.1.2). v is shorter than 1 GiB.
func Vector(v []byte) []byte { return appendVector(make([]byte, 0, len(v)+4), v) }

func appendVector(b, v []byte) []byte {
	switch n := len(v); {
	case n < 1<<6:
		b = append(b, byte(n))
	case n < 1<<14:
		b = append(b, 1<<6|byte(n>>8), byte(n))
	default:
		b = append(b, 2<<6|byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, v...)
}

func appendUint16s[T ~uint16](b []byte, values []T) []byte {
	var list []byte
	for _, v := range values {
		list = appendUint16(list, uint16(v))
	}
	return appendVector(b, list)
}

func appendExtensions(b []byte, extensions []mls.Extension) []byte {
	var list []byte
	for _, e := range extensions {
		list = appendUint16(list, uint16(e.Type))
		list = appendVector(list, e.Data)
	}
	return appendVector(b, list)
}
