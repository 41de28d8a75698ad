package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// A run is a file, the servers that are started on it one after the other, the
// clients, and what they were told.
type run struct {
	config
	host    *host
	books   *books
	checker *checker
	backup  *backup // nil: none is kept
	control *control
	rng     *rand.Rand
	users   []delivery.UserID
	devices []*device
	suites  []mls.CipherSuite
	clients int

	auditor  *client
	auditors []*client

	ctx     context.Context
	cancel  context.CancelCauseFunc
	working sync.WaitGroup

	restores   int
	kills      tally // by moment
	done       tally // by operation
	requests   atomic.Int64
	refused    atomic.Int64
	lost       atomic.Int64
	repeats    atomic.Int64
	unaccepted atomic.Int64 // over a connection that a stopping server had not accepted yet
	tooLate    atomic.Int64 // over one that was idle when the server stopped
	claimed    atomic.Int64
	opened     time.Duration // the longest
	stopped    time.Duration // the longest, from SIGTERM to the end
}

func newRun(ctx context.Context, c config, dir string) (*run, error) {
	h, err := newHost(c.binary, dir)
	if err != nil {
		return nil, err
	}
	r := &run{config: c, host: h, books: newBooks(), control: newControl(), rng: rand.New(rand.NewPCG(c.seed, 0)),
		suites: []mls.CipherSuite{1, 2}, kills: newTally(moments), done: newTally(changing)}
	r.checker = &checker{books: r.books}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	for i := range auditors {
		r.auditors = append(r.auditors, r.newClient(fmt.Sprintf("auditor %d", i)))
	}
	r.auditor = r.auditors[0]
	return r, nil
}

// startClients makes the users with their devices and the adders. Their clients begin
// when control lets them go on.
func (r *run) startClients() {
	for u := range r.config.users {
		user := delivery.UserID(fmt.Sprintf("user-%d", u))
		r.users = append(r.users, user)
		for d := range r.config.devices {
			suite := r.suites[u%len(r.suites)]
			r.devices = append(r.devices, r.books.addDevice(delivery.DeviceID{User: user, Name: fmt.Sprintf("device-%d", d)}, suite))
		}
	}
	for i, d := range r.devices {
		o := r.newOwner(d)
		r.work(o.client, o.act)
		for n := range 1 + i%2 {
			j := r.newJoiner(d, n)
			r.work(j.client, j.act)
		}
	}
	for n := range r.config.adders {
		a := r.newAdder(n)
		r.work(a.client, a.act)
	}
}

func (r *run) work(c *client, act func() error) {
	r.clients++
	r.working.Go(func() { c.live(act) })
}

// fail ends the run with the first error.
func (r *run) fail(err error) {
	r.cancel(err)
	r.control.stop()
}

func (r *run) over() bool { return r.ctx.Err() != nil }

// pauseClients makes all clients wait. It returns when all their requests are answered.
func (r *run) pauseClients() error {
	r.control.pause()
	r.control.awaitPaused(r.clients)
	return context.Cause(r.ctx)
}

// wait lets time pass, unless the run is over or the server has ended by itself.
func (r *run) wait(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-r.host.server.Ended():
		return differ("the server ended by itself: %s", r.host.server.Log.Tail())
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// upTo returns a random time.
func (r *run) upTo(d time.Duration) time.Duration { return time.Duration(r.rng.Int64N(int64(d) + 1)) }

// live has the server killed so many times, and looks into everything every few
// times and at the end.
func (r *run) live() error {
	defer func() {
		r.fail(errOver)
		r.working.Wait()
	}()
	r.startClients()
	for n := 1; n <= r.config.kills; n++ {
		if err := r.round(n); err != nil {
			return err
		}
		if n%r.config.every == 0 && n < r.config.kills {
			if err := r.halt(false); err != nil {
				return err
			}
			if err := r.backups(); err != nil {
				return err
			}
		}
		r.progress(n)
	}
	return r.halt(true)
}

// halt starts the server once more, lets every request be answered, and audits.
func (r *run) halt(final bool) error {
	if err := r.host.start(); err != nil {
		return err
	}
	if err := r.host.server.Ready(r.ctx); err != nil {
		return err
	}
	r.control.resume()
	if err := r.pauseClients(); err != nil {
		return err
	}
	return r.audit(r.ctx, final)
}
