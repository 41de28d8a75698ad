package bolt

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/delivery/archive"
	"welcomed/progress"
	"welcomed/store"
)

// A File is a database that no server serves, and that is moved to or from an archive. It
// implements archive.Exporter and archive.Importer.
type File struct {
	Path     string
	Limits   delivery.Limits    // of the server that will open it
	Progress *progress.Progress // may be nil
	// Final: after the export the file is not to be served any more.
	Final bool

	unchecked bool  // an import takes KeyPackages that are no objects, in tests
	lines     int   // of a transaction of an import, fewer in tests
	headroom  int64 // as in Options
}

var (
	_ archive.Exporter = (*File)(nil)
	_ archive.Importer = (*File)(nil)
)

// Export implements archive.Exporter. It checks the file first, and keeps it locked until it
// returns. A final export marks the file when everything was emitted. From then on no server
// opens it, unless MarkRestored makes a copy of it.
func (f *File) Export(ctx context.Context, emit func(archive.Record) error) error {
	var exported error
	err := f.sound(ctx, f.Path, !f.Final, func(db *bbolt.DB) error {
		exported = f.exportFrom(ctx, db, emit)
		if exported == nil && f.Final {
			return db.Update(func(tx *bbolt.Tx) error {
				return change(tx, func(rows store.Rows) { store.NoteMoved(rows, time.Now()) })
			})
		}
		return nil
	})
	return cmp.Or(exported, err)
}

// sound checks the file at path, and then calls do with it.
func (f *File) sound(ctx context.Context, path string, readOnly bool, do func(*bbolt.DB) error) error {
	return withFile(path, readOnly, f.Progress, func(db *bbolt.DB, rows int64) error {
		r, opts := &store.Report{}, store.CheckOptions{Progress: f.Progress, Most: 1}
		err := db.View(func(tx *bbolt.Tx) error { return examine(ctx, tx, r, opts, rows) })
		if err == nil {
			err = r.Err()
		}
		if err == nil {
			err = do(db)
		}
		return err
	})
}

// refuseMoved returns an error if the file was exported for good.
func refuseMoved(meta fileMeta) error {
	if meta.MovedAt.IsZero() {
		return nil
	}
	return fmt.Errorf("what is in it was moved away on %s by welcomed export --final: serve the store that it was imported into; to serve this one again as a restored backup, with its shelves empty, run welcomed restore --mark on it",
		meta.MovedAt.Format(time.RFC3339))
}

// Moved returns when the file at path was last exported for good; zero if never.
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
		if tx.Bucket(bucketMeta.name) == nil {
			return nil
		}
		meta, err := readMeta(tx)
		at = meta.MovedAt
		return err
	})
	return at, err
}

func (f *File) exportFrom(ctx context.Context, db *bbolt.DB, emit func(archive.Record) error) error {
	return db.View(func(tx *bbolt.Tx) error {
		t, _, err := snapshot(tx, f.Limits)
		if err != nil {
			return err
		}
		if f.Final && t.meta.Format != store.FormatVersion {
			return fmt.Errorf("database %s has format %d, and a server that writes it would not see that it has moved: start this welcomed on it once, and stop it, before it is exported for good", f.Path, t.meta.Format)
		}
		return t.Export(ctx, f.Final, f.Progress, emit)
	})
}
