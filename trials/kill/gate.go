package main

import "sync"

// A gate holds the clients while it is closed, each before its next request.
type gate struct {
	mu      sync.Mutex
	changed *sync.Cond
	closed  bool
	over    bool
	waiting int
}

func newGate() *gate {
	g := &gate{closed: true}
	g.changed = sync.NewCond(&g.mu)
	return g
}

// pass returns when the gate is open; false when there is nothing more to do.
func (g *gate) pass() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting++
	g.changed.Broadcast()
	for g.closed && !g.over {
		g.changed.Wait()
	}
	g.waiting--
	return !g.over
}

func (g *gate) open() { g.set(func() { g.closed = false }) }

func (g *gate) close() { g.set(func() { g.closed = true }) }

// end sends everybody home.
func (g *gate) end() { g.set(func() { g.over = true }) }

func (g *gate) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	g.changed.Broadcast()
}

// await returns when n are waiting, or when it is over.
func (g *gate) await(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.waiting < n && !g.over {
		g.changed.Wait()
	}
}
