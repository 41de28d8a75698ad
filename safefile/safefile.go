// Package safefile makes files, directories and sockets. Nothing else in welcomed
// does, so that these promises hold for everything it leaves on a disk:
//
//   - A file is always a new one. Whatever had its name is removed first: a file that
//     a killed process left, one that somebody else put there to read it later, and a
//     link, whose target is never written.
//   - Its mode is the one that was asked for, whatever the umask is.
//   - What Write and Rename have put in its place survives a power cut.
//
// They hold also where others may write in the directory, except that who owns a
// directory can always take away and replace what is in it.
package safefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Private is the mode of files that only this user may read.
const Private fs.FileMode = 0o600

// Create makes the file at path, for reading and writing, with the mode perm.
func Create(path string, perm fs.FileMode) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// O_EXCL follows no link either.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, err
	}
	if err := setMode(f, perm); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return f, nil
}

// setMode leaves the mode alone on a file system that keeps none, as FAT: to its
// owner, which this user is, no other one refuses it.
func setMode(f *os.File, perm fs.FileMode) error {
	info, err := f.Stat()
	if err != nil || info.Mode().Perm() == perm {
		return err
	}
	err = f.Chmod(perm)
	for _, unable := range []error{fs.ErrPermission, errors.ErrUnsupported, syscall.EINVAL} {
		if errors.Is(err, unable) {
			return nil
		}
	}
	return err
}

// PartSuffix is behind the name of a file that Write has not finished.
const PartSuffix = ".part"

// Write makes the file at path with what fill writes. The file is there whole, on
// the disk and under its name, when Write returns nil; otherwise what was at path is
// still there. Until then it is called path+PartSuffix.
func Write(path string, perm fs.FileMode, fill func(part *os.File) error) error {
	part := path + PartSuffix
	f, err := Create(part, perm)
	if err != nil {
		return err
	}
	defer os.Remove(part)
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return Rename(part, path)
}

// Rename puts the file from in the place of to, in the same directory. When it
// returns nil, that survives a power cut.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDirectory(filepath.Dir(to))
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

// MakeDirectory makes a directory for this user only, and those above it that are
// missing. One that is there stays as it is.
func MakeDirectory(path string) error { return os.MkdirAll(path, 0o700) }

// TemporaryDirectory makes a directory in dir, or where the system has temporary
// files if dir is empty. Its name begins with prefix and is a new one.
func TemporaryDirectory(dir, prefix string) (string, error) { return os.MkdirTemp(dir, prefix) }

// Reopen opens the file at path, which Create has made, for reading and writing. It
// makes none and follows no link.
func Reopen(path string) (*os.File, error) {
	named, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !named.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("it is no regular file")}
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(named, opened) {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("it was replaced meanwhile")}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
