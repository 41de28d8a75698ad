package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// An attendance knows the connections that are open.
type attendance struct {
	asked chan struct{} // holds a token when a request has come
	mu    sync.Mutex
	open  map[net.Conn]http.ConnState
	none  chan struct{} // closed when there is none; nil until somebody waits for that
}

func newAttendance() *attendance {
	return &attendance{asked: make(chan struct{}, 1), open: make(map[net.Conn]http.ConnState)}
}

// note is for [http.Server.ConnState].
func (a *attendance) note(c net.Conn, state http.ConnState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open[c] = state
	switch state {
	case http.StateActive:
		select {
		case a.asked <- struct{}{}:
		default:
		}
	case http.StateClosed, http.StateHijacked:
		delete(a.open, c)
		a.tell()
	}
}

// in returns the connections that are in a state.
func (a *attendance) in(state http.ConnState) (found []net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c, is := range a.open {
		if is == state {
			found = append(found, c)
		}
	}
	return found
}

// closeSilent closes the connections over which no request has ever come whole.
func (a *attendance) closeSilent() {
	for _, c := range a.in(http.StateNew) {
		c.Close()
	}
}

func (a *attendance) tell() {
	if len(a.open) == 0 && a.none != nil {
		close(a.none)
		a.none = nil
	}
}

// gone returns a channel that is closed when no connection is open.
func (a *attendance) gone() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	none := make(chan struct{})
	a.none = none
	a.tell()
	return none
}

// lullsMost is how many lulls farewell takes at most.
const lullsMost = 4

// unreadEvery is how often it is looked whether what has come was read.
const unreadEvery = 5 * time.Millisecond

// farewell closes the listener and lets everybody finish who is about to ask: a
// request may be on its way over a connection that looks idle, and would be lost
// if it were closed now. Each answer from now on says that it is the last one of
// its connection. It returns when no connection is left, or nobody has asked for
// the time of a lull and all that has come was read. A client that sends half a
// request keeps it no longer than lullsMost lulls.
func (s *Server) farewell(l net.Listener, a *attendance) {
	s.drain()
	l.Close()
	gone, enough, quiet := a.gone(), time.NewTimer(lullsMost*s.times.lull), time.NewTimer(s.times.lull)
	defer enough.Stop()
	defer quiet.Stop()
	for waits := true; waits; {
		select {
		case <-a.asked:
			quiet.Reset(s.times.lull)
		case <-gone:
			return
		case <-quiet.C:
			waits = false
		case <-enough.C:
			waits = false
		}
	}
	enough.Reset(lullsMost * s.times.lull)
	for s.connections.Unread() {
		select {
		case <-time.After(unreadEvery):
		case <-gone:
			return
		case <-enough.C:
			return
		}
	}
}

// lastAnswer tells the client of a server that stops to use its connection no
// more.
func (w *response) lastAnswer() {
	select {
	case <-w.draining:
		w.Header().Set("Connection", "close")
	default:
	}
}

// goAway is how long a connection of HTTP/2 has for the clients' last requests
// once it has no more to do: a second in net/http, and a little.
const goAway = 1500 * time.Millisecond

// stopAPI stops srv, and closes what has no request under way after a while:
// net/http waits for a connection of HTTP/2 whose handshake ended while it was
// stopping, and tells it nothing.
func (s *Server) stopAPI(srv *http.Server, a *attendance, grace time.Duration) error {
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
	cut, err := stop(srv, a, grace)
	close(stopped)
	closing.Wait()
	if cut > 0 {
		s.log.Warn("clients that were too slow were cut off; they will ask again", "connections", cut, "after", grace)
	}
	return err
}

// stop closes the connections that have sent nothing, and lets running requests
// finish, but no longer than grace: then it cuts them off, which is no error, and
// returns how many connections that were. That a listener was closed before is
// said only when they have, if Serve has not noticed yet.
func stop(srv *http.Server, a *attendance, grace time.Duration) (cut int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	a.closeSilent()
	err = srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		cut = len(a.in(http.StateActive))
		err = srv.Close()
	}
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return cut, err
}
