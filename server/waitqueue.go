package server

import (
	"slices"
	"sync"

	"welcomed/delivery"
)

// waitQueues has the waiting long requests of each device. The newest request of a device tries
// first, because the connection of an older one may be dead without anybody knowing. At most
// most requests of a device wait. One more displaces the oldest.
type waitQueues struct {
	most      int
	displaced func() // is called for each that is

	mu sync.Mutex
	of map[delivery.DeviceID]*waitQueue
}

// A waitQueue has the waiting requests of one device.
type waitQueue struct {
	device  delivery.DeviceID
	waiters []*waiter // oldest first
	trying  *waiter   // nil: nobody tries, or is about to
}

// A waiter is a request that waits.
type waiter struct {
	queue     *waitQueue
	try       chan struct{} // receives when it is to try
	displaced chan struct{} // closed when it has to end
	due       bool          // something may have come since it last tried
}

// join adds a waiter to the queue of a device.
func (l *waitQueues) join(device delivery.DeviceID) *waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = make(map[delivery.DeviceID]*waitQueue)
	}
	of := l.of[device]
	if of == nil {
		of = &waitQueue{device: device}
		l.of[device] = of
	}
	if len(of.waiters) >= l.most {
		oldest := of.waiters[0]
		l.remove(oldest)
		close(oldest.displaced)
		l.displaced()
		l.of[device] = of
	}
	w := &waiter{queue: of, try: make(chan struct{}, 1), displaced: make(chan struct{})}
	of.waiters = append(of.waiters, w)
	return w
}

// leave removes a waiter from its queue, if it is still in it.
func (l *waitQueues) leave(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(w)
}

func (l *waitQueues) remove(w *waiter) {
	of := w.queue
	i := slices.Index(of.waiters, w)
	if i < 0 {
		return
	}
	of.waiters = slices.Delete(of.waiters, i, i+1)
	if of.trying == w {
		of.trying = nil
		of.next()
	}
	if len(of.waiters) == 0 {
		delete(l.of, of.device)
	}
}

// woken makes all waiters of a device try, one after the other, because one of them was woken.
func (l *waitQueues) woken(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, other := range w.queue.waiters {
		other.due = true
	}
	w.queue.next()
}

// tried lets the next waiter try, if it was the turn of this one.
func (l *waitQueues) tried(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.queue.trying == w {
		w.queue.trying = nil
		select {
		case <-w.try: // its turn came, and it tried for another reason
		default:
		}
		w.queue.next()
	}
}

// next lets the newest waiter try that has to, unless another one is trying.
func (of *waitQueue) next() {
	if of.trying != nil {
		return
	}
	for _, w := range slices.Backward(of.waiters) {
		if w.due {
			w.due = false
			of.trying = w
			w.try <- struct{}{} // there is room: whose turn it was has tried, or left
			return
		}
	}
}
