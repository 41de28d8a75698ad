package bolt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/delivery/archive"
	"welcomed/progress"
)

// A File is a database that nobody serves, to be moved to or from an archive. It
// implements archive.Exporter and archive.Importer.
type File struct {
	Path     string
	Limits   delivery.Limits    // of the server that will open it
	Progress *progress.Progress // may be nil
	// Final: after the export the file is not to be served any more.
	Final bool

	unchecked bool // an import takes KeyPackages that are no objects, in tests
	lines     int  // of a transaction of an import, fewer in tests
}

var (
	_ archive.Exporter = (*File)(nil)
	_ archive.Importer = (*File)(nil)
)

// keyMoved is when the file was exported for good.
var keyMoved = []byte("moved")

// Export implements archive.Exporter. The file is checked first, and is locked
// until Export returns. A final export marks it when everything was emitted: no
// server opens it then, unless MarkRestored makes a copy of it.
func (f *File) Export(ctx context.Context, emit func(archive.Record) error) error {
	var exported error
	err := f.sound(ctx, f.Path, !f.Final, func(db *bbolt.DB) error {
		exported = f.exportFrom(ctx, db, emit)
		if exported == nil && f.Final {
			return markMoved(db, time.Now())
		}
		return nil
	})
	return cmp.Or(exported, err)
}

// sound has do look at the file at path, once it was checked.
func (f *File) sound(ctx context.Context, path string, readOnly bool, do func(*bbolt.DB) error) error {
	return withFile(path, readOnly, f.Progress, func(db *bbolt.DB, rows int64) error {
		r, opts := &Report{}, CheckOptions{Progress: f.Progress, Most: 1}
		err := db.View(func(tx *bbolt.Tx) error { return r.examine(ctx, tx, opts, rows) })
		if err == nil {
			err = r.err()
		}
		if err == nil {
			err = do(db)
		}
		return err
	})
}

func markMoved(db *bbolt.DB, now time.Time) error {
	return db.Update(func(tx *bbolt.Tx) error {
		return errors.Join(tx.Bucket(bucketMeta.name).Put(keyMoved, appendNumber(nil, millis(now))), numberCommit(tx))
	})
}

// refuseMoved returns an error if the file was exported for good.
func refuseMoved(tx *bbolt.Tx) error {
	at := tx.Bucket(bucketMeta.name).Get(keyMoved)
	if len(at) != numberBytes {
		return nil
	}
	return fmt.Errorf("what is in it was moved away on %s by welcomed export --final: serve the store that it was imported into; to serve this one again as a restored backup, with its shelves empty, run welcomed restore --mark on it",
		fromMillis(readNumber(at)).Format(time.RFC3339))
}

// Moved returns when the file at path was exported for good the last time, zero if
// never.
func Moved(path string) (at time.Time, err error) {
	if err := present(path); err != nil {
		return at, err
	}
	if _, err := checkTree(path, nil); err != nil {
		return at, openError(path, err)
	}
	db, err := openFile(path, Options{LockTimeout: lockTimeout, readOnly: true})
	if err != nil {
		return at, openError(path, err)
	}
	defer db.Close()
	defer refusing(&err)
	err = db.View(func(tx *bbolt.Tx) error {
		if meta := tx.Bucket(bucketMeta.name); meta != nil && len(meta.Get(keyMoved)) == numberBytes {
			at = fromMillis(readNumber(meta.Get(keyMoved)))
		}
		return nil
	})
	return at, err
}

func (f *File) exportFrom(ctx context.Context, db *bbolt.DB, emit func(archive.Record) error) error {
	return db.View(func(tx *bbolt.Tx) error {
		t, _, err := snapshot(tx, f.Limits)
		if err != nil {
			return err
		}
		if f.Final && t.store.format != formatVersion {
			return fmt.Errorf("database %s has format %d, and a server that writes it would not see that it has moved: start this welcomed on it once, and stop it, before it is exported for good", f.Path, t.store.format)
		}
		return t.export(ctx, f.Final, f.Progress, emit)
	})
}
