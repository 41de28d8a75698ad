package client

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// A listener follows the events of a device, which wake it. While it cannot, for example
// behind a proxy that keeps a stream back, claims wait instead.
type listener struct {
	live  atomic.Bool   // there is a stream, and events come through
	woken chan struct{} // receives when there may be something to do
	ended chan struct{} // closed when it follows no more
}

func (l *listener) wake() {
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// listen begins to follow the device's events, until ctx is done.
func (d *Device) listen(ctx context.Context) *listener {
	l := &listener{woken: make(chan struct{}, 1), ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		f := Following{User: d.ID.User, Device: d.ID.Name}
		for failures := 0; ctx.Err() == nil; {
			begun := time.Now()
			told, err := d.Client.follow(ctx, &f, func(e Event) bool {
				if e.Type == EventKeyPackage {
					d.mu.Lock()
					d.due = time.Time{} // another last resort takes its place
					d.mu.Unlock()
				}
				l.live.Store(true) // EventOpen is the first
				l.wake()
				return true
			})
			l.live.Store(false)
			l.wake()
			if failures++; told || time.Since(begun) > lasting {
				failures = 1
			}
			if e, answered := errors.AsType[*Error](err); answered && !e.Temporary() {
				return // a claim is told the same; or it is a server that has no events
			}
			pause := delay(err, failures)
			if wasDisplaced(err) {
				pause = displacedFor + jitter(displacedFor)
			}
			if d.Client.sleep(ctx, pause) != nil {
				return
			}
		}
	}()
	return l
}

// lookAgain is after how long a device claims that no event has woken.
const lookAgain = 5 * time.Minute

// sleepUntilWoken returns when an event has come, the stream has ended, or something is to be
// done here.
func (d *Device) sleepUntilWoken(ctx context.Context, l *listener) {
	d.mu.Lock()
	until := d.due
	for _, p := range d.later {
		if p.until.Before(until) {
			until = p.until
		}
	}
	d.mu.Unlock()
	timer := time.NewTimer(max(0, min(lookAgain, time.Until(until))))
	defer timer.Stop()
	select {
	case <-l.woken:
	case <-timer.C:
	case <-ctx.Done():
	}
}
