package server

import (
	"time"

	"welcomed/delivery"
)

// await looks for something to answer a long request with, until there is
// something, or the wait is over: after the time that the client gave it, or
// because the server stops. Every long request waits here, and nowhere else.
//
// Of one device the newest request looks first, and there are only so many: the
// oldest is over when there is one too many.
//
// look reports whether there is something, and if not, when it is to be called
// again at the latest (zero: when it is woken). It is told whether the wait is
// over; then what it has found is the answer, whatever it is. It is called at
// once, and again whenever the store says that it may find more.
//
// Credentials are looked at again before each look but the first, so that what
// comes after a revocation is not taken, and after the last one, so that it is
// not answered either. A revocation, a removal and the end of the credentials'
// time wake it.
func (s *Server) await(r *request, wait time.Duration, look look) error {
	if wait == 0 {
		_, _, err := look(true)
		return err
	}
	wake, stop := s.store.Watch(r.device, r.identity.Owner())
	defer stop()
	look = apart(look)
	found, next, err := look(false)
	if err != nil || found {
		return err
	}
	w := s.lines.join(r.device)
	defer s.lines.leave(w)
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
			s.lines.woken(w)
			continue
		case <-w.turn:
			select {
			case <-wake: // it looks now
			default:
			}
		case <-again:
		case <-enough.C:
			over = true
		case <-w.giveWay:
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
			found, next, err = look(over)
		}
		if err != nil {
			return err
		}
		if !found {
			s.lines.looked(w)
		}
	}
	return s.stillPermitted(r)
}

// breath is the shortest time between two looks that nothing but time has asked
// for: credentials may have expired by this clock and not by their issuer's.
const breath = time.Second

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
		left = breath
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

// A look is what await is given.
type look = func(over bool) (found bool, next time.Time, err error)

// apart has look called in a goroutine of its own. What the store does takes a
// larger stack than waiting, and the one that waits would keep it: twice 8 KiB for
// each claim. A panic is an error.
func apart(look look) look {
	return func(over bool) (found bool, next time.Time, err error) {
		looked := make(chan struct{})
		go func() {
			defer close(looked)
			defer func() {
				if p := recover(); p != nil {
					err = delivery.NewPanicError(p)
				}
			}()
			found, next, err = look(over)
		}()
		<-looked
		return found, next, err
	}
}
