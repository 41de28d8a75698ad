package bolt

import (
	"encoding/binary"
	"time"
)

var (
	keyFormat = []byte("format")
	keyState  = []byte("state")
)

// A state is the row that every commit writes.
type state struct {
	sequence uint64
	merged   uint64    // pieces of the log before it are in their buckets
	seen     time.Time // the latest time that this file has seen
	Totals
}

func (s *state) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, s.sequence)
	b = binary.BigEndian.AppendUint64(b, s.merged)
	b = binary.BigEndian.AppendUint64(b, millis(s.seen))
	for _, c := range s.Counters() {
		b = binary.BigEndian.AppendUint64(b, uint64(*c))
	}
	return b
}

// decodeState reads the row, which has fewer counters in formats 3 and 4.
func decodeState(b []byte) (s state) {
	s.sequence, b = readU64(b), b[8:]
	s.merged, b = readU64(b), b[8:]
	s.seen, b = fromMillis(readU64(b)), b[8:]
	for i, c := range s.Counters() {
		if len(b) == 0 && (i == counters3 || i == counters4) {
			return s
		}
		*c, b = int64(readU64(b)), b[8:]
	}
	return s
}
