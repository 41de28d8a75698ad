package server

import (
	"time"

	"welcomed/delivery"
)

// await waits until there is something to answer a claim with, or until the wait is over:
// because the client's time is up, or because the server stops.
//
// If several requests of a device wait, the newest one tries first. Only a few may wait: if
// there is one too many, the wait of the oldest is over.
//
// try reports whether there is something. If not, it returns when it has to be called again at
// the latest; zero means when it is woken. Its argument says that the wait is over: then the
// answer is what it has found, even nothing. await calls try at once, and again whenever the
// store says that there may be more.
func (s *Server) await(r *request, wait time.Duration, try attempt) error {
	if wait == 0 {
		_, _, err := try(true)
		return err
	}
	wake, stop := s.store.Watch(r.device, r.identity.Owner())
	defer stop()
	try = inGoroutine(try)
	found, next, err := try(false)
	if err != nil || found {
		return err
	}
	if err := r.usage.BeginWait(); err != nil {
		return err // before it takes the place of another
	}
	defer r.usage.EndWait()
	w := s.waiting.join(waitKey{device: r.device}, s.caps.WaitsPerDevice)
	defer w.leave()
	enough := time.NewTimer(wait)
	defer enough.Stop()
	return s.keepTrying(r, longRequest{wake, enough.C, w}, next, try)
}

// A longRequest is one that waits: a claim or a stream.
type longRequest struct {
	wake   <-chan struct{}  // receives when it may find more
	enough <-chan time.Time // receives when its time is over; nil: never
	*waiter
}

// keepTrying is where every long request waits. It calls try, as await says, until that has
// found something, or the request is over.
//
// It checks the credentials again before each attempt, so that nothing is taken or told after a
// revocation, and after the last one, so that nothing is answered either. A revocation, a
// removal, and the expiry of the credentials wake it.
func (s *Server) keepTrying(r *request, l longRequest, next time.Time, try attempt) (err error) {
	for found, over := false, false; !found && !over; {
		again, forget := s.alarm(next, r.identity.Expires)
		select {
		case <-l.wake:
			forget()
			l.woken()
			continue
		case <-l.try:
			select {
			case <-l.wake: // it tries now
			default:
			}
		case <-again:
		case <-l.enough:
			over = true
		case <-l.displaced:
			over = true
		case <-s.draining:
			over = true
		case <-r.Context().Done():
			err = r.Context().Err()
		}
		forget()
		if err == nil {
			err = s.stillPermitted(r)
		}
		if err == nil {
			found, next, err = try(over)
		}
		if err != nil {
			return err
		}
		if !found {
			l.tried()
		}
	}
	return s.stillPermitted(r)
}

// shortestPause is the shortest time between two attempts that only a time has caused. The
// credentials may have expired by this clock but not by that of their issuer, and the attempts
// would follow each other without end.
const shortestPause = time.Second

// alarm returns a channel that receives at the first of these times. Zero times do not count.
func alarm(times ...time.Time) (at <-chan time.Time, forget func() bool) {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if first.IsZero() {
		return nil, func() bool { return false }
	}
	left := time.Until(first)
	if left <= 0 {
		left = shortestPause
	}
	timer := time.NewTimer(left)
	return timer.C, timer.Stop
}

// stillPermitted checks again whether the client may do what it asked for.
func (s *Server) stillPermitted(r *request) error {
	if err := s.authenticate(r); err != nil {
		return err
	}
	return r.permit()
}

// An attempt is the function try of await and keepTrying.
type attempt = func(over bool) (found bool, next time.Time, err error)

// inGoroutine calls try in a goroutine of its own. The store needs a larger stack than waiting
// does. The waiting goroutine would keep that stack, twice 8 KiB for each claim. inGoroutine
// returns a panic as an error.
func inGoroutine(try attempt) attempt {
	return func(over bool) (found bool, next time.Time, err error) {
		tried := make(chan struct{})
		go func() {
			defer close(tried)
			defer func() {
				if p := recover(); p != nil {
					err = delivery.NewPanicError(p)
				}
			}()
			found, next, err = try(over)
		}()
		<-tried
		return found, next, err
	}
}
