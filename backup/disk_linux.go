package backup

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// freeBytes is how much this user may still write to the disk of a directory.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// forget has what is read of a file come from the disk.
func forget(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// SameDisk reports whether two directories, or what they are to be made in, are
// certain to be on one disk.
func SameDisk(a, b string) bool {
	of, known := diskOf(a)
	other, otherKnown := diskOf(b)
	return known && otherKnown && of == other
}

func diskOf(dir string) (disk uint64, known bool) {
	var s unix.Stat_t
	err := unix.Stat(dir, &s)
	if above := filepath.Dir(dir); err == unix.ENOENT && above != dir {
		return diskOf(above)
	}
	return s.Dev, err == nil
}
