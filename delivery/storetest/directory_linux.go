package storetest

import (
	"os"
	"slices"
	"strings"
	"syscall"
)

// DirectoriesInMemory has testing.T.TempDir, in this process and in those that it starts, make
// its directories in memory if the machine has /dev/shm with a gigabyte free. Otherwise tests
// wait for syncs of the disk most of the time. A package whose tests are not about the disk
// calls it in an init function; trials/disk is about the disk, and so are benchmarks.
func DirectoriesInMemory() {
	if slices.ContainsFunc(os.Args, func(arg string) bool { return strings.HasPrefix(arg, "-test.bench=") && arg != "-test.bench=" }) {
		return
	}
	const shared, enough = "/dev/shm", 1 << 30
	var s syscall.Statfs_t
	if os.Getenv("GOTMPDIR") == "" && syscall.Statfs(shared, &s) == nil && int64(s.Bavail)*int64(s.Bsize) >= enough {
		_ = os.Setenv("GOTMPDIR", shared)
	}
}
