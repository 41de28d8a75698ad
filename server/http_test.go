package server_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"welcomed/server"
)

// TestWhatIsNoHTTP: net/http refuses it before a handler sees it, in words of its
// own and without a Request-Id; what it lets through is refused as everything else
// is. Afterwards the server still serves.
func TestWhatIsNoHTTP(t *testing.T) {
	s := start(t, nil)
	const local = "Host: localhost\r\n"
	for _, row := range []struct {
		what, request string
		status        int
		ours          bool // with a Request-Id and a problem
	}{
		{"no Host", "GET /v1 HTTP/1.1\r\n\r\n", 400, false},
		{"two Hosts", "GET /v1 HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400, false},
		{"a space in Host", "GET /v1 HTTP/1.1\r\nHost: a b\r\n\r\n", 400, false},
		{"a space behind the name of a header", "GET /v1 HTTP/1.1\r\nHost : localhost\r\n\r\n", 400, false},
		{"a control character in a header", "GET /v1 HTTP/1.1\r\n" + local + "X: \x00\r\n\r\n", 400, false},
		{"an escape that is none", "GET /%zz HTTP/1.1\r\n" + local + "\r\n", 400, false},
		{"a path without a slash", "GET v1 HTTP/1.1\r\n" + local + "\r\n", 400, false},
		{"a NUL in the path", "GET /v1\x00 HTTP/1.1\r\n" + local + "\r\n", 400, false},
		{"a method that is no token", "G(T /v1 HTTP/1.1\r\n" + local + "\r\n", 400, false},
		{"two blanks in the first line", "GET  /v1 HTTP/1.1\r\n" + local + "\r\n", 400, false},
		{"a header that is too large", "GET /v1 HTTP/1.1\r\n" + local + "X: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, false},
		{"too many headers", "GET /v1 HTTP/1.1\r\n" + local + strings.Repeat("X: y\r\n", 12_000) + "\r\n", 431, false},
		{"a version that is not", "GET /v1 HTTP/3.7\r\n" + local + "\r\n", 505, false},
		{"an expectation that nobody has", "POST /v1/welcomes HTTP/1.1\r\n" + local + "Expect: x\r\nContent-Length: 2\r\n\r\n{}", 417, false},
		{"two lengths", "POST /v1/welcomes HTTP/1.1\r\n" + local + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, false},
		{"a length below zero", "POST /v1/welcomes HTTP/1.1\r\n" + local + "Content-Length: -2\r\n\r\n{}", 400, false},
		{"a length past all numbers", "POST /v1/welcomes HTTP/1.1\r\n" + local + "Content-Length: 99999999999999999999\r\n\r\n{}", 400, false},
		{"an encoding that is not read", "POST /v1/welcomes HTTP/1.1\r\n" + local + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, false},

		{"no Host in HTTP/1.0", "GET /v1 HTTP/1.0\r\n\r\n", 403, true},
		{"a method that nobody has", "BREW /v1 HTTP/1.1\r\n" + local + "\r\n", 405, true},
		{"a path of another server", "GET http://example.org/v1 HTTP/1.1\r\n" + local + "\r\n", 403, true},
		{"a tunnel", "CONNECT localhost:1 HTTP/1.1\r\n" + local + "\r\n", 405, true},
		{"a chunk without a size", "POST /v1/welcomes HTTP/1.1\r\n" + local + "Content-Type: message/mls\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, true},
		{"a chunk past all numbers", "POST /v1/welcomes HTTP/1.1\r\n" + local + "Content-Type: message/mls\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400, true},
		{"a length that was announced too large", "POST /v1/users/alice/devices/phone/claim HTTP/1.1\r\n" + local + "Content-Length: 99999999999\r\n\r\n{}", 413, true},
	} {
		resp := raw(t, s.api, row.request)
		body, err := io.ReadAll(io.LimitReader(resp.Body, 2000))
		must(t, err)
		if resp.StatusCode != row.status || (resp.Header.Get("Request-Id") != "") != row.ours {
			t.Errorf("%s: %d, Request-Id %q: %s", row.what, resp.StatusCode, resp.Header.Get("Request-Id"), body)
		}
		if row.ours {
			reply{t: t, what: row.what, status: resp.StatusCode, header: resp.Header, body: body}.check("")
		}
	}
	s.call("GET", "/v1", nil).want(200)
	same(t, "log", badLines(s.log.String()), "")
}

// TestHeadHasNoBody: on every route that has GET, whatever the answer is.
func TestHeadHasNoBody(t *testing.T) {
	s := start(t, nil)
	s.stock(2)
	for _, route := range server.Routes() {
		method, pattern, _ := strings.Cut(route, " ")
		for _, header := range []string{"Host: localhost", "Host: example.org", "Host: localhost\r\nRange: bytes=0-3", "Host: localhost\r\nIf-None-Match: *"} {
			c := dial(t, s.api)
			_, err := io.WriteString(c, "HEAD "+strings.ReplaceAll(strings.ReplaceAll(concrete(pattern), "{id}", "x"), "{ref}", "x")+" HTTP/1.1\r\n"+header+"\r\nConnection: close\r\n\r\n")
			must(t, err)
			answer, err := io.ReadAll(c.r)
			must(t, err)
			_, body, whole := bytes.Cut(answer, []byte("\r\n\r\n"))
			resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), &http.Request{Method: "HEAD"})
			must(t, err)
			if !whole || len(body) > 0 {
				t.Errorf("HEAD of %s with %q: %s", pattern, header, answer)
			}
			if method == "GET" && resp.StatusCode == http.StatusMethodNotAllowed {
				t.Errorf("%s has no HEAD", pattern)
			}
		}
	}
}

// TestRequestsOneAfterTheOther: those that come without waiting for an answer are
// answered in their order, and the one that is no HTTP ends the connection.
func TestRequestsOneAfterTheOther(t *testing.T) {
	s := start(t, nil)
	c := dial(t, s.api)
	one := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n" }
	_, err := io.WriteString(c, one("/v1")+one("/x")+"POST /v1/welcomes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"+one("/v1/welcomes/x")+one("/%zz")+one("/v1"))
	must(t, err)
	for _, status := range []int{200, 404, 400, 404, 400} {
		resp := c.answer()
		same(t, "status", resp.StatusCode, status)
		_, err := io.Copy(io.Discard, resp.Body)
		must(t, err)
	}
	rest, err := io.ReadAll(c.r)
	same(t, "rest", string(rest), "")
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Error("the connection stays open")
	}
}

// TestASlowHeaderIsCutOff: one byte after the other keeps no connection open.
func TestASlowHeaderIsCutOff(t *testing.T) {
	s := start(t, func(o *server.Options) { o.HeaderRead = 100 * time.Millisecond })
	c := dial(t, s.api)
	for i := 0; ; i++ {
		if _, err := c.Write([]byte("GET /v1 HTTP/1.1\r\nHost: localhost\r\nX: "[i%30 : i%30+1])); err != nil {
			break
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := c.r.ReadByte(); err == io.EOF {
			break
		}
		if i == 1000 {
			t.Fatal("it is still open")
		}
	}
}

// TestTwoLengthsEndTheConnection: a request with Content-Length and
// Transfer-Encoding is answered, and nothing that comes behind it is read (RFC 9112
// §6.1). On all listeners, and for all that is chunked.
func TestTwoLengthsEndTheConnection(t *testing.T) {
	s := start(t, nil)
	const next = "GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for _, row := range []struct{ what, addr, first string }{
		{"both", s.api, "POST /v1/users/alice/devices/phone/claim HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
		{"the body is not read", s.api, "GET /v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"on the admin listener", s.admin, "GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	} {
		c := dial(t, row.addr)
		_, err := io.WriteString(c, row.first+next)
		must(t, err)
		first := c.answer()
		same(t, row.what, first.StatusCode, 200)
		same(t, row.what+": closes", first.Close, true)
		_, err = io.Copy(io.Discard, first.Body)
		must(t, err)
		rest, _ := io.ReadAll(c.r) // the peer may reset
		same(t, row.what+": what comes behind it", string(rest), "")
	}
	c := dial(t, s.api)
	_, err := io.WriteString(c, next+next)
	must(t, err)
	for range 2 {
		answer := c.answer()
		same(t, "without, it goes on", answer.Close, false)
		_, err = io.Copy(io.Discard, answer.Body)
		must(t, err)
	}
}
