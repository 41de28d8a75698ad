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

// newSuffix ends the name of a file that is being made and has no rows yet. The name of every
// file that is not complete ends in safefile.PartSuffix, so what a killed process has left may
// be removed.
const newSuffix = ".new" + safefile.PartSuffix

// newFile makes the file if there is none, or if a fresh one is wanted. It makes it under
// another name and then renames it. So a file under its own name is complete, also after a
// power cut.
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

// nameFile gives a file its name. Only the process that has it locked does so. Another process
// may have been first.
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

// secure syncs what the file shows. A server that was killed may have left a commit that is not
// on the disk yet. If its last sync failed, the system may believe that the meta page is on the
// disk, so secure writes that page again. bbolt syncs all other pages of a commit before it.
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
