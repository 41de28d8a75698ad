package bolt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"welcomed/delivery"
	"welcomed/safefile"
	"welcomed/store"
)

// copySuffix is what the file of a copy is called while it is made, behind the
// name of the database: always the same, so that what a killed process left is
// written over, and nothing that somebody would call a copy of their own.
const copySuffix = ".copy" + safefile.PartSuffix

// Backup returns a copy of the file as it is now: consistent, checked and marked
// as a copy (see MarkRestored). It lies beside the database but has no name any
// more, so that closing it removes it. Events go on meanwhile: they wait at most
// where the file has to be mapped anew, and no longer than the disk takes to copy
// it. Copies are made one after the other.
func (s *Store) Backup(ctx context.Context) (*os.File, error) {
	select {
	case s.copying <- struct{}{}:
		defer func() { <-s.copying }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return copyNameless(ctx, s.path, s.db, func(id uint64) error { return s.writer.wait(id) })
}

// BackupFile is Store.Backup for a file that nobody has open.
func BackupFile(ctx context.Context, path string) (*os.File, error) {
	if err := present(path); err != nil {
		return nil, err
	}
	db, err := openFile(path, Options{LockTimeout: lockTimeout, readOnly: true})
	if err != nil {
		return nil, openError(path, err)
	}
	defer db.Close()
	return copyNameless(ctx, path, db, func(uint64) error { return nil })
}

// copyNameless makes a copy beside path. durable is told which transaction was
// copied and returns when it is on the disk.
func copyNameless(ctx context.Context, path string, db *bbolt.DB, durable func(id uint64) error) (_ *os.File, err error) {
	part := path + copySuffix
	defer os.Remove(part)
	f, err := copyPages(ctx, db, part, durable)
	if err != nil {
		return nil, fmt.Errorf("copy database %s: %w", path, full(err))
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := MarkRestored(ctx, part); err != nil {
		return nil, fmt.Errorf("the copy of database %s is not sound: %w", path, err)
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

// copyPages copies the pages of one transaction. Pages are copied as they are,
// not row by row: the writer cannot use a page again that a reader may look at,
// and has to wait for all readers to map a file that has grown. Copying rows
// takes twenty times as long.
func copyPages(ctx context.Context, db *bbolt.DB, path string, durable func(id uint64) error) (f *os.File, err error) {
	f, err = safefile.Create(path, safefile.Private)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	var id uint64
	err = db.View(func(tx *bbolt.Tx) error {
		id = uint64(tx.ID())
		_, err := tx.WriteTo(whileWanted{ctx, f})
		return err
	})
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		err = delivery.ErrClosed
	}
	if err == nil {
		err = durable(id)
	}
	return f, errors.Join(err, ctx.Err())
}

// whileWanted is a writer that fails when nobody wants the result any more.
type whileWanted struct {
	ctx context.Context
	to  io.Writer
}

func (w whileWanted) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.to.Write(b)
}

// MarkRestored notes in the file at path that it is a copy or a backup. On the
// next Open every KeyPackage on a shelf is retired, so that nothing is handed
// out that was handed out after the copy was made; last-resort ones stay. The
// file is checked first: a copy that was made while a server wrote to it may be
// of no use, and is refused.
func MarkRestored(ctx context.Context, path string) error {
	return withChecked(ctx, path, false, mark)
}

func mark(db *bbolt.DB) error {
	return db.Update(func(tx *bbolt.Tx) error {
		return change(tx, store.NoteRestored)
	})
}

// Check returns nil if the file at path, which nobody has open, is sound: if
// Examine finds nothing. It changes nothing.
func Check(ctx context.Context, path string) error {
	return withChecked(ctx, path, true, func(*bbolt.DB) error { return nil })
}

// withChecked has do look at a file that is sound.
func withChecked(ctx context.Context, path string, readOnly bool, do func(*bbolt.DB) error) error {
	return withFile(path, readOnly, nil, func(db *bbolt.DB, rows int64) error {
		r := &store.Report{}
		err := db.View(func(tx *bbolt.Tx) error { return examine(ctx, tx, r, store.CheckOptions{Most: 1}, rows) })
		if err == nil {
			err = r.Err()
		}
		if err == nil {
			err = do(db)
		}
		return err
	})
}

// present refuses where Open would make a new file.
func present(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && exists(path):
		err = errDangling
	case errors.Is(err, os.ErrNotExist):
		err = ErrNone
	case err == nil && info.Size() == 0:
		err = errEmpty
	}
	if err != nil {
		return openError(path, err)
	}
	return nil
}

// Restored reports whether the file was a copy when it was opened, or another state
// than was served before, so that all shelves were retired.
func (s *Store) Restored() bool { return s.restored != "" }

// RestoredBecause says why, in a sentence without its end; it is empty if they were
// not.
func (s *Store) RestoredBecause() string { return s.restored }
