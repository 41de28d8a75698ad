package server_test

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"welcomed/server"
)

// refusing tells the server to stop and returns when it takes no new connections.
func (s *service) refusing(t *testing.T) {
	t.Helper()
	s.stop()
	eventually(t, "the listener to close", func() bool {
		c, err := net.Dial("tcp", s.api)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// TestARequestOnItsWayIsAnswered: a connection looks idle until a request has come.
func TestARequestOnItsWayIsAnswered(t *testing.T) {
	s := start(t, nil, func(s *server.Server) { s.Quiet(patience) })
	var conns []*conn
	for range 3 {
		c := dial(t, s.api)
		same(t, "last answer", c.get("/v1"), false)
		conns = append(conns, c)
	}
	s.refusing(t)
	for _, c := range conns {
		same(t, "last answer", c.get("/v1"), true)
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the connection is still open: %v", err)
		}
	}
	// Nobody is left, so it does not wait for the lull to end.
	wait(t, "the server", s.ended)
	must(t, s.err)
}

func TestAnIdleConnectionIsNotWaitedForLong(t *testing.T) {
	s := start(t, nil, func(s *server.Server) { s.Quiet(time.Millisecond) })
	c := dial(t, s.api)
	c.get("/v1")
	s.stop()
	wait(t, "the server", s.ended)
	must(t, s.err)
}

// get asks for a path and reports whether the answer is the last one.
func (c *conn) get(path string) (last bool) {
	c.t.Helper()
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	must(c.t, err)
	resp := c.answer()
	_, err = io.Copy(io.Discard, resp.Body)
	must(c.t, err)
	return resp.Close
}
