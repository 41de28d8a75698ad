package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// A conn is the connection of one caller, who has one request at a time. It is
// not an http.Client, which would take a third of a processor that it shares
// with the server.
type conn struct {
	net.Conn
	target    *Target
	grace     time.Duration
	reader    *bufio.Reader
	body      bytes.Buffer
	received  int64 // bytes, headers too
	throttled int   // requests that were sent again because of a 429
	last      bool  // the server closes the connection
	forget    func() bool
}

const (
	dialTimeout = 10 * time.Second
	dialAtOnce  = 64
	patience    = 30 * time.Second // for an answer, besides the wait that was asked for
	graceTime   = 3 * time.Second  // for a request under way when the run is stopped
)

// dial connects. When ctx is done, a request under way has the grace to end.
func (t *Target) dial(ctx context.Context, grace time.Duration) (*conn, error) {
	c := &conn{target: t, grace: grace}
	return c, c.dial(ctx)
}

func (c *conn) dial(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(dialing, "tcp", c.target.address())
	if err == nil && c.target.url.Scheme == "https" {
		secure := tls.Client(nc, &tls.Config{ServerName: c.target.url.Hostname(), NextProtos: []string{"http/1.1"}})
		nc, err = secure, secure.HandshakeContext(dialing)
	}
	if err != nil {
		return fmt.Errorf("cannot reach %s: %w", c.target.url, reason(err))
	}
	c.Conn, c.reader, c.last = nc, bufio.NewReaderSize(counter{nc, &c.received}, 16<<10), false
	c.forget = context.AfterFunc(ctx, func() { time.AfterFunc(c.grace, func() { nc.Close() }) })
	return nil
}

func (c *conn) Close() error {
	if c.Conn == nil {
		return nil
	}
	c.forget()
	return c.Conn.Close()
}

// dialAll opens n connections and asks something on each, so that the server has
// made by then what it makes for a connection.
func (t *Target) dialAll(ctx context.Context, n int) (conns []*conn, hangUp func(), err error) {
	hello := t.request("GET", "/v1", "", nil)
	conns = make([]*conn, n)
	hangUp = func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}
	_, err = spread(ctx, dialAtOnce, n, 0, func(_, i int) (err error) {
		if conns[i], err = t.dial(ctx, graceTime); err != nil {
			return err
		}
		_, err = conns[i].exchange(ctx, hello)
		conns[i].received = 0
		return err
	})
	if err != nil {
		hangUp()
	}
	return conns, hangUp, err
}

// reason leaves out of a network error what the sentence around it says.
func reason(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return op.Err
	}
	return err
}

type counter struct {
	io.Reader
	n *int64
}

func (c counter) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	*c.n += int64(n)
	return n, err
}

// An answer is one of the server. Its body is there until the next exchange.
type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration // from the first byte sent to the last one read
	end    time.Time
}

// exchange sends a request, as often as the server says that it is one too many,
// and reads the answer.
func (c *conn) exchange(ctx context.Context, request []byte) (answer, error) {
	return c.exchangeWithin(ctx, patience, request)
}

func (c *conn) exchangeWithin(ctx context.Context, limit time.Duration, request []byte) (answer, error) {
	for {
		if c.last {
			c.Close()
			if err := c.dial(ctx); err != nil {
				return answer{}, err
			}
		}
		a, err := c.once(limit, request)
		if err != nil || a.status != http.StatusTooManyRequests {
			return a, err
		}
		c.throttled++
		if err := rest(ctx, a.header); err != nil {
			return answer{}, err
		}
	}
}

// rest waits as long as a 429 asks for.
func rest(ctx context.Context, h http.Header) error {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil {
		seconds = 1
	}
	select {
	case <-time.After(time.Duration(min(max(seconds, 0), 60)) * time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *conn) once(limit time.Duration, request []byte) (a answer, err error) {
	start := time.Now()
	if err := c.SetDeadline(start.Add(limit)); err != nil {
		return a, err
	}
	if _, err := c.Write(request); err != nil {
		return a, err
	}
	resp, err := c.read()
	if err != nil {
		return a, fmt.Errorf("read the answer: %w", err)
	}
	c.last = resp.Close
	end := time.Now()
	return answer{resp.StatusCode, resp.Header, c.body.Bytes(), end.Sub(start), end}, nil
}

// read reads a whole response. Those before the last (1xx) say nothing here.
func (c *conn) read() (resp *http.Response, err error) {
	for resp == nil || resp.StatusCode < 200 {
		if resp, err = http.ReadResponse(c.reader, nil); err != nil {
			return nil, err
		}
	}
	c.body.Reset()
	_, err = c.body.ReadFrom(resp.Body)
	return resp, err
}

// expect returns an error unless the answer has the status.
func (a answer) expect(status int) error {
	if a.status == status {
		return nil
	}
	var problem struct{ Code, Detail string }
	if json.Unmarshal(a.body, &problem) != nil || problem.Code == "" {
		return fmt.Errorf("the server answered %d instead of %d", a.status, status)
	}
	return fmt.Errorf("the server answered %d instead of %d: %s, %s", a.status, status, problem.Code, problem.Detail)
}
