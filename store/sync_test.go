package store

import (
	"errors"
	"testing"

	"welcomed/delivery"
)

// TestASyncLooksAgainIfTheInventoryHasChanged: what was found out before
// is not acted on after a KeyPackage has come or gone.
func TestASyncLooksAgainIfTheInventoryHasChanged(t *testing.T) {
	for sentence, meanwhile := range map[string]func(*MemoryStore, delivery.DeviceID) error{
		"it publishes another": func(s *MemoryStore, id delivery.DeviceID) error {
			_, err := s.Publish(t.Context(), delivery.Unauthenticated(), id, randomItems(1))
			return err
		},
		"it withdraws one": func(s *MemoryStore, id delivery.DeviceID) error {
			inventory, err := s.Inventory(t.Context(), delivery.Unauthenticated(), id)
			must(t, err)
			return s.Withdraw(t.Context(), delivery.Unauthenticated(), id, inventory.Refs[0])
		},
		"it is removed": func(s *MemoryStore, id delivery.DeviceID) error {
			return s.RemoveDevice(t.Context(), delivery.Unauthenticated(), id)
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			s, id := openTest(t), deviceNo(0)
			_, err := s.Publish(t.Context(), delivery.Unauthenticated(), id, randomItems(3))
			must(t, err)
			inventory, err := s.Inventory(t.Context(), delivery.Unauthenticated(), id)
			must(t, err)
			c := &deviceSync{id: id, digest: inventory.Digest, refs: inventory.Refs[:1]}
			must(t, s.View(t.Context(), func(t *Txn) error { _, err := c.look(t); return err }))
			must(t, meanwhile(s, id))
			if err := s.run(t.Context(), c.begin); !errors.Is(err, ErrMoved) {
				t.Errorf("it was acted on: %v", err)
			}
		})
	}
}

// TestASyncInSeveralTransactionsCountsAll: each transaction of a large sync goes on
// counting where the one before ended.
func TestASyncInSeveralTransactionsCountsAll(t *testing.T) {
	s, id := openTest(t), deviceNo(0)
	const n = 500
	_, err := s.Publish(t.Context(), delivery.Unauthenticated(), id, randomItems(n))
	must(t, err)
	inventory, err := s.Inventory(t.Context(), delivery.Unauthenticated(), id)
	must(t, err)
	before := s.memory.Commits()
	r, err := s.Sync(t.Context(), delivery.Unauthenticated(), id, inventory.Digest, nil)
	must(t, err)
	if commits := s.memory.Commits() - before; commits < 2 || r.Fresh != n || len(r.Withdrawn) != n {
		t.Errorf("%d transactions withdrew %d, %d of them fresh", commits, len(r.Withdrawn), r.Fresh)
	}
}
