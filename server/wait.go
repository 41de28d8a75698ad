package server

import (
	"time"

	"welcomed/delivery"
)

// await tries to find something to answer a long request with, until there is
// something, or the wait is over: after the time that the client gave it, or
// because the server stops. Every long request waits here, and nowhere else.
//
// Of one device the newest request tries first, and there are only so many: the
// oldest is over when there is one too many.
//
// try reports whether there is something, and if not, when it is to be called
// again at the latest (zero: when it is woken). It is told whether the wait is
// over; then what it has found is the answer, whatever it is. It is called at
// once, and again whenever the store says that it may find more.
//
// Credentials are looked at again before each attempt but the first, so that what
// comes after a revocation is not taken, and after the last one, so that it is
// not answered either. A revocation, a removal and the end of the credentials'
// time wake it.
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
	w := s.waiting.join(r.device)
	defer s.waiting.leave(w)
	if err := r.usage.BeginWait(); err != nil {
		return err
	}
	defer r.usage.EndWait()
	enough := time.NewTimer(wait)
	defer enough.Stop()
	for over := false; !found && !over; {
		again, forget := alarm(next, r.identity.Expires)
		select {
		case <-wake:
			forget()
			s.waiting.woken(w)
			continue
		case <-w.try:
			select {
			case <-wake: // it tries now
			default:
			}
		case <-again:
		case <-enough.C:
			over = true
		case <-w.displaced:
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
			s.waiting.tried(w)
		}
	}
	return s.stillPermitted(r)
}

// shortestPause is the shortest time between two attempts that nothing but time has asked
// for: credentials may have expired by this clock and not by their issuer's.
const shortestPause = time.Second

// alarm returns a channel that receives at the first of these times that is set.
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

// stillPermitted asks again whether the client may do what it asked for.
func (s *Server) stillPermitted(r *request) error {
	if err := s.authenticate(r); err != nil {
		return err
	}
	return r.permit()
}

// An attempt is what await is given.
type attempt = func(over bool) (found bool, next time.Time, err error)

// inGoroutine has try called in a goroutine of its own. What the store does takes a
// larger stack than waiting, and the one that waits would keep it: twice 8 KiB for
// each claim. A panic is an error.
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
