package bolt

import (
	"errors"
	"os"
	"syscall"
)

// diskSpace returns how many bytes the disk of a file has free, and how many it has in all.
func diskSpace(f *os.File) (free, total int64) {
	var s syscall.Statfs_t
	if err := retried(func() error { return syscall.Fstatfs(int(f.Fd()), &s) }); err != nil || s.Blocks == 0 {
		return unknownSpace, unknownSpace
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize)
}

// allocate allocates the blocks of a range of the file, and makes the file at least that long.
func allocate(f *os.File, from, size int64) error {
	err := retried(func() error { return syscall.Fallocate(int(f.Fd()), 0, from, size) })
	if errors.Is(err, errors.ErrUnsupported) {
		return errNoAllocation
	}
	return err
}

// mapHead maps the meta pages of a file.
func mapHead(f *os.File) ([]byte, error) {
	return syscall.Mmap(int(f.Fd()), 0, 2*pageSize, syscall.PROT_READ, syscall.MAP_SHARED)
}

func unmapHead(head []byte) error { return syscall.Munmap(head) }

func retried(call func() error) error {
	for {
		if err := call(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
