package store

import (
	"sync"

	"welcomed/delivery"
)

// watches has the devices and the owners of tokens that are watched.
type watches struct {
	mu      sync.Mutex
	devices watched[delivery.DeviceID]
	owners  watched[delivery.TokenOwner]
}

// watched has the channels of the watchers of each thing.
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

// Committed wakes the watchers of what a transaction has changed. The engine calls it when the
// transaction is durable.
func (s *Store) Committed(t *Txn) { s.watches.wake(t.woken, t.revoked) }

// wake wakes the watchers of devices, and the watchers of owners whose tokens were revoked.
func (w *watches) wake(devices []delivery.DeviceID, owners []delivery.TokenOwner) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.devices.wake(devices)
	w.owners.wake(owners)
}
