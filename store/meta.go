package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

var (
	keyFormat = []byte("format")
	// keyID is the id of the database, which its backups have too.
	keyID = []byte("id")
	// keyMoved is when the database was exported for good.
	keyMoved = []byte("moved")
)

// ErrForeign: what was opened is the database of something else.
var ErrForeign = errors.New("not a welcomed database")

// Meta is what the rows of KindMeta say of all others. An engine reads it first.
type Meta struct {
	Format   uint32    // of the rows
	ID       string    // of the database; empty: it is from before there were ids
	Restored bool      // it is a copy, and its shelves are still to be retired
	MovedAt  time.Time // when it was exported for good; zero: never

	summedFrom uint64 // the first Welcome whose rows have checksums
}

// Create writes the first rows of a database.
func Create(rows Rows) {
	rows.Put(KindMeta, keyFormat, encodeFormat(FormatVersion))
	rows.Put(KindMeta, keyRestoreEpoch, newEpoch())
	rows.Put(KindMeta, keyID, newID())
	rows.Put(KindMeta, keySummedFrom, encodeSummedFrom(1))
}

// ReadMeta reads what Create, Migrate and the marks below have written. An error says that
// the rows are not those of a database, are damaged, or have a format that cannot be
// brought to FormatVersion.
func ReadMeta(rows Rows) (m Meta, err error) {
	format := rows.Get(KindMeta, keyFormat)
	if len(format) != 4 {
		return m, ErrForeign
	}
	m.Format = binary.BigEndian.Uint32(format)
	switch {
	case m.Format < oldestFormat:
		return m, fmt.Errorf("its format is version %d, which was never released, and this welcomed knows %d: it was left as it is", m.Format, FormatVersion)
	case m.Format > FormatVersion:
		return m, fmt.Errorf("its format is version %d and this welcomed knows %d: use a newer welcomed, it was left as it is", m.Format, FormatVersion)
	}
	m.ID, m.Restored = string(rows.Get(KindMeta, keyID)), rows.Get(KindMeta, keyRestored) != nil
	if at := rows.Get(KindMeta, keyMoved); len(at) == numberBytes {
		m.MovedAt = FromMillis(readNumber(at))
	}
	m.summedFrom, err = decodeSummedFrom(rows.Get(KindMeta, keySummedFrom), m.Format)
	return m, err
}

// Identify gives a database from before there were ids one, that of the argument or a new
// one if it is empty, and returns it.
func (s *Store) Identify(ctx context.Context, id string) (string, error) {
	if id == "" {
		id = string(newID())
	}
	return id, s.run(ctx, func(t *Txn) error { t.put(KindMeta, keyID, []byte(id)); return nil })
}

func newID() []byte { return []byte(rand.Text()[:16]) }

func encodeFormat(format uint32) []byte { return binary.BigEndian.AppendUint32(nil, format) }

// NoteRestored notes that the database is a copy, see delivery.Restore, and that it may be
// served although the one that it is a copy of was exported for good.
func NoteRestored(rows Rows) {
	rows.Put(KindMeta, keyRestored, []byte{1})
	rows.Delete(KindMeta, keyMoved)
}

// NoteMoved notes that the database was exported for good.
func NoteMoved(rows Rows, at time.Time) { rows.Put(KindMeta, keyMoved, numberKey(Millis(at))) }

// NoteAhead notes by what time something is dated that has not come for certain.
func NoteAhead(rows Rows, at time.Time) { rows.Put(KindMeta, keyAhead, numberKey(Millis(at))) }
