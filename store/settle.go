package store

import (
	"context"

	"welcomed/delivery"
	"welcomed/mls"
)

// Acknowledge implements delivery.Store.
func (s *Store) Acknowledge(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, id delivery.WelcomeID, ref mls.KeyPackageRef) error {
	_, err := s.settle(ctx, caller, device, id, ref, settlement{state: delivery.Acknowledged})
	return err
}

// Reject implements delivery.Store.
func (s *Store) Reject(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, id delivery.WelcomeID, ref mls.KeyPackageRef, reason delivery.Reason, detail string) (int, error) {
	return s.settle(ctx, caller, device, id, ref, settlement{delivery.Rejected, reason, detail})
}

// A settlement is the answer of a device to a Welcome that it was given.
type settlement struct {
	state  delivery.WelcomeState
	reason delivery.Reason
	detail string
}

// A settling is a settlement in progress. The rows that it concerns never change, so they are
// found outside the writer.
type settling struct {
	settlement
	name delivery.DeviceID
	id   delivery.WelcomeID
	ref  mls.KeyPackageRef

	device     *device
	keys       []recipientKey // of those that it changes
	recipients openRecipients // of last resorts that it withdraws
	settled    int
}

func (s *Store) settle(ctx context.Context, caller delivery.Caller, name delivery.DeviceID, id delivery.WelcomeID, ref mls.KeyPackageRef, as settlement) (int, error) {
	c := &settling{settlement: as, name: name, id: id, ref: ref}
	err := s.doAs(ctx, caller, &Event{Look: c.look, Run: c.apply})
	return c.settled, err
}

func (c *settling) look(t *Txn) (changes bool, err error) {
	*c = settling{settlement: c.settlement, name: c.name, id: c.id, ref: c.ref}
	d, recipients, err := t.received(c.name, c.id)
	if err != nil {
		return false, err
	}
	t.ahead(func(w *Wanted) {
		for _, m := range recipients {
			w.keyPackage(d.number, m.kp)
			w.row(kindWelcomes, postedRecipientKey(m.recipientKey))
		}
	})
	found, undelivered := 0, 0
	for _, m := range recipients {
		if c.ref != "" && !t.isFor(d, m, c.ref) {
			continue
		}
		found++
		rec := m.rec
		if changed, err := rec.Settle(c.state, t.now); err != nil {
			undelivered++
		} else if changed {
			c.keys = append(c.keys, m.recipientKey)
			if k := t.keyPackage(d, m.kp); c.withdraws(k) && c.recipients == nil {
				c.recipients = t.openRecipients(d)
			}
		}
	}
	switch {
	case found == 0:
		return false, delivery.ErrNotFound
	case undelivered == found:
		return false, delivery.ErrNotDelivered
	}
	c.device = d
	return len(c.keys) > 0, nil
}

// isFor reports whether a recipient is for the KeyPackage with that ref.
func (t *Txn) isFor(d *device, m *recipient, ref mls.KeyPackageRef) bool {
	if r := t.postedRecipient(m.recipientKey); !r.lost {
		return r.ref == ref
	}
	k := t.keyPackage(d, m.kp)
	return k != nil && k.rec.Ref == ref
}

// withdraws reports whether the device says that it has no private key for a KeyPackage which
// others may still use.
func (s settlement) withdraws(k *keyPackage) bool {
	return s.reason == delivery.ReasonNoMatchingKeyPackage && k != nil && k.rec.LastResort
}

func (c *settling) apply(t *Txn) error {
	d := t.sameDevice(c.device, c.name)
	if d == nil || d.number != c.device.number {
		return ErrMoved
	}
	c.settled = 0
	var those []*recipient
	for _, key := range c.keys {
		m := t.recipient(d, key)
		if m == nil {
			return ErrMoved
		}
		rec := m.rec
		if changed, _ := rec.Settle(c.state, t.now); !changed {
			return ErrMoved
		}
		if k := t.keyPackage(d, m.kp); c.withdraws(k) && !t.knows(c.recipients, d, k) {
			return ErrMoved
		}
		those = append(those, m)
	}
	for _, m := range those {
		open := m.rec.State == delivery.Delivered
		_, _ = m.rec.Settle(c.state, t.now)
		t.applySettlement(d, m, open, c)
		c.settled++
	}
	return nil
}

// applySettlement writes a recipient that has just been settled. open means that it had not
// ended before.
func (t *Txn) applySettlement(d *device, m *recipient, open bool, c *settling) {
	m.rec.Reason, m.rec.Detail = c.reason, c.detail
	if !open {
		t.saveRecipient(d, m) // a late acknowledgement: all else has ended already
		return
	}
	t.closeRecipient(d, m)
	if k := t.keyPackage(d, m.kp); c.withdraws(k) {
		t.withdrawWith(d, k, t.current(c.recipients, d, k))
	}
}
