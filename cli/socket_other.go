//go:build !unix

package cli

import "net"

// listenPrivately relies on the permissions of the directory.
func listenPrivately(path string) (net.Listener, error) { return net.Listen("unix", path) }
