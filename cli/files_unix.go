//go:build unix

package cli

import (
	"fmt"
	"io/fs"
	"math"
	"syscall"
)

// openFiles returns how many files this process may open; 0 if that is not known. Go raises the
// limit as far as it can when a process starts.
func openFiles() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil || uint64(limit.Cur) > math.MaxInt32 {
		return 0
	}
	return int(limit.Cur)
}

// fileID tells one file from every other one of this machine.
func fileID(info fs.FileInfo) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d-%d", stat.Dev, stat.Ino)
}

// mayWrite returns nil if this user can make files in a directory.
func mayWrite(directory string) error {
	const write, search = 2, 1
	return syscall.Access(directory, write|search)
}
