//go:build !unix

package safefile

import "net"

// Listen makes a socket at path. It relies on the permissions of the directory.
func Listen(path string) (net.Listener, error) { return net.Listen("unix", path) }
