package bolt

import (
	"context"

	"welcomed/delivery"
	"welcomed/mls"
)

// Acknowledge implements delivery.Store.
func (s *Store) Acknowledge(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, id delivery.WelcomeID, ref mls.KeyPackageRef) error {
	if err := caller.Valid(); err != nil {
		return err
	}
	_, err := s.settle(ctx, device, id, ref, settlement{state: delivery.Acknowledged})
	return err
}

// Reject implements delivery.Store.
func (s *Store) Reject(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, id delivery.WelcomeID, ref mls.KeyPackageRef, reason delivery.Reason, detail string) (int, error) {
	if err := caller.Valid(); err != nil {
		return 0, err
	}
	return s.settle(ctx, device, id, ref, settlement{delivery.Rejected, reason, detail})
}

// A settlement is what a device says of a Welcome that it was given.
type settlement struct {
	state  delivery.WelcomeState
	reason delivery.Reason
	detail string
}

func (s *Store) settle(ctx context.Context, name delivery.DeviceID, id delivery.WelcomeID, ref mls.KeyPackageRef, as settlement) (settled int, err error) {
	// Which rows it is about never changes, so they are looked up outside the
	// writer.
	var of *device
	var keys []mailKey
	err = s.view(ctx, func(t *txn) error {
		of, keys, err = t.receivedFor(name, id, ref)
		return err
	})
	if err != nil {
		return 0, err
	}
	err = s.writer.do(ctx, 0, func(t *txn) error {
		settled, err = t.settle(t.sameDevice(of, name), keys, as)
		return err
	})
	return settled, err
}

// receivedFor is received, narrowed to one ref unless it is empty.
func (t *txn) receivedFor(name delivery.DeviceID, id delivery.WelcomeID, ref mls.KeyPackageRef) (d *device, keys []mailKey, err error) {
	d, mails, err := t.received(name, id)
	if err != nil {
		return nil, nil, err
	}
	for _, m := range mails {
		if ref == "" || t.recipient(m.mailKey).ref == ref {
			keys = append(keys, m.mailKey)
		}
	}
	if len(keys) == 0 {
		return nil, nil, delivery.ErrNotFound
	}
	return d, keys, nil
}

// settle settles those of the device's mails that can be.
func (t *txn) settle(d *device, keys []mailKey, as settlement) (settled int, err error) {
	if d == nil || d.removed {
		return 0, delivery.ErrNotFound
	}
	found, undelivered := 0, 0
	for _, key := range keys {
		m := t.mail(d, key)
		if m == nil {
			continue // forgotten meanwhile
		}
		found++
		open := m.rec.State == delivery.Delivered
		changed, err := m.rec.Settle(as.state, t.sure, t.now)
		if err != nil {
			undelivered++
		}
		if changed {
			settled++
			t.applySettlement(d, m, open, as)
		}
	}
	switch {
	case found == 0:
		return 0, delivery.ErrNotFound
	case undelivered == found:
		return 0, delivery.ErrNotDelivered
	}
	return settled, nil
}

// applySettlement writes a mail that has just been settled. open says that it
// was not ended before.
func (t *txn) applySettlement(d *device, m *mail, open bool, as settlement) {
	m.rec.Reason, m.rec.Detail = as.reason, as.detail
	if !open {
		t.saveMail(d, m) // a late acknowledgement: all else has ended already
		return
	}
	t.closeMail(d, m)
	if as.reason == delivery.ReasonNoMatchingKeyPackage {
		if k := t.keyPackage(d, m.kp); k.rec.LastResort {
			t.withdraw(d, k)
		}
	}
}
