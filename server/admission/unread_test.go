//go:build unix

package admission

import (
	"net"
	"net/http"
	"net/netip"
	"testing"
)

// TestWhatHasComeOverAnIdleConnectionIsKnown: a server that stops closes idle connections,
// but none over which a request has come that it has not read yet.
func TestWhatHasComeOverAnIdleConnectionIsKnown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cs := NewConnections(Caps{Connections: 10, ConnectionsPerAddress: 10}, func(netip.Addr) bool { return false }, func(Cap) {})
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := cs.admit(accepted.(*net.TCPConn))
	defer c.Close()

	expect := func(when string, want bool) {
		t.Helper()
		if got := cs.Unread(); got != want {
			t.Errorf("%s: unread is %v, want %v", when, got, want)
		}
	}
	cs.Observe(c, http.StateIdle)
	expect("nothing was sent", false)
	if _, err := client.Write([]byte("GET")); err != nil {
		t.Fatal(err)
	}
	expect("it is with the system", true)
	if _, err := c.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	expect("net/http has read it and has not told", true)
	cs.Observe(c, http.StateActive)
	expect("it is under way", false)
	cs.Observe(c, http.StateIdle)
	expect("it was answered", false)
}
