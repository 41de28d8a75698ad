package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"welcomed/trials/harness"
)

// A kind is one way to misbehave.
type kind string

const (
	idle       kind = "idle"
	slowHeader kind = "header byte by byte"
	slowBody   kind = "body byte by byte"
	slowReader kind = "answer byte by byte"
	waiting    kind = "claims that wait"
	streams    kind = "idle streams"
)

var kinds = []kind{idle, slowHeader, slowBody, slowReader, waiting, streams}

// pauseAfter is how long a client waits after its connection ended, before the next.
var pauseAfter = map[ending]time.Duration{cut: time.Second, answered: time.Second, refused: 10 * time.Second, unreached: time.Second}

// openAll opens the connections, the same number of each kind. A client whose
// connection ended opens another.
func (s *server) openAll(ctx context.Context, c *config, f *figures) *sync.WaitGroup {
	var all sync.WaitGroup
	dialing := make(chan struct{}, 64)
	for i := range c.connections {
		k := c.kind(i)
		all.Go(func() {
			for ctx.Err() == nil {
				what := s.connect(ctx, i, k, dialing, f)
				f.count(ctx, k, what)
				pause(ctx, pauseAfter[what])
			}
		})
	}
	return &all
}

// kind is what connection i does.
func (c *config) kind(i int) kind {
	switch {
	case c.waiting:
		return waiting
	case c.streams:
		return streams
	}
	return kinds[i%len(kinds)]
}

// connect opens one connection, misbehaves until the server ends it, and says how it ended.
func (s *server) connect(ctx context.Context, i int, k kind, dialing chan struct{}, f *figures) ending {
	dialing <- struct{}{}
	c, err := s.dial(ctx)
	<-dialing
	if err != nil {
		return unreached
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	f.open.Add(1)
	defer f.open.Add(-1)
	ended := make(chan struct{})
	go func() { // writing
		defer close(ended)
		misbehave(ctx, c, i, k)
	}()
	status, n := answers(ctx, c, k)
	c.Close()
	<-ended
	switch {
	case status >= 400:
		return refused
	case status == 0 || k == slowReader && n < wholeAnswer:
		return cut
	}
	return answered
}

// wholeAnswer is more than an answer's header, and less than what a slow reader
// was promised.
const wholeAnswer = 6 << 20

// answers reads until the server closes, and returns the status of the last
// answer and how much came.
func answers(ctx context.Context, c net.Conn, k kind) (status int, n int64) {
	r := bufio.NewReaderSize(counted{c, &n}, 1<<10)
	for ctx.Err() == nil {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return status, n
		}
		status = resp.StatusCode
		if k == slowReader && status < 400 {
			sip(ctx, resp.Body)
			return status, n
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || k == waiting {
			return status, n
		}
	}
	return status, n
}

type counted struct {
	io.Reader
	n *int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	*c.n += int64(n)
	return n, err
}

// bodySent is how much of a body comes before it gets slow.
const bodySent = 1 << 20

// misbehave writes what the kind writes.
func misbehave(ctx context.Context, c net.Conn, i int, k kind) {
	const head = " HTTP/1.1\r\nHost: localhost\r\n"
	switch k {
	case slowHeader:
		trickle(ctx, c, "GET /v1"+head+"X: ")
	case slowBody:
		fmt.Fprintf(c, "POST "+harness.AllWelcomes+head+"Content-Type: message/mls\r\nContent-Length: %d\r\n\r\n", 4<<20)
		c.Write(make([]byte, bodySent))
		trickle(ctx, c, "x")
	case slowReader:
		io.WriteString(c, "POST "+hoarder.Claim()+head+"Content-Length: 0\r\nConnection: close\r\n\r\n")
	case streams:
		fmt.Fprintf(c, "GET /v1/users/streams%d/devices/one/events"+head+"\r\n", i)
	case waiting:
		fmt.Fprintf(c, "POST %s?wait=50s"+head+"Content-Length: 0\r\n\r\n", harness.Device{User: fmt.Sprint("waiting", i), Name: "one"}.Claim())
	}
}

// trickle writes text and then a byte each second.
func trickle(ctx context.Context, c net.Conn, text string) {
	_, err := io.WriteString(c, text)
	for err == nil && ctx.Err() == nil {
		pause(ctx, time.Second)
		_, err = io.WriteString(c, "x")
	}
}

// sip takes a kilobyte of an answer each second.
func sip(ctx context.Context, r io.Reader) {
	b := make([]byte, 1<<10)
	for ctx.Err() == nil {
		if _, err := r.Read(b); err != nil {
			return
		}
		pause(ctx, time.Second)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
