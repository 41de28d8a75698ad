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

// copySuffix follows the name of the database in the name of a copy that is not complete. The
// name is always the same, so the next copy overwrites what a killed process has left. Nobody
// would give this name to a copy of their own.
const copySuffix = ".copy" + safefile.PartSuffix

// Backup returns a copy of the file as it is now: consistent, checked, and marked as a copy
// (see MarkRestored). The copy lies beside the database but has no name any more, so it is gone
// when it is closed. Events go on meanwhile. They only have to wait if the file has grown and
// has to be mapped again, at most until the copy is on the disk. Two calls make their copies
// one after the other.
func (s *Store) Backup(ctx context.Context) (*os.File, error) {
	select {
	case s.copying <- struct{}{}:
		defer func() { <-s.copying }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return copyNameless(ctx, s.path, s.db, func(id uint64) error { return s.writer.wait(id) })
}

// BackupFile is Store.Backup for a file that no process has open.
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

// copyNameless makes a copy beside path. It calls durable with the id of the transaction that
// it copies; durable returns when that transaction is on the disk.
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

// copyPages copies the pages of one transaction. It copies pages and not rows, because copying
// rows takes twenty times as long. While a reader may look at a page the writer cannot reuse
// it, and to map a file that has grown the writer has to wait for all readers.
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

// whileWanted is a writer that fails when the context has ended.
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

// MarkRestored notes in the file at path that it is a copy or a backup. The next Open retires
// every KeyPackage on a shelf, except last resorts, so that nothing is handed out that was
// already handed out after the copy was made. MarkRestored checks the file first, and refuses
// one that is damaged. A copy that was made while a server wrote to the file may be.
func MarkRestored(ctx context.Context, path string) error {
	return withChecked(ctx, path, false, mark)
}

func mark(db *bbolt.DB) error {
	return db.Update(func(tx *bbolt.Tx) error {
		return change(tx, store.NoteRestored)
	})
}

// Check returns nil if Examine finds nothing wrong with the file at path, which no process may
// have open. It changes nothing.
func Check(ctx context.Context, path string) error {
	return withChecked(ctx, path, true, func(*bbolt.DB) error { return nil })
}

// withChecked checks the file and then calls do with it.
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

// present returns an error if Open would make a new file.
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

// Restored reports whether all shelves were retired when the store was opened: the file was a
// copy, or had another state than was served last.
func (s *Store) Restored() bool { return s.restored != "" }

// RestoredBecause returns the reason, as a sentence without its end. It is empty if Restored is
// false.
func (s *Store) RestoredBecause() string { return s.restored }
