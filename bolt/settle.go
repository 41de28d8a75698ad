package bolt

import (
	"context"
	"slices"

	"welcomed/delivery"
	"welcomed/mls"
)

// Acknowledge implements delivery.Store.
func (s *Store) Acknowledge(ctx context.Context, _ delivery.Caller, device delivery.DeviceID, id delivery.WelcomeID, ref mls.KeyPackageRef) error {
	_, err := s.settle(ctx, device, id, ref, settlement{state: delivery.Acknowledged})
	return err
}

// Reject implements delivery.Store.
func (s *Store) Reject(ctx context.Context, _ delivery.Caller, device delivery.DeviceID, id delivery.WelcomeID, ref mls.KeyPackageRef, reason delivery.Reason, detail string) (int, error) {
	return s.settle(ctx, device, id, ref, settlement{delivery.Rejected, reason, detail})
}

// A settlement is what a device says of a Welcome that it was given.
type settlement struct {
	state  delivery.WelcomeState
	reason delivery.Reason
	detail string
}

func (s *Store) settle(ctx context.Context, device delivery.DeviceID, id delivery.WelcomeID, ref mls.KeyPackageRef, as settlement) (settled int, err error) {
	err = s.writer.do(ctx, 0, func(t *txn) error {
		settled = 0
		d, mails, err := t.received(device, id)
		if err != nil {
			return err
		}
		if ref != "" {
			mails = slices.DeleteFunc(mails, func(m *mail) bool { return t.recipient(m.mailKey).ref != ref })
		}
		if len(mails) == 0 {
			return delivery.ErrNotFound
		}
		undelivered := 0
		for _, m := range mails {
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
		if undelivered == len(mails) {
			return delivery.ErrNotDelivered
		}
		return nil
	})
	return settled, err
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
