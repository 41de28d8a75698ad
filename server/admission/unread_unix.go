//go:build unix

package admission

import (
	"net"

	"golang.org/x/sys/unix"
)

// hasUnread reports whether the system holds bytes of the peer that nobody has read.
func hasUnread(c *net.TCPConn) (found bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		found = n > 0 && err == nil
	})
	return found
}
