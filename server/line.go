package server

import (
	"slices"
	"sync"

	"welcomed/delivery"
)

// lines are the long requests that wait, by device. Of one device the newest looks
// first: an older one may be that of a connection that is dead without anybody
// knowing. There are at most most of a device; for one more the oldest gives way.
type lines struct {
	most      int
	displaced func() // is told of each that gives way

	mu sync.Mutex
	of map[delivery.DeviceID]*line
}

// A line is that of one device.
type line struct {
	device  delivery.DeviceID
	waiters []*waiter // oldest first
	turn    *waiter   // who looks, or is about to; nil: nobody
}

// A waiter is a request that waits.
type waiter struct {
	line     *line
	turn     chan struct{} // receives when it is to look
	giveWay  chan struct{} // closed when it has to end
	wantsOne bool          // something may have come since it last looked
}

// join adds a waiter to the line of a device.
func (l *lines) join(device delivery.DeviceID) *waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = make(map[delivery.DeviceID]*line)
	}
	of := l.of[device]
	if of == nil {
		of = &line{device: device}
		l.of[device] = of
	}
	if len(of.waiters) >= l.most {
		oldest := of.waiters[0]
		l.remove(oldest)
		close(oldest.giveWay)
		l.displaced()
		l.of[device] = of
	}
	w := &waiter{line: of, turn: make(chan struct{}, 1), giveWay: make(chan struct{})}
	of.waiters = append(of.waiters, w)
	return w
}

// leave takes a waiter out of its line, if it still is in it.
func (l *lines) leave(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(w)
}

func (l *lines) remove(w *waiter) {
	of := w.line
	i := slices.Index(of.waiters, w)
	if i < 0 {
		return
	}
	of.waiters = slices.Delete(of.waiters, i, i+1)
	if of.turn == w {
		of.turn = nil
		of.next()
	}
	if len(of.waiters) == 0 {
		delete(l.of, of.device)
	}
}

// woken has all who wait for the device look, one after the other, because one of
// them was woken.
func (l *lines) woken(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, other := range w.line.waiters {
		other.wantsOne = true
	}
	w.line.next()
}

// looked passes the turn on, if the waiter has it.
func (l *lines) looked(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.line.turn == w {
		w.line.turn = nil
		select {
		case <-w.turn: // it was given the turn, and looked for another reason
		default:
		}
		w.line.next()
	}
}

// next gives the turn to the newest who wants one, unless somebody has it.
func (of *line) next() {
	if of.turn != nil {
		return
	}
	for _, w := range slices.Backward(of.waiters) {
		if w.wantsOne {
			w.wantsOne = false
			of.turn = w
			w.turn <- struct{}{} // there is room: who had it has taken it, or left
			return
		}
	}
}
