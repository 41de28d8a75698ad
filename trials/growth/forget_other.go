//go:build !linux || !(amd64 || arm64)

package main

import (
	"errors"
	"os"
)

// forget is for Linux.
func forget(string) error { return errors.ErrUnsupported }

func readSingly(*os.File) error { return errors.ErrUnsupported }
