package store

import (
	"sync"

	"welcomed/delivery"
)

// watches has what is watched: devices, owners of tokens, and tellers of events. The empty
// teller stands for all of them.
type watches struct {
	mu      sync.Mutex
	devices watched[delivery.DeviceID]
	owners  watched[delivery.TokenOwner]
	tellers watched[string]
	hints   watched[delivery.HintChannel]
}

// watched has the channels of the watchers of each thing.
type watched[K comparable] map[K]map[chan struct{}]struct{}

// Watch implements delivery.Store.
func (s *Store) Watch(device delivery.DeviceID, owner delivery.TokenOwner) (<-chan struct{}, func()) {
	return s.watches.add(device, owner, nil)
}

// WatchEvents implements delivery.Store.
func (s *Store) WatchEvents(user delivery.UserID, device string, owner delivery.TokenOwner) (<-chan struct{}, func()) {
	teller := string(user)
	return s.watches.add(delivery.DeviceID{User: user, Name: device}, owner, &teller)
}

// add watches a device if it has a name, an owner if there is one, and whose events are told
// unless teller is nil.
func (w *watches) add(device delivery.DeviceID, owner delivery.TokenOwner, teller *string) (<-chan struct{}, func()) {
	// One token is enough: a waiter that is woken looks at everything.
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if device.Name != "" {
		w.devices.add(device, c)
	}
	if teller != nil {
		w.tellers.add(*teller, c)
	}
	if owner != (delivery.TokenOwner{}) {
		w.owners.add(owner, c)
	}
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.devices.remove(device, c)
		w.owners.remove(owner, c)
		if teller != nil {
			w.tellers.remove(*teller, c)
		}
	}
}

// WatchHints implements delivery.Store.
func (s *Store) WatchHints(channel delivery.HintChannel) (<-chan struct{}, func()) {
	w, c := &s.watches, make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hints.add(channel, c)
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.hints.remove(channel, c)
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
func (s *Store) Committed(t *Txn) {
	s.watches.wake(t.woken, t.revoked, t.tellers)
	s.hintsCommitted(t)
}

func (w *watches) wakeHints(channel delivery.HintChannel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hints.wake([]delivery.HintChannel{channel})
}

// wake wakes the watchers of devices, of owners whose tokens were revoked, and of events.
func (w *watches) wake(devices []delivery.DeviceID, owners []delivery.TokenOwner, tellers []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.devices.wake(devices)
	w.owners.wake(owners)
	w.tellers.wake(tellers)
	if len(tellers) > 0 {
		w.tellers.wake([]string{""})
	}
}
