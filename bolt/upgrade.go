package bolt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"welcomed/safefile"
	"welcomed/store"
)

// An Upgrade says what was done to a file of an older format when it was opened.
type Upgrade struct {
	From, To int
	Copy     string // of the file as it was
}

// Upgraded returns what was done to the file when it was opened; false if it was in this format
// already.
func (s *Store) Upgraded() (Upgrade, bool) { return s.upgraded, s.upgraded.Copy != "" }

// upgrade keeps a copy of a file of an older format, and then brings it to this format in one
// transaction. Until that is on the disk, and after any error, the file is as it was.
func (s *Store) upgrade(meta store.Meta) (store.Meta, error) {
	from := meta.Format
	kept, err := keepCopy(s.db, fmt.Sprintf("%s.before-format-%d", s.path, store.FormatVersion))
	if err != nil {
		return meta, fmt.Errorf("its format is version %d and this welcomed writes %d: a copy could not be kept, and it was left as it is: %w", from, store.FormatVersion, full(err))
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		return store.Recovering(func() (err error) { meta, err = s.migrate(tx); return err })
	})
	if err != nil {
		return meta, fmt.Errorf("bring it from format %d to %d: %w; it was left as it is", from, store.FormatVersion, full(err))
	}
	s.upgraded = Upgrade{From: int(from), To: store.FormatVersion, Copy: kept}
	return meta, nil
}

func (s *Store) migrate(tx *bbolt.Tx) (store.Meta, error) {
	f, log, err := snapshot(tx, s.opts.Limits)
	if err != nil {
		return store.Meta{}, err
	}
	state := &f.file.state
	state.merged = log.next()
	for _, row := range nextChanges(f.file.changed, nil, f.file.changed.Len()) {
		f.file.merge(row)
	}
	f.file.direct = true
	if err := f.Migrate(); err != nil {
		return store.Meta{}, err
	}
	state.Add(f.Counted())
	meta := tx.Bucket(bucketMeta.name)
	if err := errors.Join(meta.Put(keyState, state.encode()), meta.Put(keyCommit, encodeCommit(tx, state.merged))); err != nil {
		return store.Meta{}, err
	}
	s.state.Store(state)
	return store.ReadMeta(&f.file)
}

// keepCopy keeps a copy of the file under the name path, and returns its name. If another copy
// has that name, a number follows. If a start that was interrupted has left the same copy, it
// is not made again.
func keepCopy(db *bbolt.DB, path string) (kept string, err error) {
	part := path + safefile.PartSuffix
	defer os.Remove(part)
	sum, err := copyDurably(db, part)
	if err != nil {
		return "", err
	}
	for n := 1; ; n++ {
		if kept = path; n > 1 {
			kept = fmt.Sprintf("%s.%d", path, n)
		}
		same, err := sumOf(kept)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// Nobody else makes these: the database is locked.
			return kept, safefile.Rename(part, kept)
		case err != nil:
			return "", err
		case bytes.Equal(sum, same):
			return kept, nil
		}
	}
}

// copyDurably copies the pages to a file, and returns the hash of what it wrote when that is on
// the disk.
func copyDurably(db *bbolt.DB, path string) (sum []byte, err error) {
	if size, free := sizeOf(db), freeBeside(path); free < size {
		return nil, fmt.Errorf("%d bytes are needed for it beside the database, and the disk has %d left", size, free)
	}
	f, err := copyPages(context.Background(), db, path, func(uint64) error { return nil })
	if err != nil {
		return nil, err
	}
	err = errors.Join(f.Sync(), f.Close())
	if err != nil {
		return nil, err
	}
	return sumOf(path)
}

// freeBeside returns how much is free on the disk of the file at path.
func freeBeside(path string) int64 {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return unknownSpace // making the file says why
	}
	defer dir.Close()
	free, _ := diskSpace(dir)
	return free
}

// sizeOf returns the size of all pages of a file.
func sizeOf(db *bbolt.DB) (size int64) {
	_ = db.View(func(tx *bbolt.Tx) error { size = tx.Size(); return nil })
	return size
}

func sumOf(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, f)
	return hash.Sum(nil), err
}
