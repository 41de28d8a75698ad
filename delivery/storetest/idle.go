package storetest

import (
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

// idlePromises are about devices that were not seen for long.
var idlePromises = []promise{
	{"others are told that a device is idle after 30 days, and to the day", func(w *world) {
		w.clock.Advance(9 * time.Hour)
		w.one(phone)
		since := w.clock.Now().Truncate(day)
		told := func(want time.Time) {
			w.t.Helper()
			at(w, "idle for its user", w.devices("alice")[0].IdleSince, want)
			at(w, "idle for who reserves", w.reserve(bob, alice).Users[0].Devices[0].IdleSince, want)
		}
		w.clock.Jump(since.Add(30*day - time.Millisecond).Sub(w.clock.Now())) // not believed
		told(time.Time{})
		w.clock.Jump(-w.clock.Now().Sub(since.Add(9 * time.Hour)))
		w.clock.Advance(since.Add(30*day - time.Millisecond).Sub(w.clock.Now()))
		told(time.Time{})
		w.clock.Advance(time.Millisecond)
		told(since)
		w.claim(phone)
		told(time.Time{})
	}},
	{"who reserves may leave out devices that are idle", func(w *world) {
		w.shelf(phone, 3)
		w.clock.Advance(20 * day)
		w.shelf(tablet, 4)
		w.clock.Advance(20 * day)
		without := func(req delivery.ReserveRequest, idle time.Duration) delivery.ReserveRequest {
			req.MaxIdle = idle
			return req
		}
		same(w, "all", reservedStatuses(w.reserve(bob, alice)), []string{"alice success: phone reserved tablet reserved"})
		same(w, "more", reservedStatuses(w.reserve(bob, without(alice, 41*day))), []string{"alice success: phone reserved tablet reserved"})
		same(w, "less", reservedStatuses(w.reserve(bob, without(alice, 40*day))), []string{"alice success: phone idle tablet reserved"})
		same(w, "least", reservedStatuses(w.reserve(bob, without(alice, day))), []string{"alice success: phone idle tablet reserved"})
		same(w, "named", reservedStatuses(w.reserve(bob, without(delivery.ReserveRequest{Devices: []deviceID{phone}}, 30*day))), []string{"alice left_out: phone idle"})
		same(w, "left", w.inventory(phone).Counts[0].Available, 1)
		w.clock.Advance(10 * day)
		w.idle("a reservation of idle ones", func() {
			same(w, "all idle", reservedStatuses(w.reserve(bob, without(alice, 30*day))), []string{"alice left_out: phone idle tablet idle"})
		})
	}},
	{"a repeated reservation says the same of idle devices", func(w *world) {
		w.one(phone)
		w.clock.Advance(31 * day)
		w.one(tablet)
		req := alice
		req.IdempotencyKey, req.MaxIdle = "x", 30*day
		first := w.reserve(bob, req)
		w.claim(phone)
		w.reopen()
		again := w.reserve(bob, req)
		same(w, "status", reservedStatuses(again), []string{"alice success: phone idle tablet reserved"})
		at(w, "idle", again.Users[0].Devices[0].IdleSince, first.Users[0].Devices[0].IdleSince)
		req.MaxIdle = 0
		_, err := w.store.Reserve(w.ctx, bob, req)
		w.refused(err, delivery.ErrIdempotencyKeyReused)
	}},
	{"devices that were not seen for 90 days are counted apart", func(w *world) {
		w.one(phone)
		w.publish(tablet, keyPackages(10)...)
		w.one(laptop, mlstest.LastResort())
		w.clock.Advance(delivery.IdleApart - time.Minute)
		w.sweep()
		w.stocks(1, 1, 0, 1)
		w.clock.Advance(time.Minute)
		w.claim(tablet)
		w.sweep()
		w.stocks(0, 0, 1, 0)
		same(w, "idle", w.stats().DevicesIdle, 2)
		w.idle("another sweep", func() { w.sweep() })
		w.reopen()
		same(w, "idle", w.stats().DevicesIdle, 2)
		w.claim(phone)
		w.one(laptop, mlstest.LastResort())
		w.stocks(0, 0, 2, 1)
		same(w, "idle", w.stats().DevicesIdle, 0)
	}},
	{"a device that was idle only by a wrong clock is counted again", func(w *world) {
		w.one(phone)
		w.clock.Jump(day - time.Minute)
		w.one(phone)
		w.clock.Advance(delivery.IdleApart)
		w.sweep()
		same(w, "idle", w.stats().DevicesIdle, 1)
		w.clock.Jump(-(day - time.Minute)) // as it was known at the start
		w.sweep()
		same(w, "idle", w.stats().DevicesIdle, 0)
	}},
	{"no device is forgotten unless that is wanted", func(w *world) {
		w.one(phone)
		same(w, "forgotten", w.yearsPass(500*day), 0)
		same(w, "devices", len(w.devices("alice")), 1)
	}},
	{"a device that does not come back is forgotten, and is removed then", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.ForgetDevicesAfter = 400 * day })
		bound := delivery.Caller{User: "alice", Device: "phone", Bound: w.clock.Now()}
		token, other := w.token(ofPhone), w.token(ofAlice)
		k := w.one(phone)
		w.send(bob, k)
		same(w, "forgotten", w.yearsPass(399*day), 0)
		w.one(tablet)
		wake, stop := w.store.Watch(phone, delivery.TokenOwner{})
		defer stop()
		same(w, "forgotten", w.yearsPass(2*day), 1)
		w.woken(wake)
		same(w, "devices", deviceNames(w.devices("alice")), []string{"tablet"})
		w.gone(token)
		w.valid(other)
		h := w.deviceHistory(phone, plenty)
		same(w, "removed", h.Removed, true)
		at(w, "removed", h.RemovedAt, w.clock.Now().Add(-time.Millisecond)) // so that a removal now is another one
		same(w, "answer", reservedStatuses(w.reserve(bob, delivery.ReserveRequest{Devices: []deviceID{phone}})), []string{"alice exhausted: phone unknown_device"})
		_, err := w.store.Publish(w.ctx, bound, phone, []kp{keyPackage()})
		w.refused(err, delivery.ErrDeviceRemoved)
		_, err = w.store.Claim(w.ctx, bound, phone, delivery.ClaimOptions{})
		w.refused(err, delivery.ErrDeviceRemoved)
		w.clock.Advance(time.Second)
		bound.Bound = w.clock.Now()
		back, err := w.store.Publish(w.ctx, bound, phone, []kp{keyPackage()})
		w.must(err)
		same(w, "status", back.Items[0].Status, delivery.Stored)
		same(w, "devices", deviceNames(w.devices("alice")), []string{"phone", "tablet"})
	}},
	{"a forgotten device makes room for another", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.ForgetDevicesAfter, l.DevicesPerUser = 400*day, 1 })
		w.one(phone)
		_, err := w.store.Publish(w.ctx, self(tablet), tablet, []kp{keyPackage()})
		w.refused(err, delivery.ErrDeviceLimit)
		same(w, "forgotten", w.yearsPass(401*day), 1)
		w.one(tablet)
	}},
	{"a device is forgotten only when it needs no private key", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.ForgetDevicesAfter = 35 * day })
		k, last := w.one(phone), w.one(tablet, mlstest.LastResort())
		reserved := w.one(laptop)
		w.clock.Advance(80 * day)
		w.reserveOne(bob, laptop, reserved)
		same(w, "on the shelf", w.yearsPass(5*day), 0)
		same(w, "off it", w.yearsPass(20*day), 0) // 105: retired until 120
		id := w.send(bob, k)
		w.states(delivery.Retired, last)
		same(w, "reserved until 110", w.yearsPass(6*day), 1)
		same(w, "devices", deviceNames(w.devices("alice")), []string{"phone", "tablet"})
		same(w, "retired until 120", w.yearsPass(10*day), 1)
		same(w, "devices", deviceNames(w.devices("alice")), []string{"phone"})
		w.became(bob, id, "pending")
		same(w, "what waits until 135", w.yearsPass(13*day), 0)
		same(w, "waited in vain", w.yearsPass(2*day), 1)
		w.became(bob, id, "expired")
	}},
	{"a device is not forgotten before it could come back", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.ForgetDevicesAfter = 400 * day })
		w.one(phone)
		w.one(tablet)
		w.must(w.store.Close())
		w.clock.Advance(1000 * day)
		w.store.Store = w.fixture.Open(w.t, w.clock, w.limits)
		w.clock.Advance(time.Hour) // so that the clock is believed
		_ = w.store.Ready(w.ctx)
		w.clock.Advance(time.Hour)
		same(w, "forgotten at once", w.sweep().ForgottenDevices, 0)
		w.clock.Advance(12*time.Hour - time.Millisecond)
		same(w, "forgotten soon", w.sweep().ForgottenDevices, 0)
		w.claim(phone)
		w.clock.Advance(time.Millisecond)
		same(w, "forgotten", w.sweep().ForgottenDevices, 1)
		same(w, "devices", deviceNames(w.devices("alice")), []string{"phone"})
		w.clock.Advance(500 * day) // in one step: nobody could be seen
		same(w, "forgotten after a leap", w.sweep().ForgottenDevices, 0)
		w.reopen()
		w.clock.Advance(time.Hour)
		same(w, "forgotten after a start", w.sweep().ForgottenDevices, 0)
	}},
}

// yearsPass lets time pass that sweeps see, and returns how many devices they forget.
func (w *world) yearsPass(d time.Duration) (forgotten int) {
	w.t.Helper()
	for d > 0 {
		step := min(d, 5*day)
		w.clock.Advance(step)
		d -= step
		forgotten += w.sweep().ForgottenDevices
	}
	return forgotten
}
