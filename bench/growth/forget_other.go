//go:build !linux || !(amd64 || arm64)

package main

import "errors"

// forget is for Linux.
func forget(string) error { return errors.ErrUnsupported }
