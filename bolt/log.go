package bolt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"go.etcd.io/bbolt"

	"welcomed/store"
)

const (
	// pieceBytes lets two pieces fill a page.
	pieceBytes = (pageSize-16)/2 - 16 - 4 - pieceHeader
	// pieceHeader is the number in front of a piece.
	pieceHeader = 8
)

// A changeLog keeps the changes of logged buckets until they are merged. It has pieces in slots
// that are used again, so that its bucket neither grows nor shrinks in use. Each transaction
// appends what it has changed. Merging goes through the changed rows in the order of their
// keys, in rounds. When a round ends, all pieces from before its beginning are free.
type changeLog struct {
	place
	slots []uint64 // number of the piece in each; one below first is free

	saved place
	had   int // slots
	undo  []slotChange
}

// A place says how far the log has come.
type place struct {
	slot  int    // that is tried next
	first uint64 // pieces before it are merged; from 1
	sizes []int  // of the pieces from first on
	bytes int    // the sum of sizes
	hand  []byte // the row to be merged next; nil between two rounds
	round int    // changed rows when the round began
	mark  uint64 // pieces before it are merged when the round is over
}

// next returns the number of the next piece.
func (p *place) next() uint64 { return p.first + uint64(len(p.sizes)) }

// A slotChange is a change of a slot that a failed transaction undoes.
type slotChange struct {
	slot int
	was  uint64
}

// loadLog reads the log. Pieces with numbers below first are merged already; it applies the
// others to rows.
func loadLog(b *bbolt.Bucket, first uint64, rows *rowMap) *changeLog {
	l := &changeLog{place: place{first: first}}
	type piece struct {
		number uint64
		data   []byte
	}
	var pieces []piece
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		number := readU64(v)
		if number >= first {
			pieces = append(pieces, piece{number, v[pieceHeader:]})
		}
		if len(k) != 4 || int(binary.BigEndian.Uint32(k)) < len(l.slots) {
			panic(store.ErrCorrupt)
		}
		for len(l.slots) < int(binary.BigEndian.Uint32(k)) {
			l.slots = append(l.slots, 0) // one that is not there is free
		}
		l.slots = append(l.slots, number)
	}
	slices.SortFunc(pieces, func(a, b piece) int { return cmp.Compare(a.number, b.number) })
	var log []byte
	for _, p := range pieces {
		if p.number != l.next() {
			panic(store.ErrCorrupt)
		}
		log = append(log, p.data...)
		l.sizes = append(l.sizes, len(p.data))
		l.bytes += len(p.data)
	}
	replay(rows, log)
	return l
}

// begin saves the state of the log, to which rollback returns.
func (l *changeLog) begin() { l.saved, l.had, l.undo = l.place, len(l.slots), l.undo[:0] }

func (l *changeLog) rollback() {
	l.place = l.saved
	for _, u := range slices.Backward(l.undo) {
		l.slots[u.slot] = u.was
	}
	l.slots = l.slots[:l.had]
}

// append writes what a transaction has changed.
func (l *changeLog) append(b *openBucket, log []byte) error {
	for data := range slices.Chunk(log, pieceBytes) {
		number, slot := l.next(), l.freeSlot()
		value := binary.BigEndian.AppendUint64(make([]byte, 0, pieceHeader+len(data)), number)
		if err := b.Put(binary.BigEndian.AppendUint32(nil, uint32(slot)), append(value, data...)); err != nil {
			return err
		}
		l.undo = append(l.undo, slotChange{slot, l.slots[slot]})
		l.slots[slot] = number
		l.sizes = append(l.sizes, len(data))
		l.bytes += len(data)
	}
	return nil
}

// freeSlot returns the next free slot, or a new one if none is free. After each round slots are
// taken from the front again. So there are never more slots than pieces have waited at one
// time.
func (l *changeLog) freeSlot() int {
	for l.slot < len(l.slots) && l.slots[l.slot] >= l.first {
		l.slot++
	}
	if l.slot == len(l.slots) {
		l.slots = append(l.slots, 0)
	}
	l.slot++
	return l.slot - 1
}

// merge writes the next changed rows to their buckets, at most most. It begins where the last
// call stopped.
func (l *changeLog) merge(f *fileRows, most int) {
	if l.hand == nil {
		l.mark = l.next()
	}
	merged := nextChanges(f.changed, l.hand, most)
	for _, row := range merged {
		f.merge(row)
	}
	if len(merged) == most {
		l.hand = append(bytes.Clone(merged[most-1].keyBytes()), 0)
		return
	}
	l.hand = nil
	l.free(l.mark)
}

// free frees the slots of the pieces before number.
func (l *changeLog) free(number uint64) {
	n := int(number - l.first)
	for _, size := range l.sizes[:n] {
		l.bytes -= size
	}
	l.first, l.sizes, l.slot = number, l.sizes[n:], 0
}
