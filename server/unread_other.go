//go:build !unix

package server

import "net"

// hasUnread is not known here.
func hasUnread(*net.TCPConn) bool { return false }
