//go:build !linux

package storetest

// DirectoriesInMemory does nothing: this system has no directory that is known to be in memory.
func DirectoriesInMemory() {}
