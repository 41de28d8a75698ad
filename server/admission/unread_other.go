//go:build !unix

package admission

import "net"

// hasUnread is not known here.
func hasUnread(*net.TCPConn) bool { return false }
