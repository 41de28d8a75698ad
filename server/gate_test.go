package server

import (
	"net"
	"net/netip"
	"testing"
)

// TestAGateIsClosedTwice: by a server that stops, and by net/http, which may not
// have noticed.
func TestAGateIsClosedTwice(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gate := newConnections(DefaultCaps(), func(netip.Addr) bool { return true }, func(Cap) {}).listen(l)
	for range 2 {
		if err := gate.Close(); err != nil {
			t.Error(err)
		}
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("it is open")
	}
}
