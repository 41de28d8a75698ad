package store

import (
	"errors"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
)

// A removed device is forgotten with its last row, and is then in no count,
// also when both happen in one commit.
func TestARemovedDeviceIsForgotten(t *testing.T) {
	remove := func(x *Txn) error { x.removeDevice(x.device(phone), x.now, x.next()); return nil }
	sweep := func(x *Txn) error {
		for _, due := range x.dueTimers(timerTombstones, 10) {
			x.del(kindTimers, due.key)
			x.fireTombstones(due, &delivery.SweepResult{})
		}
		return nil
	}
	for name, events := range map[string][]func(*Txn) error{
		"removed, then swept": {remove, sweep},
		"swept, then removed": {sweep, remove},
	} {
		t.Run(name, func(t *testing.T) {
			clock := storetest.NewClock()
			s := openAt(t, clock)
			s.limits.TombstoneKept = 0 // nor is it remembered that it was removed
			item := publishOne(t, s, phone)
			must(t, s.Withdraw(t.Context(), delivery.Unauthenticated(), phone, item.Ref))
			clock.Advance(2 * seenExact)
			_, err := s.Sweep(t.Context())
			must(t, err)
			clock.Advance(500 * seenExact)
			must(t, s.run(t.Context(), func(x *Txn) error {
				for _, event := range events {
					must(t, event(x))
				}
				return nil
			}))
			must(t, s.View(t.Context(), func(x *Txn) error {
				if x.device(phone) != nil || x.rows.Totals().stock != (Totals{}).stock {
					t.Errorf("device %v, counted %v", x.device(phone), x.rows.Totals().stock)
				}
				return nil
			}))
		})
	}
}

// One row that cannot be read does not keep a sweep from the others.
func TestASweepPassesADamagedRow(t *testing.T) {
	clock := storetest.NewClock()
	s := openAt(t, clock)
	damaged := publishOne(t, s, phone)
	other := publishOne(t, s, delivery.DeviceID{User: "alice", Name: "tablet"})
	must(t, s.run(t.Context(), func(x *Txn) error {
		d, k := x.refOwner(damaged.Ref)
		x.put(kindDevices, d.keyPackageRow(k.row, k.number), []byte{0xff})
		return nil
	}))
	clock.Advance(s.limits.ShelfAge + time.Hour)
	if _, err := s.Sweep(t.Context()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("the sweep says %v", err)
	}
	must(t, s.View(t.Context(), func(x *Txn) error {
		if _, k := x.refOwner(other.Ref); k.rec.State != delivery.Retired {
			t.Errorf("the other is %v", k.rec.State)
		}
		return nil
	}))
	_, err := s.Sweep(t.Context())
	must(t, err)
}
