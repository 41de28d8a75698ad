//go:build unix

package cli

import (
	"net"
	"sync"
	"syscall"
)

// umask is one for the whole process.
var umask sync.Mutex

// listenPrivately makes a socket that nobody but this user can connect to at any
// time: with a chmod afterwards there would be a moment.
func listenPrivately(path string) (net.Listener, error) {
	umask.Lock()
	defer umask.Unlock()
	defer syscall.Umask(syscall.Umask(0o177))
	return net.Listen("unix", path)
}
