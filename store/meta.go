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

// ErrForeign: this is the database of another program.
var ErrForeign = errors.New("not a welcomed database")

// Meta has the rows of KindMeta, which say how to read all others. An engine reads it first.
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

// ReadMeta reads the rows that Create, Migrate and the functions below write. It returns an
// error if the rows are not those of a database of ours, if they are damaged, or if they have a
// format that Migrate cannot bring to FormatVersion.
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

// Identify gives a database an id if it has none, because it is from before there were ids. The
// id is the argument, or a new one if that is empty. Identify returns the id of the database.
func (s *Store) Identify(ctx context.Context, id string) (string, error) {
	if id == "" {
		id = string(newID())
	}
	return id, s.run(ctx, func(t *Txn) error { t.put(KindMeta, keyID, []byte(id)); return nil })
}

func newID() []byte { return []byte(rand.Text()[:16]) }

func encodeFormat(format uint32) []byte { return binary.BigEndian.AppendUint32(nil, format) }

// NoteRestored notes that the database is a restored copy, see delivery.Restore. Such a copy
// may be served, although the original was exported for good.
func NoteRestored(rows Rows) {
	rows.Put(KindMeta, keyRestored, []byte{1})
	rows.Delete(KindMeta, keyMoved)
}

// NoteMoved notes that the database was exported for good: it is not served any more.
func NoteMoved(rows Rows, at time.Time) { rows.Put(KindMeta, keyMoved, numberKey(Millis(at))) }

// NoteAhead notes the latest time by which something is dated although it has not come for
// certain.
func NoteAhead(rows Rows, at time.Time) { rows.Put(KindMeta, keyAhead, numberKey(Millis(at))) }
