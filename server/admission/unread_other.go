//go:build !unix

package admission

import "net"

// hasUnread cannot find this out on this system.
func hasUnread(*net.TCPConn) bool { return false }
