package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"welcomed/trials/harness"
)

// A httpEngine is the real server, asked by real requests. It shows claims and
// acknowledgements; what is published has to be signed, and `welcomed bench`
// measures that.
type httpEngine struct {
	server *harness.Server
	path   string
	mu     sync.Mutex
	idle   []*connection // the last one used is at the end
}

// startServer serves the file at path.
func startServer(ctx context.Context, binary, path string) (engine, error) {
	server, err := harness.Config{Binary: binary, DB: path, Show: os.Stderr}.Start(ctx)
	return &httpEngine{server: server, path: path}, err
}

func (e *httpEngine) publish(context.Context, *pair) error { return errors.ErrUnsupported }

func (e *httpEngine) reserve(context.Context, *pair) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

func (e *httpEngine) post(context.Context, *pair) error { return errors.ErrUnsupported }

func (e *httpEngine) claim(_ context.Context, p *pair) ([]byte, error) {
	r, body, err := e.ask(deviceOf(p).Claim() + "?framing=bare")
	switch {
	case err != nil:
		return nil, err
	case r.StatusCode == http.StatusNoContent, r.Header.Get("Welcome-Redelivered") == "true":
		return nil, errRefused
	case r.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("claim: %s: %s", r.Status, body)
	}
	return body, nil
}

func (e *httpEngine) acknowledge(_ context.Context, p *pair) error {
	r, body, err := e.ask(deviceOf(p).Acknowledgement(p.id.String()))
	if err == nil && r.StatusCode != http.StatusNoContent {
		err = fmt.Errorf("acknowledge: %s: %s", r.Status, body)
	}
	return err
}

func deviceOf(p *pair) harness.Device {
	return harness.Device{User: string(p.device.User), Name: p.device.Name}
}

// rest waits until the server writes no more. Where the system does not say
// what a process has written, it waits for a moment.
func (e *httpEngine) rest(ctx context.Context) error {
	return quiet(ctx, func() (written int) {
		io, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", e.server.PID()))
		for line := range strings.Lines(string(io)) {
			_, _ = fmt.Sscanf(line, "write_bytes: %d", &written)
		}
		return written
	})
}

// A connection is one caller's. It does what net/http's client does for a
// request without its goroutines: client and server share the machine, and it
// is the server that is measured.
type connection struct {
	net.Conn
	reader *bufio.Reader
	used   time.Time
}

// connectionAge is less than the time after which the server hangs up.
const connectionAge = time.Minute

// admit opens connections before the clock starts.
func (e *httpEngine) admit(callers int) error {
	all := make([]*connection, callers)
	for i := range all {
		c, err := e.connection()
		if err != nil {
			return err
		}
		all[i] = c
	}
	for _, c := range all {
		e.release(c)
	}
	return nil
}

// connection returns one that nobody uses.
func (e *httpEngine) connection() (*connection, error) {
	e.mu.Lock()
	for len(e.idle) > 0 {
		last := len(e.idle) - 1
		c := e.idle[last]
		e.idle = e.idle[:last]
		if time.Since(c.used) < connectionAge {
			e.mu.Unlock()
			return c, nil
		}
		c.Close()
	}
	e.mu.Unlock()
	c, err := net.Dial("tcp", e.server.API())
	if err != nil {
		return nil, err
	}
	return &connection{Conn: c, reader: bufio.NewReader(c)}, nil
}

func (e *httpEngine) release(c *connection) {
	c.used = time.Now()
	e.mu.Lock()
	e.idle = append(e.idle, c)
	e.mu.Unlock()
}

// ask posts an empty body.
func (e *httpEngine) ask(path string) (*http.Response, []byte, error) {
	c, err := e.connection()
	if err != nil {
		return nil, nil, err
	}
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\nContent-Length: 0\r\n\r\n", path, e.server.API(), harness.MediaMLS)
	if err != nil {
		return nil, nil, err
	}
	r, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, nil, err
	}
	e.release(c)
	return r, body, nil
}

// census stops the server and counts what is in its file.
func (e *httpEngine) census(ctx context.Context) (census, error) {
	if err := e.stop(); err != nil {
		return census{}, err
	}
	s, err := openWelcomed(e.path)
	if err != nil {
		return census{}, err
	}
	defer s.store.Close()
	return s.census(ctx)
}

func (e *httpEngine) stop() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.idle {
		c.Close()
	}
	e.idle = nil
	return e.server.Terminate()
}

func (e *httpEngine) close() error { return errors.Join(e.stop(), os.Remove(e.path)) }
