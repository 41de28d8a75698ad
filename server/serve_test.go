package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"welcomed/mls/mlstest"
	"welcomed/server"
)

// raw sends text and reads the answer.
func raw(t *testing.T, addr, text string) *http.Response {
	t.Helper()
	c := dial(t, addr)
	_, err := io.WriteString(c, text)
	must(t, err)
	return c.answer()
}

// A conn is a client that does as it likes.
type conn struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(patience)))
	return &conn{c, t, bufio.NewReader(c)}
}

func (c *conn) answer() *http.Response {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	must(c.t, err)
	return resp
}

// begin sends the header of an upload, and returns when a handler waits for the
// body.
func (c *conn) begin(path string, length int) {
	c.t.Helper()
	_, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: message/mls\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", path, length)
	must(c.t, err)
	same(c.t, "interim answer", c.answer().StatusCode, 100)
}

func TestAnUploadUnderWayIsFinished(t *testing.T) {
	s := start(t, nil)
	kp := signer.KeyPackage()
	c := dial(t, s.api)
	c.begin(shelf, len(kp))
	_, err := c.Write(kp[:100])
	must(t, err)
	s.stop()
	eventually(t, "the listener to close", func() bool {
		c, err := net.Dial("tcp", s.api)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	same(t, "the admin listener says so", s.adminGet("/readyz", "").status, 503)
	_, err = c.Write(kp[100:])
	must(t, err)
	same(t, "status", c.answer().StatusCode, 201)
	wait(t, "the server", s.ended)
	must(t, s.err)
}

func TestARequestThatDoesNotEndIsCutOff(t *testing.T) {
	s := start(t, nil, func(s *server.Server) { s.Grace(time.Millisecond) })
	c := dial(t, s.api)
	c.begin(shelf, 100)
	s.stop()
	wait(t, "the server", s.ended)
	must(t, s.err) // it was told to stop, and has
	same(t, "says how many", strings.Contains(s.log.String(), "cut off") && strings.Contains(s.log.String(), "connections=1"), true)
}

// TestAConnectionThatSendsNothingIsNotWaitedFor: on any listener.
func TestAConnectionThatSendsNothingIsNotWaitedFor(t *testing.T) {
	s := start(t, nil, func(s *server.Server) { s.Grace(time.Hour) })
	silent, half, admin := dial(t, s.api), dial(t, s.api), dial(t, s.admin)
	_, err := half.Write([]byte("GET /v1 HT"))
	must(t, err)
	s.call("GET", "/v1", nil).want(200) // they were accepted before
	s.adminGet("/livez", "").want(200)
	s.stop()
	wait(t, "the server", s.ended)
	must(t, s.err)
	same(t, "nobody was cut off", strings.Contains(s.log.String(), "cut off"), false)
	for _, c := range []*conn{silent, half, admin} {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a connection is still open")
		}
	}
}

func TestAServerWhoseStoreFailedEnds(t *testing.T) {
	s := start(t, nil)
	close(s.store.failed)
	wait(t, "the server", s.ended)
	if s.err == nil {
		t.Error("it ended as if nothing were wrong")
	}
}

func TestAServerThatCannotListenEnds(t *testing.T) {
	s := server.New(server.Options{Store: &callerStore{}})
	api, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	api.Close()
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	if err := s.Serve(t.Context(), api, admin); err == nil {
		t.Error("it ended as if nothing were wrong")
	}
	if _, err := net.Dial("tcp", admin.Addr().String()); err == nil {
		t.Error("the other listener is still open")
	}
}

func TestABodyThatDoesNotComeIsNotWaitedFor(t *testing.T) {
	s := start(t, nil, func(s *server.Server) { s.Body(50 * time.Millisecond) })
	c := dial(t, s.api)
	c.begin(shelf, 100)
	same(t, "status", c.answer().StatusCode, 408)
	// Also where no handler reads it.
	idle := dial(t, s.api)
	_, err := io.WriteString(idle, "GET /none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
	must(t, err)
	same(t, "status", idle.answer().StatusCode, 404)
	if _, err := io.ReadAll(idle.r); err != nil {
		t.Errorf("the connection was not closed: %v", err)
	}
}

// TestALongPollOutlivesTheTimeForABody: the time for the body ends with it.
func TestALongPollOutlivesTheTimeForABody(t *testing.T) {
	s := start(t, nil, func(s *server.Server) { s.Body(20 * time.Millisecond); s.Write(20 * time.Millisecond) })
	s.call("POST", shelf, signer.KeyPackage()).want(201)
	c := dial(t, s.api)
	for range 2 { // on one connection
		_, err := io.WriteString(c, "POST "+phone+"/claim?wait=150ms HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
		must(t, err)
		resp := c.answer()
		same(t, "status", resp.StatusCode, 200)
		_, err = io.Copy(io.Discard, resp.Body)
		must(t, err)
	}
}

func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	s := start(t, nil, func(s *server.Server) { s.Write(100 * time.Millisecond) })
	for range 4 {
		s.call("POST", shelf, publication{newKeyPackages(50, mlstest.WithPadding(60<<10))}).want(201)
	}
	c := dial(t, s.api)
	must(t, c.Conn.(*net.TCPConn).SetReadBuffer(4<<10))
	_, err := io.WriteString(c, "GET /v1/users/alice/key-packages HTTP/1.1\r\nHost: localhost\r\n\r\n")
	must(t, err)
	// No system buffers 8 MiB for a client that takes 4 KiB, so the handler ends
	// only because it is not waited for.
	s.saw(observation{"/v1/users/:user/key-packages", "GET", 200})
}

func TestAHeaderThatIsTooLarge(t *testing.T) {
	s := start(t, nil)
	same(t, "status", raw(t, s.api, "GET /v1 HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n").StatusCode, 431)
}

func TestABodyThatIsTooLargeIsNotAskedFor(t *testing.T) {
	s := start(t, nil)
	resp := raw(t, s.api, "POST "+phone+"/claim HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
	same(t, "status", resp.StatusCode, 413)
}

func TestABodyWithoutALengthIsLimitedToo(t *testing.T) {
	s := start(t, nil)
	c := dial(t, s.api)
	go fmt.Fprintf(c, "POST %s/claim HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", phone, 2<<20, strings.Repeat(" ", 2<<20))
	same(t, "status", c.answer().StatusCode, 413)
}
