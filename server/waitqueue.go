package server

import (
	"slices"
	"sync"

	"welcomed/delivery"
)

// waitQueues has the waiting long requests, claims or streams, by what they wait for. The newest
// claim of a device tries first, because the connection of an older one may be dead without
// anybody knowing. Only a few requests of a key wait. One more displaces the oldest.
type waitQueues struct {
	apart     bool   // each tries when it is woken, whatever the others do
	displaced func() // is called for each that is

	mu sync.Mutex
	of map[waitKey]*waitQueue
}

// A waitKey is for what long requests wait.
type waitKey struct {
	reader string // of a stream: a service's name, or that it may only read; empty: the user
	device delivery.DeviceID
}

// A waitQueue has the waiting requests of one key.
type waitQueue struct {
	in      *waitQueues
	key     waitKey
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

// join adds a waiter to the queue of a key, in which there are at most so many.
func (l *waitQueues) join(key waitKey, most int) *waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = make(map[waitKey]*waitQueue)
	}
	of := l.of[key]
	if of == nil {
		of = &waitQueue{in: l, key: key}
		l.of[key] = of
	}
	if len(of.waiters) >= most {
		oldest := of.waiters[0]
		l.remove(oldest)
		close(oldest.displaced)
		l.displaced()
		l.of[key] = of
	}
	w := &waiter{queue: of, try: make(chan struct{}, 1), displaced: make(chan struct{})}
	of.waiters = append(of.waiters, w)
	return w
}

// leave removes a waiter from its queue, if it is still in it.
func (w *waiter) leave() {
	l := w.queue.in
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
		delete(l.of, of.key)
	}
}

// woken makes all waiters of a key try, one after the other, because one of them was woken.
func (w *waiter) woken() {
	l := w.queue.in
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.apart {
		select {
		case w.try <- struct{}{}:
		default:
		}
		return
	}
	for _, other := range w.queue.waiters {
		other.due = true
	}
	w.queue.next()
}

// tried lets the next waiter try, if it was the turn of this one.
func (w *waiter) tried() {
	l := w.queue.in
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
