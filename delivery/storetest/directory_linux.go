package storetest

import (
	"os"
	"syscall"
)

// DirectoriesInMemory has testing.T.TempDir, in this process and in those that it starts, make
// its directories in memory if the machine has /dev/shm with a gigabyte free. Otherwise tests
// wait for syncs of the disk most of the time. A package whose tests are not about the disk
// calls it in an init function; trials/disk is about the disk.
func DirectoriesInMemory() {
	const shared, enough = "/dev/shm", 1 << 30
	var s syscall.Statfs_t
	if os.Getenv("GOTMPDIR") == "" && syscall.Statfs(shared, &s) == nil && int64(s.Bavail)*int64(s.Bsize) >= enough {
		_ = os.Setenv("GOTMPDIR", shared)
	}
}
