//go:build linux && (amd64 || arm64)

package main

import (
	"os"
	"syscall"
)

// What posix_fadvise is told.
const (
	randomAccess = 1
	dontNeed     = 4
)

// forget has the system drop what it holds of a file in memory.
func forget(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	return advise(f, dontNeed)
}

// readSingly has pages of the file read one by one. What is read ahead, in large
// pieces, is counted as a whole as written when a page of it is.
func readSingly(f *os.File) error { return advise(f, randomAccess) }

func advise(f *os.File, advice uintptr) error {
	if _, _, errno := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, advice, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
