//go:build unix

package bolt

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// whose says to which user the file at path belongs, or which directory hides it or does not
// allow to make it.
func whose(path string) string {
	for {
		info, err := os.Stat(path)
		if err == nil && (!info.IsDir() || !access(path)) {
			owner := info.Sys().(*syscall.Stat_t)
			return fmt.Sprintf("%s belongs to user %d and group %d with mode %04o, and this is user %d",
				path, owner.Uid, owner.Gid, info.Mode().Perm(), os.Geteuid())
		}
		if up := filepath.Dir(path); up != path {
			path = up
			continue
		}
		return fmt.Sprintf("this is user %d", os.Geteuid())
	}
}

// access reports whether this user can make and find files in a directory.
func access(directory string) bool {
	const write, search = 2, 1
	return syscall.Access(directory, write|search) == nil
}
