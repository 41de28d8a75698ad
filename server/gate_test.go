package server

import (
	"net"
	"testing"
)

// A server that nobody is connected to closes its listener twice when it stops.
func TestAListenerIsClosedTwice(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gate := newConnections(DefaultCaps(), nil, nil).listen(l)
	for range 2 {
		if err := gate.Close(); err != nil {
			t.Error(err)
		}
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}
