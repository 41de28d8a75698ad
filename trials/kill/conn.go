package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"welcomed/trials/harness"
)

const (
	mediaJSON = harness.MediaJSON
	mediaMLS  = harness.MediaMLS
)

// patience is how long an answer may take, long polls included.
const patience = 2 * time.Minute

// A request is one that can be sent again as it is.
type request struct {
	method, path string
	media        string // of the body
	header       map[string]string
	body         []byte
}

// bytes returns what goes over the wire. This is the place for an Authorization
// header.
func (q request) bytes(host string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", q.method, q.path, host)
	if q.media != "" {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", q.media)
	}
	for name, value := range q.header {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	if q.method != http.MethodGet {
		b.WriteString("Content-Length: " + strconv.Itoa(len(q.body)) + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(q.body)
	return b.Bytes()
}

// An answer is a whole one.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// errNotSent: there was no connection, so nothing of the request was sent.
var errNotSent = errors.New("not sent")

// A conn is the connection of one client, who has one request at a time. It is
// not an http.Client, which sends some requests again by itself.
type conn struct {
	host       *host
	net        net.Conn
	reader     *bufio.Reader
	generation int64 // of the process at the other end; 0: it is not known
	used       bool  // the server has answered on it
}

// exchange sends a request and reads the answer.
func (c *conn) exchange(q request) (answer, error) {
	if c.net == nil {
		if err := c.dial(); err != nil {
			return answer{}, fmt.Errorf("%w: %w", errNotSent, err)
		}
	}
	a, last, err := c.once(q)
	if err != nil || last {
		c.close()
	}
	c.used = c.used || err == nil
	return a, err
}

func (c *conn) dial() (err error) {
	before := c.host.generation.Load()
	if c.net, err = net.DialTimeout("tcp", c.host.how.Listen, patience); err != nil {
		c.net = nil
		return err
	}
	c.reader, c.used = bufio.NewReaderSize(c.net, 16<<10), false
	if c.generation = c.host.generation.Load(); c.generation != before {
		c.generation = 0
	}
	return nil
}

func (c *conn) once(q request) (a answer, last bool, err error) {
	if err := c.net.SetDeadline(time.Now().Add(patience)); err != nil {
		return a, true, err
	}
	if _, err := c.net.Write(q.bytes(c.host.how.Listen)); err != nil {
		return a, true, err
	}
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return a, true, err
	}
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, body}, resp.Close, err
}

func (c *conn) close() {
	if c.net != nil {
		c.net.Close()
		c.net = nil
	}
}
