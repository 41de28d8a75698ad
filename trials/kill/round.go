package main

import (
	"fmt"
	"time"
)

// The moments at which the server is ended.
const (
	starting = "starting"     // before or while it reads the log
	serving  = "serving"      // at any time
	bursting = "in a burst"   // when all clients have begun at once
	sweeping = "sweeping"     // at a sweep or just after
	idle     = "idle"         // when it merges its log
	stopping = "with SIGTERM" // under load, which is no kill
	twice    = "stopping"     // after SIGTERM, before it has ended
)

var moments = []string{starting, serving, bursting, sweeping, idle, twice, stopping}

// moment draws one; so many in a hundred servers may end in peace.
func (r *run) moment() string {
	if r.rng.IntN(100) < r.config.stops {
		return stopping
	}
	switch n := r.rng.IntN(100); {
	case n < 18:
		return starting
	case n < 53:
		return serving
	case n < 76:
		return bursting
	case n < 90:
		return sweeping
	case n < 95:
		return idle
	}
	return twice
}

// round starts the server, lets the clients work, and ends it. Rounds that end
// with SIGTERM come on top of the kills.
func (r *run) round(n int) error {
	for {
		if err := r.host.start(); err != nil {
			return err
		}
		r.control.resume()
		moment := r.moment()
		if err := r.reach(moment); err != nil {
			return err
		}
		r.kills[moment].Add(1)
		if moment != stopping {
			return r.host.kill()
		}
		if err := r.stopUnderLoad(); err != nil {
			return err
		}
	}
}

// reach returns at the moment.
func (r *run) reach(moment string) error {
	if moment == starting {
		return r.wait(r.upTo(80 * time.Millisecond))
	}
	if err := r.host.server.Ready(r.ctx); err != nil {
		return err
	}
	switch moment {
	case bursting:
		r.control.pause()
		if err := r.wait(30*time.Millisecond + r.upTo(60*time.Millisecond)); err != nil {
			return err
		}
		r.control.resume()
		return r.wait(r.upTo(30 * time.Millisecond))
	case sweeping:
		begun := time.Duration(r.rng.IntN(2)) * sweepEvery
		return r.wait(begun + r.upTo(40*time.Millisecond))
	case idle:
		if err := r.wait(r.upTo(r.config.up)); err != nil {
			return err
		}
		r.control.pause()
		return r.wait(200*time.Millisecond + r.upTo(100*time.Millisecond))
	case twice:
		if err := r.wait(r.upTo(r.config.up)); err != nil {
			return err
		}
		r.host.interrupt(r.upTo(20 * time.Millisecond))
		return nil
	}
	return r.wait(r.upTo(r.config.up))
}

// stopUnderLoad asks the server to stop while everybody asks for something. Every
// request gets its answer, and the file opens at once.
func (r *run) stopUnderLoad() error {
	start := time.Now()
	if _, err := r.host.stop(); err != nil {
		return err
	}
	store, err := r.openFile()
	if err != nil {
		return err
	}
	r.stopped = max(r.stopped, time.Since(start))
	return store.Close()
}

func (r *run) progress(n int) {
	if r.config.quiet || n%r.config.every != 0 {
		return
	}
	fmt.Fprintf(r.config.out, "%d kills, %d requests, %d checks\n", n, r.requests.Load(), r.checker.checks)
}
