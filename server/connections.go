package server

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// connections are those of the API. There are at most as many as most, and
// fewer from one address: one too many from there is closed at once. Where there
// are as many as most, the one that has been idle for longest is closed for a
// new one, and if none is idle the new one waits where the system keeps those
// that are not accepted yet, until another ends.
type connections struct {
	most, mostPerAddress int
	shared               func(netip.Addr) bool // has no limit of its own
	refused              func(Cap)

	mu     sync.Mutex
	change sync.Cond // of open and closed
	open   int
	from   map[netip.Prefix]int
	idle   list.List // of *connection; those that wait for a request, longest first
	closed bool
}

func newConnections(c Caps, shared func(netip.Addr) bool, refused func(Cap)) *connections {
	cs := &connections{most: c.Connections, mostPerAddress: c.ConnectionsPerAddress, shared: shared, refused: refused,
		from: make(map[netip.Prefix]int)}
	cs.change.L = &cs.mu
	return cs
}

func (cs *connections) count() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.open
}

// listen returns l with its connections counted.
func (cs *connections) listen(l net.Listener) net.Listener { return &gate{l, cs} }

type gate struct {
	net.Listener
	connections *connections
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			return c, nil
		}
		if counted := g.connections.admit(tcp); counted != nil {
			return counted, nil
		}
		tcp.Close()
	}
}

// Close implements net.Listener.
func (g *gate) Close() error {
	g.connections.mu.Lock()
	g.connections.closed = true
	g.connections.change.Broadcast()
	g.connections.mu.Unlock()
	return g.Listener.Close()
}

// admit counts a connection, or returns nil if it is one too many.
func (cs *connections) admit(tcp *net.TCPConn) *connection {
	client := parseAddress(tcp.RemoteAddr().String())
	c := &connection{TCPConn: tcp, of: cs, block: addressBlock(client), shared: cs.shared(client)}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if !c.shared && cs.from[c.block] >= cs.mostPerAddress {
		cs.refused(CapConnectionsPerAddress)
		return nil
	}
	if cs.open >= cs.most {
		cs.refused(CapConnections)
		cs.makeRoom()
	}
	if cs.closed {
		return nil
	}
	cs.open++
	if !c.shared {
		cs.from[c.block]++
	}
	return c
}

// makeRoom returns when there is room for another connection, or none is
// accepted any more.
func (cs *connections) makeRoom() {
	for cs.open >= cs.most && !cs.closed {
		longest := cs.idle.Front()
		if longest == nil {
			cs.change.Wait()
			continue
		}
		cs.end(longest.Value.(*connection))
	}
}

// closeIdle closes those that wait for a request.
func (cs *connections) closeIdle() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for cs.idle.Len() > 0 {
		cs.end(cs.idle.Front().Value.(*connection))
	}
}

// end closes a connection and forgets it. Closing does not wait for the peer.
func (cs *connections) end(c *connection) error {
	if c.ended {
		return net.ErrClosed
	}
	c.ended = true
	cs.setIdle(c, false)
	cs.open--
	if !c.shared {
		if cs.from[c.block]--; cs.from[c.block] == 0 {
			delete(cs.from, c.block)
		}
	}
	cs.change.Signal()
	return c.TCPConn.Close()
}

func (cs *connections) setIdle(c *connection, idle bool) {
	if c.idle != nil {
		cs.idle.Remove(c.idle)
		c.idle = nil
	}
	if idle && !c.ended {
		c.idle = cs.idle.PushBack(c)
		cs.change.Signal()
	}
}

// observe is told by net/http what its connections do. One on which a header
// has not come whole waits for a request.
func (cs *connections) observe(nc net.Conn, state http.ConnState) {
	if secure, ok := nc.(*tls.Conn); ok {
		nc = secure.NetConn()
	}
	c, ok := nc.(*connection)
	if !ok {
		return
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.heard.Store(false)
	cs.setIdle(c, state == http.StateNew || state == http.StateIdle)
}

// unread reports whether something has come over a connection that counts as idle: the
// client has sent a request that net/http has not read, or has not told of yet. A server
// that is short of processors sees late what came early.
func (cs *connections) unread() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for e := cs.idle.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*connection); c.heard.Load() || hasUnread(c.TCPConn) {
			return true
		}
	}
	return false
}

// A connection is one that is counted.
type connection struct {
	*net.TCPConn
	of     *connections
	block  netip.Prefix
	shared bool
	heard  atomic.Bool // something was read since net/http last told what it does

	// Guarded by of.mu.
	ended bool
	idle  *list.Element // nil: it has a request under way
}

// Read implements net.Conn.
func (c *connection) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if n > 0 {
		c.heard.Store(true)
	}
	return n, err
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	return c.of.end(c)
}
