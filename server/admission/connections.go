package admission

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Connections has the connections of the API. Their number is bounded, in all and for each
// address. One more from the same address is closed at once. If the total is reached, the
// connection that has been idle for longest is closed for a new one. If none is idle, the new
// one waits until another ends, in the system's queue of connections that are not accepted yet.
type Connections struct {
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

// NewConnections returns connections that caps bound. Any number may come from a shared
// address. refused is called each time that a cap refuses a connection.
func NewConnections(c Caps, shared func(netip.Addr) bool, refused func(Cap)) *Connections {
	cs := &Connections{most: c.Connections, mostPerAddress: c.ConnectionsPerAddress, shared: shared, refused: refused,
		from: make(map[netip.Prefix]int)}
	cs.change.L = &cs.mu
	return cs
}

// Count returns how many are open.
func (cs *Connections) Count() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.open
}

// Listen returns l with its connections counted.
func (cs *Connections) Listen(l net.Listener) net.Listener { return &listener{l, cs} }

type listener struct {
	net.Listener
	connections *Connections
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			return c, nil
		}
		if counted := l.connections.admit(tcp); counted != nil {
			return counted, nil
		}
		tcp.Close()
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.connections.mu.Lock()
	l.connections.closed = true
	l.connections.change.Broadcast()
	l.connections.mu.Unlock()
	return l.Listener.Close()
}

// admit counts a connection. It returns nil if it is one too many.
func (cs *Connections) admit(tcp *net.TCPConn) *connection {
	client := tcp.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
	c := &connection{TCPConn: tcp, of: cs, block: AddressBlock(client), shared: cs.shared(client)}
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

// makeRoom returns when there is room for another connection, or when no more are accepted.
func (cs *Connections) makeRoom() {
	for cs.open >= cs.most && !cs.closed {
		longest := cs.idle.Front()
		if longest == nil {
			cs.change.Wait()
			continue
		}
		cs.end(longest.Value.(*connection))
	}
}

// CloseIdle closes the connections that wait for a request.
func (cs *Connections) CloseIdle() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for cs.idle.Len() > 0 {
		cs.end(cs.idle.Front().Value.(*connection))
	}
}

// end closes a connection and forgets it. Closing does not wait for the peer.
func (cs *Connections) end(c *connection) error {
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

func (cs *Connections) setIdle(c *connection, idle bool) {
	if c.idle != nil {
		cs.idle.Remove(c.idle)
		c.idle = nil
	}
	if idle && !c.ended {
		c.idle = cs.idle.PushBack(c)
		cs.change.Signal()
	}
}

// Observe is called by net/http when the state of a connection changes. A connection on which
// no complete header has come counts as waiting for a request.
func (cs *Connections) Observe(nc net.Conn, state http.ConnState) {
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

// Unread reports whether data has come over a connection that counts as idle: the client has
// sent a request that net/http has not read or not reported yet. A server that is short of
// processors notices such a request late.
func (cs *Connections) Unread() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for e := cs.idle.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*connection); c.heard.Load() || hasUnread(c.TCPConn) {
			return true
		}
	}
	return false
}

// A connection is a connection that is counted.
type connection struct {
	*net.TCPConn
	of     *Connections
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

// AddressBlock returns the addresses that one client can have: for IPv6 a /64.
func AddressBlock(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	block, _ := addr.Prefix(bits) // the zero Prefix for no address
	return block
}
