package store

import (
	"sync"

	"welcomed/delivery"
)

// watches are the devices and the owners of tokens that somebody watches.
type watches struct {
	mu      sync.Mutex
	devices watched[delivery.DeviceID]
	owners  watched[delivery.TokenOwner]
}

// watched are the channels of those who watch something.
type watched[K comparable] map[K]map[chan struct{}]struct{}

// Watch implements delivery.Store.
func (s *Store) Watch(device delivery.DeviceID, owner delivery.TokenOwner) (<-chan struct{}, func()) {
	return s.watches.add(device, owner)
}

func (w *watches) add(device delivery.DeviceID, owner delivery.TokenOwner) (<-chan struct{}, func()) {
	// One token is enough: a waiter that is woken looks at everything.
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.devices.add(device, c)
	if owner != (delivery.TokenOwner{}) {
		w.owners.add(owner, c)
	}
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.devices.remove(device, c)
		w.owners.remove(owner, c)
	}
}

func (w *watched[K]) add(key K, c chan struct{}) {
	if *w == nil {
		*w = make(watched[K])
	}
	if (*w)[key] == nil {
		(*w)[key] = make(map[chan struct{}]struct{})
	}
	(*w)[key][c] = struct{}{}
}

func (w watched[K]) remove(key K, c chan struct{}) {
	delete(w[key], c)
	if len(w[key]) == 0 {
		delete(w, key)
	}
}

func (w watched[K]) wake(keys []K) {
	for _, key := range keys {
		for c := range w[key] {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
}

// Committed has those be woken whom a transaction concerns that is durable by now.
func (s *Store) Committed(t *Txn) { s.watches.wake(t.woken, t.revoked) }

// wake wakes those who watch these devices, or owners some of whose tokens were
// revoked.
func (w *watches) wake(devices []delivery.DeviceID, owners []delivery.TokenOwner) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.devices.wake(devices)
	w.owners.wake(owners)
}
