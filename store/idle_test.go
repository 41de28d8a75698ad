package store

import (
	"fmt"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
)

// What a sweep finds about idle devices is changed in bounded parts, each of which reads
// what it changes and not what a user has accumulated; where it finds nothing, it writes
// nothing.
func TestASweepOfIdleDevicesTakesFewTurns(t *testing.T) {
	const devices, removed, year = 3000, 2000, 400 * 24 * time.Hour
	clock, limits := storetest.NewClock(), delivery.DefaultLimits()
	limits.ForgetDevicesAfter = year
	events, most := 0, 0
	s := openWith(t, clock, limits)
	s.observe = func(r, w int) {
		if events, most = events+1, max(most, w); r > 2*w+20 {
			t.Errorf("a part read %d rows when it was run and wrote %d", r, w)
		}
	}
	must(t, s.run(t.Context(), func(t *Txn) error {
		for n := range removed {
			t.removeDevice(t.createDevice(deviceOf("had", fmt.Sprint("gone", n))), t.now, t.next())
		}
		t.createDevice(deviceOf("had", "phone"))
		for n := range devices - 1 {
			t.createDevice(deviceNo(n))
		}
		return nil
	}))
	walk := func() (r delivery.SweepResult) {
		t.Helper()
		events, most = 0, 0
		s.idle.since = clock.Now().Add(-idleWatched)
		s.idle.last = clock.Now()
		must(t, s.sweepIdle(t.Context(), &r))
		t.Logf("%d transactions, at most %d rows written", events, most)
		return r
	}
	nothing := func() {
		t.Helper()
		if walk(); events > 0 {
			t.Errorf("nothing was to do, in %d transactions", events)
		}
	}
	nothing()
	clock.Advance(delivery.IdleApart)
	walk()
	if n := totals(s).stock[stockIdle]; n != devices || events != devices/idleBatch || most > 2*idleBatch {
		t.Errorf("%d are idle, found in %d transactions of at most %d rows", n, events, most)
	}
	nothing()
	clock.Advance(year - delivery.IdleApart)
	if r := walk(); r.ForgottenDevices != devices || most > sweepWrites+10 {
		t.Errorf("%d were forgotten in %d transactions of at most %d rows", r.ForgottenDevices, events, most)
	}
	nothing()
}

// Of very many devices a sweep looks at some, and the next one at those behind them.
func TestASweepGoesOnWithIdleDevices(t *testing.T) {
	const devices = idleDevices + idleLook/2
	clock := storetest.NewClock()
	s := openAt(t, clock)
	must(t, s.run(t.Context(), func(t *Txn) error {
		for n := range devices {
			t.createDevice(deviceNo(n))
		}
		return nil
	}))
	clock.Advance(delivery.IdleApart)
	for _, want := range []int64{idleDevices, devices, devices} {
		var r delivery.SweepResult
		must(t, s.sweepIdle(t.Context(), &r))
		if got := totals(s).stock[stockIdle]; got != want {
			t.Errorf("%d are idle, want %d", got, want)
		}
	}
}

// A device of which a row cannot be read does not keep a sweep from the others.
func TestASweepOfIdleDevicesPassesADamagedRow(t *testing.T) {
	for what, spoil := range map[string]func(t *Txn, d *device){
		"the device": func(t *Txn, d *device) {
			t.put(kindDevices, d.key(rowDevice), []byte{0xff})
			delete(t.devices, d.number)
		},
		"a token, which ends with the device": func(t *Txn, d *device) {
			owner := delivery.TokenOwner{User: d.id.User, Device: d.id.Name}
			t.put(kindTokens, []byte("token"), []byte{0xff})
			t.put(kindOwners, append(ownerKey(owner, true), "token"...), nil)
		},
	} {
		t.Run(what, func(t *testing.T) {
			clock := storetest.NewClock()
			s := openAt(t, clock)
			for _, change := range []func(*Txn, *device){func(*Txn, *device) {}, spoil} {
				must(t, s.run(t.Context(), func(t *Txn) error {
					for n := range 3 {
						if d := t.createDevice(deviceNo(n)); n == 1 {
							change(t, d)
						}
					}
					return nil
				}))
			}
			s.limits.ForgetDevicesAfter = delivery.IdleApart
			clock.Advance(delivery.IdleApart)
			s.idle.since, s.idle.last = clock.Now().Add(-idleWatched), clock.Now()
			var r delivery.SweepResult
			if err := s.sweepIdle(t.Context(), &r); !IsDamage(err) {
				t.Errorf("the sweep says %v", err)
			}
			if r.ForgottenDevices != 2 {
				t.Errorf("%d are forgotten, want 2", r.ForgottenDevices)
			}
			must(t, s.sweepIdle(t.Context(), &r)) // it was said
		})
	}
}
