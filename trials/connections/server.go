package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	api "welcomed/client"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

// A server is the one under test.
type server struct {
	*harness.Server
	dir   string
	limit *limit // nil: that of the machine
}

// start starts a server on a new file. The times that it gives clients are short, so
// that a run sees them pass.
func start(ctx context.Context, c *config) (*server, error) {
	dir, err := os.MkdirTemp("", "connections")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	how := harness.Config{Binary: c.binary, DB: filepath.Join(dir, "welcomed.db"), Show: os.Stderr,
		Args: []string{"--test-times", fmt.Sprintf("header=%[1]s,body=%[1]s,idle=%[1]s", c.cutoff)}}
	if c.tls {
		how.TLS, err = harness.NewCertificate()
	}
	if err == nil && c.memory > 0 {
		if s.limit, err = newLimit(c.memory); err == nil {
			how.Command = s.limit.command
		}
	}
	if err == nil {
		s.Server, err = how.Start(ctx)
	}
	if err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

// remove ends the server in any case, and removes its file.
func (s *server) remove() {
	s.Kill()
	_ = s.limit.remove()
	os.RemoveAll(s.dir)
}

// hoarder is the device whose Welcomes fill an answer.
var hoarder = harness.Device{User: "hoarder", Name: "one"}

// fill has two Welcomes of nearly 3 MiB wait for a device: 8 MiB in base64.
func (s *server) fill(ctx context.Context) error {
	signer, client := mlstest.NewSigner(1, "hoarder"), s.Client()
	for range 2 {
		b := signer.KeyPackage()
		kp, err := mls.ReadKeyPackage(b)
		if err != nil {
			return err
		}
		if _, err := client.Publish(ctx, hoarder.ID(), "", b); err != nil {
			return err
		}
		if _, err := client.Post(ctx, api.Posting{Welcome: mlstest.WelcomeSize(3<<20-1000, 1, kp.Ref())}); err != nil {
			return err
		}
	}
	return nil
}

// A usage is what the server takes.
type usage struct {
	harness.Memory
	goroutines int
	files      int
}

func (s *server) usage(ctx context.Context) (u usage, err error) {
	if u.Memory, err = harness.MemoryOf(s.PID()); err != nil {
		return u, err
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
	if err != nil {
		return u, err
	}
	u.files = len(entries)
	u.goroutines, err = s.goroutines(ctx)
	return u, err
}

// goroutines asks the admin listener, which has to answer at all times.
func (s *server) goroutines(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	m, err := s.Metrics(ctx)
	if err != nil {
		return 0, fmt.Errorf("the admin listener: %w", err)
	}
	n, err := m.Value("go_goroutines")
	return int(n), err
}

// settled waits until the server has given back what it took, but for a few
// goroutines and files that a scrape and its own work need.
func (s *server) settled(ctx context.Context, before usage) (u usage, err error) {
	s.Client().HTTP.CloseIdleConnections()
	for deadline := time.Now().Add(settle); ; time.Sleep(100 * time.Millisecond) {
		if u, err = s.usage(ctx); err != nil {
			return u, err
		}
		if u.goroutines <= before.goroutines+10 && u.files <= before.files+10 {
			return u, nil
		}
		if time.Now().After(deadline) {
			return u, fmt.Errorf("%s later there are %d goroutines and %d files open, at first there were %d and %d",
				settle, u.goroutines, u.files, before.goroutines, before.files)
		}
	}
}

// dial opens a connection of somebody who does not behave.
func (s *server) dial(ctx context.Context) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", s.API())
	if err != nil || s.TLS == nil {
		return c, err
	}
	trusting := s.TLS.TLS()
	trusting.ServerName = "127.0.0.1"
	secure := tls.Client(c, trusting)
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return secure, nil
}
