package mls

import (
	"encoding/hex"
	"strings"
)

// A pointSet holds points by their encodings, which are little-endian with bits
// on top that do not count.
type pointSet struct {
	ignored byte // bits of the last byte
	points  map[string]bool
}

func newPointSet(ignored byte, encodings ...string) pointSet {
	s := pointSet{ignored, make(map[string]bool, len(encodings))}
	for _, text := range encodings {
		b, err := hex.DecodeString(text)
		if err != nil {
			panic("mls: " + err.Error())
		}
		s.points[string(b)] = true
	}
	return s
}

func (s pointSet) has(key []byte) bool {
	if len(key) == 0 {
		return false
	}
	var buffer [57]byte
	b := append(buffer[:0], key...)
	b[len(b)-1] &^= s.ignored
	return s.points[string(b)]
}

// The encodings of points of low order, with those of 0 and 1 that are not
// reduced. An agreement with such a key has the same result for everybody, so RFC
// 9180 s7.1.4 has every sender refuse it; under such a signature key everybody
// can sign.
var (
	lowOrderX25519 = newPointSet(0x80,
		zeros(32), "01"+zeros(31),
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ec"+ones(30)+"7f", "ed"+ones(30)+"7f", "ee"+ones(30)+"7f")
	lowOrderEd25519 = newPointSet(0x80,
		zeros(32), "01"+zeros(31),
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ec"+ones(30)+"7f", "ed"+ones(30)+"7f", "ee"+ones(30)+"7f")
	lowOrderX448 = newPointSet(0,
		zeros(56), "01"+zeros(55),
		"fe"+ones(27)+"fe"+ones(27), ones(28)+"fe"+ones(27), zeros(28)+ones(28))
	lowOrderEd448 = newPointSet(0x80,
		zeros(57), "01"+zeros(56), "fe"+ones(27)+"fe"+ones(27)+"00")
)

func zeros(n int) string { return strings.Repeat("00", n) }

func ones(n int) string { return strings.Repeat("ff", n) }
