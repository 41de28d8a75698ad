package bolt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/delivery/archive"
	"welcomed/safefile"
	"welcomed/store"
)

// Import implements archive.Importer. It does not change what is at f.Path. An import that
// fails leaves nothing.
func (f *File) Import(ctx context.Context, lines iter.Seq2[archive.Line, error]) error {
	if exists(f.Path) {
		return fmt.Errorf("%s exists, and an archive is only imported into a new database", f.Path)
	}
	if beside := RevokedPath(f.Path); exists(beside) {
		return fmt.Errorf("%s says what was revoked in another database, and the one that is made of an archive begins anew: move it away", beside)
	}
	part := f.Path + safefile.PartSuffix
	defer os.Remove(part)
	if err := f.importTo(ctx, part, lines); err != nil {
		return err
	}
	if err := syncFile(part); err != nil {
		return fmt.Errorf("sync %s: %w", part, err)
	}
	if err := f.sound(ctx, part, true, func(*bbolt.DB) error { return nil }); errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrUnsound) {
		return fmt.Errorf("%w: it says what cannot be: %w", archive.ErrBroken, err)
	} else if err != nil {
		return err
	}
	if exists(f.Path) {
		return fmt.Errorf("%s exists by now, and is not overwritten", f.Path)
	}
	return safefile.Rename(part, f.Path)
}

func syncFile(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// importTo makes the store, fills it, and closes it.
func (f *File) importTo(ctx context.Context, part string, lines iter.Seq2[archive.Line, error]) (err error) {
	var im *store.Importer
	var s *Store
	defer func() {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
		if err == nil && im != nil && !im.Header.DatedAt.IsZero() {
			err = markAhead(part, im.Header.DatedAt)
		}
	}()
	for line, err := range lines {
		if err != nil {
			return err
		}
		if header, ok := line.Record.(*archive.Header); ok {
			if s, err = Open(part, Options{Limits: f.Limits, Clock: stillClock{header.SeenAt}, TrustClock: true, fresh: true, headroom: f.headroom}); err != nil {
				return err
			}
			s.db.NoSync = true // one sync at the end is enough
			if im, err = s.Import(ctx, header); err != nil {
				return err
			}
			im.Unchecked, im.Lines = f.unchecked, cmp.Or(f.lines, im.Lines)
			continue
		}
		if im == nil {
			break
		}
		if err := im.Add(line); err != nil {
			return err
		}
	}
	if im == nil {
		return archive.At(1, errors.New("there is no header"))
	}
	return im.End()
}

// markAhead notes, in a file that no process has open, the latest time by which something in it
// is dated although that time has not come for certain. The importer cannot note it itself: its
// commits have a time that has come, so the store would take the clock for one that was set
// back.
func markAhead(path string, at time.Time) error {
	db, err := openFile(path, Options{LockTimeout: lockTimeout})
	if err != nil {
		return err
	}
	return errors.Join(db.Update(func(tx *bbolt.Tx) error {
		return change(tx, func(rows store.Rows) { store.NoteAhead(rows, at) })
	}), db.Close())
}

// A stillClock stands still at the latest time that an archive has seen.
type stillClock struct{ now time.Time }

func (c stillClock) Now() time.Time       { return c.now }
func (stillClock) Elapsed() time.Duration { return 0 }
