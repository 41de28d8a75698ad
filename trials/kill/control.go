package main

import "sync"

// A control pauses the clients and lets them go on. A client asks it before each
// request, so a client that is paused has the answers to all its requests.
type control struct {
	mu      sync.Mutex
	changed *sync.Cond
	paused  bool
	stopped bool
	waiting int // clients
}

func newControl() *control {
	c := &control{paused: true}
	c.changed = sync.NewCond(&c.mu)
	return c
}

// wait returns when the clients may go on. It returns false if they are to stop.
func (c *control) wait() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting++
	c.changed.Broadcast()
	for c.paused && !c.stopped {
		c.changed.Wait()
	}
	c.waiting--
	return !c.stopped
}

func (c *control) resume() { c.set(func() { c.paused = false }) }

func (c *control) pause() { c.set(func() { c.paused = true }) }

func (c *control) stop() { c.set(func() { c.stopped = true }) }

func (c *control) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	c.changed.Broadcast()
}

// awaitPaused returns when n clients wait, or when they are to stop.
func (c *control) awaitPaused(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.waiting < n && !c.stopped {
		c.changed.Wait()
	}
}
