package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	berrors "go.etcd.io/bbolt/errors"
)

// newFile makes the file if there is none: under another name, so that what is
// found under its own is whole, also after a power cut in the middle.
func newFile(path string, opts Options) error {
	if exists(path) {
		return nil
	}
	part := path + ".new"
	db, err := openFile(part, opts)
	if errors.Is(err, berrors.ErrInvalid) { // left behind by a power cut
		if err := os.Remove(part); err != nil {
			return err
		}
		db, err = openFile(part, opts)
	}
	if err != nil {
		return err
	}
	return errors.Join(nameFile(part, path), db.Close())
}

// nameFile gives a file its name. Only who has it locked does so, and another may
// have been first.
func nameFile(part, path string) error {
	if exists(path) {
		return os.Remove(part)
	}
	if err := os.Rename(part, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
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
	return SyncDirectory(filepath.Dir(s.path))
}

// SyncDirectory makes durable which files a directory has, where that is possible:
// some file systems cannot, some directories may not be read.
func SyncDirectory(path string) error {
	d, err := os.Open(path)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
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
