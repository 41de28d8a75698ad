package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"welcomed/delivery"
	"welcomed/metrics"
	"welcomed/server"
	"welcomed/trials/harness"
)

func TestARunningUploadIsFinishedBeforeTheServerEnds(t *testing.T) {
	s, upload := serveWithOpenUpload(t)
	s.signal(t)
	select {
	case err := <-s.done:
		t.Fatalf("the server ended with an upload open: %v\n%s", err, s.log)
	case <-time.After(200 * time.Millisecond): // it had every chance
	}
	fmt.Fprint(upload, "0123456789")
	if answer := readAll(upload); !strings.HasPrefix(answer, "HTTP/1.1 400 ") {
		t.Errorf("the upload was answered %q", answer)
	}
	if err := <-s.done; err != nil {
		t.Errorf("%v\n%s", err, s.log)
	}
}

func TestASecondSignalEndsTheServerAtOnce(t *testing.T) {
	s, _ := serveWithOpenUpload(t)
	s.signal(t)
	s.log.wait(t, "stopping")
	s.signal(t)
	select {
	case err := <-s.done:
		if err == nil {
			t.Error("the server says that it ended well, with an upload open")
		}
	case <-time.After(10 * time.Second):
		t.Errorf("the server goes on:\n%s", s.log)
	}
}

// serveWithOpenUpload returns a server that has read the header of a request
// and waits for ten bytes of its body.
func serveWithOpenUpload(t *testing.T) (*served, net.Conn) {
	t.Helper()
	s, line, err := startServed(t.TempDir(), os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill() })
	conn, err := net.Dial("tcp", line.Listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST /v1/welcomes HTTP/1.1\r\nHost: %s\r\nContent-Type: message/mls\r\n"+
		"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n", line.Listen)
	// A handler that reads the body says so first.
	first := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	if n, err := conn.Read(first); err != nil || !strings.HasPrefix(string(first), "HTTP/1.1 100 ") {
		t.Fatalf("got %q, %v", first[:n], err)
	}
	return s, conn
}

func (s *served) signal(t *testing.T) {
	t.Helper()
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

func readAll(conn net.Conn) string {
	b := make([]byte, 1<<10)
	n, _ := conn.Read(b)
	return string(b[:n])
}

// A broken store goes on until it does not, like one whose disk breaks.
type broken struct {
	delivery.Store
	failed chan struct{}
}

var errDisk = errors.New("the disk broke")

func (f *broken) Failed() <-chan struct{} { return f.failed }

func (f *broken) Time() delivery.ClockReading { return delivery.ClockReading{} }

func (f *broken) Sweep(context.Context) (delivery.SweepResult, error) {
	return delivery.SweepResult{}, nil
}

func (f *broken) Stats(context.Context) (delivery.Stats, error) {
	return delivery.Stats{}, errDisk
}

func (f *broken) Close() error { return errDisk }

func TestAStoreThatFailsEndsTheServerWithItsReason(t *testing.T) {
	store := &broken{failed: make(chan struct{})}
	i := &instance{
		store:   store,
		server:  server.New(server.Options{Store: store, Limits: delivery.DefaultLimits()}),
		sweeper: &sweeper{store: store, every: time.Hour, log: slog.New(slog.DiscardHandler)},
		history: metrics.New(prometheus.NewRegistry(), "test").History(store, time.Hour, delivery.SystemClock()),
	}
	if err := i.listen(&config{listen: "127.0.0.1:0", adminListen: "127.0.0.1:0", auth: authNone}); err != nil {
		t.Fatal(err)
	}
	close(store.failed)
	err := i.run(t.Context())
	if !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
	if s := sentence(err); strings.Contains(s, "\n") {
		t.Errorf("%q is more than a line", s)
	}
}

// A copy over the file of a server ends it by itself, and the next start does not take
// what it finds for what was there.
func TestACopyOverTheDatabaseEndsTheServer(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "welcomed.db")
	s, _, err := startServed(dir, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	s.signal(t)
	<-s.done
	older, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	if s, _, err = startServed(dir, os.Environ()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill() })
	out, err := exec.Command("welcomed", "token", "add", "--db", db, "--service", "app").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(db, older, 0o600); err != nil { // as cp does
		t.Fatal(err)
	}
	exit, ok := errors.AsType[*exec.ExitError](<-s.done)
	if !ok || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v", exit)
	}
	lines := strings.Split(strings.TrimSpace(s.log.String()), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "welcomed: ") || !strings.Contains(last, "was overwritten or cut short") {
		t.Errorf("it said\n%s", s.log)
	}
	if s, _, err = startServed(dir, os.Environ()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill() })
	s.log.wait(t, "counts as a restored backup")
}

func TestAnAssemblyThatFailsLeavesNothingOpen(t *testing.T) {
	c := defaultConfig(environment{lookup: func(string) (string, bool) { return "", false }})
	c.adminListen = "127.0.0.1:0"
	c.db = filepath.Join(t.TempDir(), "file", "welcomed.db")
	if err := os.WriteFile(filepath.Dir(c.db), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := harness.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	c.listen = free.String()
	for range 2 { // the second time the port would be taken
		if _, err := assemble(t.Context(), c, slog.New(slog.DiscardHandler)); !errors.Is(err, syscall.ENOTDIR) {
			t.Fatalf("got %v", err)
		}
	}
}

func TestOneThreadIsSpareUnlessTheUserSaysHowMany(t *testing.T) {
	processors := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(processors)
	for set, want := range map[bool]int{true: processors, false: processors + 1} {
		runtime.GOMAXPROCS(processors)
		got := spareThread(environment{lookup: func(name string) (string, bool) { return "2", set && name == "GOMAXPROCS" }})
		if got != processors || runtime.GOMAXPROCS(0) != want {
			t.Errorf("GOMAXPROCS set: %v: %d checks at a time on %d threads", set, got, runtime.GOMAXPROCS(0))
		}
	}
}

// A lost terminal and logrotate send SIGHUP.
func TestAHangupReloadsAndEndsNothing(t *testing.T) {
	s, line, err := startServed(t.TempDir(), os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill() })
	for range 2 {
		if err := s.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	s.log.wait(t, "SIGHUP: reading certificates and keys again")
	conn, err := net.Dial("tcp", line.Listen)
	if err != nil {
		t.Fatalf("it has ended: %v", err)
	}
	conn.Close()
	s.signal(t)
	if err := <-s.done; err != nil {
		t.Errorf("%v\n%s", err, s.log)
	}
}
