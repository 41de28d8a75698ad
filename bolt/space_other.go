//go:build !linux

package bolt

import "os"

func diskSpace(*os.File) (free, total int64) { return unknownSpace, unknownSpace }

func allocate(*os.File, int64, int64) error { return errNoAllocation }

func mapHead(*os.File) ([]byte, error) { return nil, nil }

func unmapHead([]byte) error { return nil }
