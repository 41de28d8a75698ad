package bolt

import (
	"errors"
	"testing"

	"welcomed/delivery"
	"welcomed/mls"
)

// TestASyncLooksAgainIfTheDeviceHasChanged: what was found out outside the
// writer is not acted on after anything has happened to the device.
func TestASyncLooksAgainIfTheDeviceHasChanged(t *testing.T) {
	for sentence, meanwhile := range map[string]func(*Store, delivery.DeviceID) error{
		"it publishes another": func(s *Store, id delivery.DeviceID) error {
			_, err := s.Publish(t.Context(), delivery.Unauthenticated(), id, randomItems(1))
			return err
		},
		"one is reserved": func(s *Store, id delivery.DeviceID) error {
			_, err := s.Reserve(t.Context(), delivery.Unauthenticated(), delivery.ReserveRequest{Devices: []delivery.DeviceID{id}})
			return err
		},
		"it is removed": func(s *Store, id delivery.DeviceID) error {
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
			must(t, s.view(t.Context(), c.look))
			must(t, meanwhile(s, id))
			if err := s.writer.do(t.Context(), 0, c.apply); !errors.Is(err, errMoved) {
				t.Errorf("it was acted on: %v", err)
			}
		})
	}
}

// TestASyncThatWithdrawsNothingLeavesTheWriterAlone: neither does one that is
// refused.
func TestASyncThatWithdrawsNothingLeavesTheWriterAlone(t *testing.T) {
	s, id := openTest(t), deviceNo(0)
	_, err := s.Publish(t.Context(), delivery.Unauthenticated(), id, randomItems(3))
	must(t, err)
	inventory, err := s.Inventory(t.Context(), delivery.Unauthenticated(), id)
	must(t, err)
	release, done := make(chan struct{}), make(chan error, 1)
	entered := make(chan struct{})
	go func() {
		done <- s.writer.do(t.Context(), 0, func(*txn) error { close(entered); <-release; return nil })
	}()
	<-entered
	sync := func(digest delivery.Digest, refs []mls.KeyPackageRef) error {
		_, err := s.Sync(t.Context(), delivery.Unauthenticated(), id, digest, refs)
		return err
	}
	must(t, sync(inventory.Digest, inventory.Refs))
	if err := sync(delivery.Digest{}, nil); !errors.Is(err, delivery.ErrInventoryChanged) {
		t.Errorf("got %v", err)
	}
	close(release)
	must(t, <-done)
}
