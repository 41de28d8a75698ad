package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"welcomed/safefile"
)

// newSuffix is what a file without rows is called while it is made. Every file that is
// not whole yet ends in safefile.PartSuffix: what a killed process has left may go.
const newSuffix = ".new" + safefile.PartSuffix

// newFile makes the file if there is none, or if it is to be a fresh one: under
// another name, so that what is found under its own is whole, also after a power cut
// in the middle.
func newFile(path string, opts Options) (made bool, err error) {
	defer refusing(&err)
	if !opts.fresh {
		switch info, err := os.Stat(path); {
		case err == nil && info.Mode().IsRegular() && info.Size() == 0:
			return false, errEmpty
		case err == nil:
			return false, nil
		case errors.Is(err, fs.ErrNotExist) && exists(path):
			return false, errDangling
		case errors.Is(err, fs.ErrNotExist) && opts.MustExist:
			return false, ErrNone
		case !errors.Is(err, fs.ErrNotExist):
			return false, err
		case exists(RevokedPath(path)):
			return false, errRevokedOnly
		}
	}
	part := path + newSuffix
	db, err := makeFile(part, safefile.Private, opts)
	if err != nil {
		return false, err
	}
	s := &Store{opts: opts}
	err = db.Update(s.create)
	if err == nil {
		err = nameFile(part, path, opts.fresh)
	}
	return true, errors.Join(err, db.Close())
}

// makeFile makes a file with no rows.
func makeFile(path string, perm fs.FileMode, opts Options) (*bbolt.DB, error) {
	f, err := safefile.Create(path, perm)
	if err != nil {
		return nil, err
	}
	db, _, err := openMade(f, path, opts, 0)
	return db, err
}

// nameFile gives a file its name. Only who has it locked does so, and another may
// have been first.
func nameFile(part, path string, fresh bool) error {
	if !fresh && exists(path) {
		return os.Remove(part)
	}
	if err := safefile.Rename(part, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// secure makes durable what the file shows: a server that was killed may have
// left a commit that is not on the disk yet. One whose last sync failed may have
// left one that the system believes to be there, so the meta page is written
// again. bbolt syncs the pages of a commit before that.
func (s *Store) secure() (err error) {
	if s.info, err = s.file.Stat(); err != nil {
		return err
	}
	if s.head, err = mapHead(s.file); err != nil {
		return fmt.Errorf("map: %w", err)
	}
	if err := s.rewriteMeta(); err != nil {
		return fmt.Errorf("write the meta page again: %w", err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return safefile.SyncDirectory(filepath.Dir(s.path))
}

func (s *Store) rewriteMeta() error {
	newest, _, err := newestMeta(s.file)
	if err != nil {
		return err
	}
	page, offset := make([]byte, pageSize), int64(newest)*pageSize
	if _, err := s.file.ReadAt(page, offset); err != nil {
		return err
	}
	_, err = s.file.WriteAt(page, offset)
	return err
}

// unmapHead ends touch.
func (s *Store) unmapHead() error {
	s.headMu.Lock()
	defer s.headMu.Unlock()
	head := s.head
	s.head = nil
	if head == nil {
		return nil
	}
	return unmapHead(head)
}
