//go:build !linux

package cli

import "os"

// fdatasync is all that there is elsewhere.
func fdatasync(f *os.File) error { return f.Sync() }
