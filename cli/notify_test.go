package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A manager is what systemd is to a unit with Type=notify: it listens.
type manager struct {
	t     *testing.T
	path  string
	heard chan string
}

func newManager(t *testing.T) *manager {
	directory, err := os.MkdirTemp("", "notify") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	m := &manager{t, filepath.Join(directory, "s"), make(chan string, 100)}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			for line := range strings.SplitSeq(string(b[:n]), "\n") {
				m.heard <- line
			}
		}
	}()
	return m
}

// wait waits until the manager has been told, and returns what it was told before.
func (m *manager) wait(state string) (before []string) {
	m.t.Helper()
	for late := time.After(20 * time.Second); ; {
		select {
		case got := <-m.heard:
			if strings.HasPrefix(got, state) {
				return before
			}
			before = append(before, got)
		case <-late:
			m.t.Fatalf("the manager was never told %s, but %q", state, before)
		}
	}
}

func TestTheServiceManagerIsToldHowTheServerIs(t *testing.T) {
	m := newManager(t)
	watchdog := []string{"NOTIFY_SOCKET=" + m.path, "WATCHDOG_USEC=600000"}
	s, line, err := startServed(t.TempDir(), append(os.Environ(), watchdog...))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Process.Kill()
	if before := m.wait("READY=1"); slices.Contains(before, "WATCHDOG=1") {
		t.Errorf("the watchdog was told before the server was ready: %q", before)
	}
	if got := <-m.heard; got != "STATUS=serving on "+line.Listen {
		t.Errorf("the status is %q", got)
	}
	m.wait("WATCHDOG=1")
	m.wait("WATCHDOG=1")
	if err := s.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	m.wait("STOPPING=1")
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

func TestAManagerIsNotToldThatAServerIsReadyThatCannotServe(t *testing.T) {
	m := newManager(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, _, err = startServed(t.TempDir(), append(os.Environ(), "NOTIFY_SOCKET="+m.path), "--listen", taken.Addr().String())
	if err == nil {
		t.Fatal("it serves")
	}
	for len(m.heard) > 0 {
		if got := <-m.heard; got == "READY=1" {
			t.Error(got)
		}
	}
}

func TestTheWatchdogHearsNothingFromAStoreThatIsStuck(t *testing.T) {
	tick, stuck, told := make(chan time.Time), make(chan error), make(chan bool)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go beat(ctx, tick, func(context.Context) error { return <-stuck }, func() { told <- true })
	tick <- time.Now()
	select {
	case <-told:
		t.Fatal("it was told while the store was stuck")
	case <-time.After(50 * time.Millisecond):
	}
	stuck <- fmt.Errorf("the clock is behind") // an answer, if not a good one
	<-told
}
