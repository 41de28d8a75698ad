package bolt

import (
	"sync"

	"welcomed/delivery"
)

// watches are the devices that wait for a Welcome.
type watches struct {
	mu      sync.Mutex
	waiting map[delivery.DeviceID]map[chan struct{}]struct{}
}

// Watch implements delivery.Store.
func (s *Store) Watch(device delivery.DeviceID) (<-chan struct{}, func()) {
	return s.watches.add(device)
}

func (w *watches) add(device delivery.DeviceID) (<-chan struct{}, func()) {
	// One token is enough: a waiter that is woken looks at everything.
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == nil {
		w.waiting = make(map[delivery.DeviceID]map[chan struct{}]struct{})
	}
	if w.waiting[device] == nil {
		w.waiting[device] = make(map[chan struct{}]struct{})
	}
	w.waiting[device][c] = struct{}{}
	return c, func() { w.remove(device, c) }
}

func (w *watches) remove(device delivery.DeviceID, c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting[device], c)
	if len(w.waiting[device]) == 0 {
		delete(w.waiting, device)
	}
}

func (w *watches) wake(devices []delivery.DeviceID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, device := range devices {
		for c := range w.waiting[device] {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
}
