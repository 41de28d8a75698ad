package bolt

import (
	"encoding/binary"
	"time"

	"welcomed/store"
)

var keyState = []byte("state")

// A state is the row "state", which every commit writes.
type state struct {
	sequence uint64
	merged   uint64    // pieces of the log before it are in their buckets
	seen     time.Time // the latest time that this file has seen
	store.Totals
}

func (s *state) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, s.sequence)
	b = binary.BigEndian.AppendUint64(b, s.merged)
	b = binary.BigEndian.AppendUint64(b, store.Millis(s.seen))
	return s.Append(b)
}

// decodeState reads the row.
func decodeState(b []byte) (s state) {
	s.sequence, b = readU64(b), b[8:]
	s.merged, b = readU64(b), b[8:]
	s.seen, b = store.FromMillis(readU64(b)), b[8:]
	s.Totals = store.ReadTotals(b)
	return s
}

func readU64(b []byte) uint64 {
	if len(b) < 8 {
		panic(store.ErrCorrupt)
	}
	return binary.BigEndian.Uint64(b)
}
