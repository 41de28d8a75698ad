package main

import (
	"context"
	"path/filepath"
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
	how        harness.Config
	generation atomic.Int64 // of the process that runs, from 1
	endings    sync.Map     // generation → ended
	server     *harness.Server
}

func newHost(binary, dir string) (*host, error) {
	h := &host{how: harness.Config{Binary: binary, DB: filepath.Join(dir, "welcomed.db"), Args: []string{
		"--auth", "none", "--test-times", "sweep=" + sweepEvery.String() + ",reservation-overdue=1s,hold-overdue=1s",
		"--max-pending-per-device", "100000", "--max-body-memory", "256MiB"}}}
	for _, address := range []*string{&h.how.Listen, &h.how.Admin} {
		free, err := harness.FreeAddress()
		if err != nil {
			return nil, err
		}
		*address = free.String()
	}
	return h, nil
}

func (h *host) start() (err error) {
	h.generation.Add(1)
	h.server, err = h.how.Begin()
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

// kill ends the process without a word, and is an error if it had ended before or
// had something to complain about.
func (h *host) kill() error {
	select {
	case <-h.server.Ended():
		if how, _ := h.ending(h.generation.Load()); how == running {
			return differ("the server ended by itself: %s", h.server.Log.Tail())
		}
	default:
	}
	h.end(killed)
	h.server.Kill()
	return complaints(h.server.Log)
}

// stop asks the process to end and returns how long that took.
func (h *host) stop() (took time.Duration, err error) {
	start := time.Now()
	h.end(asked)
	if err := h.server.Terminate(); err != nil {
		return 0, differ("%v", err)
	}
	return time.Since(start), complaints(h.server.Log)
}

// interrupt asks the process to end, and returns a while later, for it to be
// killed on its way.
func (h *host) interrupt(after time.Duration) {
	h.end(killed)
	h.server.Signal(syscall.SIGTERM)
	time.Sleep(after)
}

// close leaves nothing running.
func (h *host) close() { h.server.Kill() }

// complaints are errors in the server's log, of which there are none as long as
// the disk is well.
func complaints(l *harness.Log) error {
	if list := l.Complaints(); len(list) > 0 {
		return differ("the server says: %s", list[0])
	}
	return nil
}

// command runs the binary until it has ended.
func (h *host) command(ctx context.Context, args ...string) error {
	if _, err := h.how.Run(ctx, args...); err != nil {
		return differ("%v", err)
	}
	return nil
}
