package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// openConnections has the open connections of one listener, by state.
type openConnections struct {
	requested chan struct{} // holds a token when a request has come

	mu     sync.Mutex
	states map[net.Conn]http.ConnState
	none   chan struct{} // closed when there is none; nil until somebody waits for that
}

func newOpenConnections() *openConnections {
	return &openConnections{requested: make(chan struct{}, 1), states: make(map[net.Conn]http.ConnState)}
}

// note is for [http.Server.ConnState].
func (o *openConnections) note(c net.Conn, state http.ConnState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.states[c] = state
	switch state {
	case http.StateActive:
		select {
		case o.requested <- struct{}{}:
		default:
		}
	case http.StateClosed, http.StateHijacked:
		delete(o.states, c)
		o.closeNone()
	}
}

// in returns the connections that are in a state.
func (o *openConnections) in(state http.ConnState) (found []net.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c, is := range o.states {
		if is == state {
			found = append(found, c)
		}
	}
	return found
}

// closeUnused closes connections on which no complete request has ever come.
func (o *openConnections) closeUnused() {
	for _, c := range o.in(http.StateNew) {
		c.Close()
	}
}

func (o *openConnections) closeNone() {
	if len(o.states) == 0 && o.none != nil {
		close(o.none)
		o.none = nil
	}
}

// allClosed returns a channel that is closed when no connection is open.
func (o *openConnections) allClosed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	none := make(chan struct{})
	o.none = none
	o.closeNone()
	return none
}

// quietPeriodsMost is how many quiet periods draining takes at most.
const quietPeriodsMost = 4

// unreadEvery is how often draining checks whether everything that has come was read.
const unreadEvery = 5 * time.Millisecond

// drainConnections closes the listener, and serves requests that come over open connections. A
// connection that looks idle may have a request on its way, which would be lost if the
// connection were closed now. From now on each answer says that it is the last one of its
// connection. drainConnections returns when no connection is left, or when no request has come
// for a quiet period and everything that has come was read. After quietPeriodsMost quiet
// periods it returns in any case, so a client that sends half a request cannot keep it.
func (s *Server) drainConnections(l net.Listener, o *openConnections) {
	s.drain()
	l.Close()
	none, enough, quiet := o.allClosed(), time.NewTimer(quietPeriodsMost*s.times.quiet), time.NewTimer(s.times.quiet)
	defer enough.Stop()
	defer quiet.Stop()
	for waits := true; waits; {
		select {
		case <-o.requested:
			quiet.Reset(s.times.quiet)
		case <-none:
			return
		case <-quiet.C:
			waits = false
		case <-enough.C:
			waits = false
		}
	}
	enough.Reset(quietPeriodsMost * s.times.quiet)
	for s.connections.Unread() {
		select {
		case <-time.After(unreadEvery):
		case <-none:
			return
		case <-enough.C:
			return
		}
	}
}

// lastAnswer tells the client of a stopping server not to use this connection again.
func (w *response) lastAnswer() {
	select {
	case <-w.draining:
		w.Header().Set("Connection", "close")
	default:
	}
}

// goAway is how long an HTTP/2 connection stays open for the client's last requests when it has
// nothing more to do: a second in net/http, and a little more.
const goAway = 1500 * time.Millisecond

// stopAPI stops srv. After a while it closes connections that have no running request: net/http
// tells nothing to an HTTP/2 connection whose handshake ended while the server was stopping,
// and would wait for it.
func (s *Server) stopAPI(srv *http.Server, o *openConnections, grace time.Duration) error {
	stopped := make(chan struct{})
	var closing sync.WaitGroup
	closing.Go(func() {
		for {
			select {
			case <-stopped:
				return
			case <-time.After(goAway):
				s.connections.CloseIdle()
			}
		}
	})
	cut, err := stop(srv, o, grace)
	close(stopped)
	closing.Wait()
	if cut > 0 {
		s.log.Warn("clients that were too slow were cut off; they will ask again", "connections", cut, "after", grace)
	}
	return err
}

// stop closes connections that have sent nothing, and lets running requests finish. After grace
// it cuts off those that are left, which is no error, and returns how many connections that
// were. A listener that was closed before is no error either.
func stop(srv *http.Server, o *openConnections, grace time.Duration) (cut int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	o.closeUnused()
	err = srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		cut = len(o.in(http.StateActive))
		err = srv.Close()
	}
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return cut, err
}
