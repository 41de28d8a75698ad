package server_test

import (
	"io"
	"net"
	"testing"
	"time"

	"welcomed/server"
	"welcomed/server/admission"
)

// ended waits until the server has closed a connection.
func (c *conn) ended() {
	c.t.Helper()
	if _, err := c.r.ReadByte(); err == nil {
		c.t.Fatal("there was an answer")
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("the connection stays open")
	}
}

func (s *service) open(n int) {
	s.t.Helper()
	eventually(s.t, "the connections to be accepted", func() bool { return s.server.Load().Connections == n })
}

func TestAnIdleConnectionGivesWayToANewOne(t *testing.T) {
	s, refused := capped(t, server.Caps{Connections: 3})
	busy := upload(t, s, "", "/v1/welcomes", 100, 0)
	first := dial(t, s.api)
	s.open(2)
	slow := dial(t, s.api) // its header never ends
	_, err := io.WriteString(slow, "GET /v1 HTTP/1.1\r\nX:")
	must(t, err)
	s.open(3)
	later := raw(t, s.api, "GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	same(t, "status", later.StatusCode, 200)
	first.ended()
	same(t, "counted", refused.has(admission.CapConnections), true)
	same(t, "status", raw(t, s.api, "GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n").StatusCode, 200)
	slow.ended()
	_, err = busy.Write(make([]byte, 100))
	must(t, err)
	same(t, "the busy one", busy.answer().StatusCode, 400)
}

func TestAConnectionWaitsWhereAllAreBusy(t *testing.T) {
	s, refused := capped(t, server.Caps{Connections: 2})
	busy := []*conn{upload(t, s, "", "/v1/welcomes", 100, 0), upload(t, s, "", "/v1/welcomes", 100, 0)}
	late := dial(t, s.api)
	_, err := io.WriteString(late, "GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	must(t, err)
	eventually(t, "it to wait", func() bool { return refused.has(admission.CapConnections) })
	s.adminGet("/readyz", "").want(200)
	must(t, late.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	if _, err := late.r.Peek(1); err == nil {
		t.Fatal("it was answered")
	}
	busy[0].Close()
	must(t, late.SetReadDeadline(time.Now().Add(patience)))
	same(t, "status", late.answer().StatusCode, 200)
	s.open(2)
}

func TestAServerStopsWhileAConnectionWaits(t *testing.T) {
	s, refused := capped(t, server.Caps{Connections: 1})
	busy := upload(t, s, "", "/v1/welcomes", 100, 0)
	dial(t, s.api)
	eventually(t, "it to wait", func() bool { return refused.has(admission.CapConnections) })
	s.stop()
	_, err := busy.Write(make([]byte, 100))
	must(t, err)
	same(t, "the busy one", busy.answer().StatusCode, 400)
	wait(t, "the server", s.ended)
	must(t, s.err)
}

func TestConnectionsOfOneAddress(t *testing.T) {
	s, refused := capped(t, server.Caps{ConnectionsPerAddress: 2}, (*server.Server).NothingShared)
	first := dial(t, s.api)
	dial(t, s.api)
	s.open(2)
	dial(t, s.api).ended()
	same(t, "counted", refused.has(admission.CapConnectionsPerAddress), true)
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	c, err := other.Dial("tcp", s.api)
	must(t, err)
	defer c.Close()
	s.open(3)
	first.Close()
	s.open(2)
	same(t, "status", raw(t, s.api, "GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n").StatusCode, 200)
}
