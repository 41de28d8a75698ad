//go:build unix

package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// handOver gives the files of a database that root has made to the owner of their directory:
// the service, which could not open files of root. Commands that root runs call it.
func handOver(db string) error {
	if os.Geteuid() != 0 || db == "" {
		return nil
	}
	directory, name := filepath.Split(db)
	if directory == "" {
		directory = "."
	}
	uid, gid, err := owner(directory)
	if err != nil || uid == 0 {
		return ignoreMissing(err)
	}
	entries, err := os.ReadDir(directory)
	errs := []error{ignoreMissing(err)}
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), name) {
			errs = append(errs, ignoreMissing(giveFile(filepath.Join(directory, e.Name()), uid, gid)))
		}
	}
	return errors.Join(errs...)
}

func owner(path string) (uid, gid int, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	stat := info.Sys().(*syscall.Stat_t)
	return int(stat.Uid), int(stat.Gid), nil
}

// giveFile gives a file of root away, if it has no other name. The owner of the directory could
// have put a link there to a file of somebody else.
func giveFile(path string, uid, gid int) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	stat := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || stat.Uid != 0 || stat.Nlink != 1 {
		return nil
	}
	return f.Chown(uid, gid)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) {
		return nil
	}
	return err
}
