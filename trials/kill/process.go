package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"welcomed/delivery"
	"welcomed/trials/harness"
)

// limits are what the server is told. Overdue reservations and holds change no
// state, but give its sweeps something to do.
func limits() delivery.Limits {
	l := delivery.DefaultLimits()
	l.ReservationOverdue, l.HoldOverdue = time.Second, time.Second
	l.PendingPerDevice = 100_000
	l.FollowMailbox()
	return l
}

const sweepEvery = time.Second

// How a process ended, or is about to.
type ending int32

const (
	running ending = iota
	killed         // by SIGKILL: answers may be lost
	asked          // by SIGTERM: they may not
)

// A host runs one server after the other on the same file and addresses.
type host struct {
	binary     string
	file       string
	api, admin string
	generation atomic.Int64 // of the process that runs, from 1
	endings    sync.Map     // generation → ended
	process    *harness.Process
	stderr     *bytes.Buffer
}

func newHost(binary, dir string) (*host, error) {
	h := &host{binary: binary, file: filepath.Join(dir, "welcomed.db")}
	for _, address := range []*string{&h.api, &h.admin} {
		free, err := harness.FreeAddress()
		if err != nil {
			return nil, err
		}
		*address = free.String()
	}
	return h, nil
}

func (h *host) start() (err error) {
	cmd := exec.Command(h.binary, "serve", "--auth", "none", "--db", h.file, "--listen", h.api, "--admin-listen", h.admin,
		"--test-times", "sweep="+sweepEvery.String()+",reservation-overdue=1s,hold-overdue=1s",
		"--max-pending-per-device", "100000", "--log-level", "warn")
	h.stderr = &bytes.Buffer{}
	cmd.Stderr = h.stderr
	h.generation.Add(1)
	h.process, err = harness.Start(cmd, nil)
	return err
}

// An ended is how the process of a generation ended, and since when.
type ended struct {
	how ending
	at  time.Time
}

func (h *host) end(how ending) { h.endings.Store(h.generation.Load(), ended{how, time.Now()}) }

// ending says how the process of a generation ended, or is about to.
func (h *host) ending(generation int64) (ending, time.Time) {
	if e, ok := h.endings.Load(generation); ok {
		return e.(ended).how, e.(ended).at
	}
	return running, time.Time{}
}

// ready waits until the server answers.
func (h *host) ready(ctx context.Context) error {
	err := h.process.Ready(ctx, h.admin)
	if err == nil {
		return nil
	}
	select {
	case <-h.process.Ended():
		return fmt.Errorf("the server ended by itself: %s", h.lastWords())
	default:
		return err
	}
}

// kill ends the process without a word, and is an error if it had ended before or
// had something to complain about.
func (h *host) kill() error {
	select {
	case <-h.process.Ended():
		if how, _ := h.ending(h.generation.Load()); how == running {
			return differ("the server ended by itself: %s", h.lastWords())
		}
	default:
	}
	h.end(killed)
	_ = h.process.Stop(syscall.SIGKILL)
	return h.complaints()
}

// stop asks the process to end and returns how long that took.
func (h *host) stop() (took time.Duration, err error) {
	start := time.Now()
	h.end(asked)
	if err := h.process.Stop(syscall.SIGTERM); err != nil {
		return 0, differ("SIGTERM: the server ended with %v: %s", err, h.lastWords())
	}
	return time.Since(start), h.complaints()
}

// interrupt asks the process to end, and returns a while later, for it to be
// killed on its way.
func (h *host) interrupt(after time.Duration) {
	h.end(killed)
	h.process.Signal(syscall.SIGTERM)
	time.Sleep(after)
}

// close leaves nothing running.
func (h *host) close() {
	if h.process != nil {
		_ = h.process.Stop(syscall.SIGKILL)
	}
}

// complaints are errors in the server's log, of which there are none as long as
// the disk is well.
func (h *host) complaints() error {
	for line := range strings.Lines(h.stderr.String()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") {
			return differ("the server says: %s", strings.TrimSpace(line))
		}
	}
	return nil
}

func (h *host) lastWords() string {
	words := strings.TrimSpace(h.stderr.String())
	return words[max(0, len(words)-2000):]
}
