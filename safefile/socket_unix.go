//go:build unix

package safefile

import (
	"net"
	"sync"
	"syscall"
)

// umask is one for the whole process. Create does not depend on it.
var umask sync.Mutex

// Listen makes a socket at path that only this user can connect to, from the first
// moment on: with a chmod afterwards there would be one in which others can. It
// replaces nothing and follows no link.
func Listen(path string) (net.Listener, error) {
	umask.Lock()
	defer umask.Unlock()
	defer syscall.Umask(syscall.Umask(0o177))
	return net.Listen("unix", path)
}
