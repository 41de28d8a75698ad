package storetest

import (
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

// mendedPromises are those that a review found broken: rare states, and clocks
// that were wrong for a while.
var mendedPromises = []promise{
	{"a Welcome for a last resort that has expired since is given", func(w *world) {
		last := w.one(phone, mlstest.LastResort(), w.lasting(-day, 3*day))
		id := w.send(bob, last)
		w.clock.Advance(4 * day)
		w.sweep()
		w.states(delivery.Expired, last)
		w.first(phone, id)
	}},
	{"a Welcome for an expired last resort does not stand before the others", func(w *world) {
		last := w.one(phone, mlstest.LastResort(), w.lasting(-day, 3*day))
		w.send(bob, last)
		w.clock.Advance(4 * day)
		w.sweep()
		k := w.one(phone)
		id := w.send(bob, k)
		r, err := w.store.Claim(w.ctx, self(phone), phone, claimOptions(holding(k)))
		w.must(err)
		w.given(r, id)
	}},
	{"removing a device ends the Welcomes of an expired last resort", func(w *world) {
		last := w.one(phone, mlstest.LastResort(), w.lasting(-day, 3*day))
		id := w.send(bob, last)
		w.clock.Advance(4 * day)
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		w.became(bob, id, delivery.StatusWithdrawn)
	}},
	{"a device made anew is not given what waited for an expired last resort of the old one", func(w *world) {
		last := w.one(phone, mlstest.LastResort(), w.lasting(-day, 3*day))
		w.send(bob, last)
		w.clock.Advance(4 * day)
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		w.one(phone)
		w.nothing(phone)
	}},
	{"a sync can drop an expired last resort that a Welcome waits for", func(w *world) {
		last := w.one(phone, mlstest.LastResort(), w.lasting(-day, 3*day))
		id := w.send(bob, last)
		w.clock.Advance(4 * day)
		w.sync(phone)
		w.needs(phone)
		w.became(bob, id, delivery.StatusWithdrawn)
	}},
	{"a withdrawal in a wrong future holds", func(w *world) {
		k := w.one(phone)
		w.clock.Jump(1000 * day)
		w.withdraw(phone, k)
		w.clock.Jump(-1000 * day)
		w.states(delivery.Withdrawn, k)
	}},
	{"a removal in a wrong future holds", func(w *world) {
		k := w.one(phone)
		w.clock.Jump(1000 * day)
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		w.clock.Jump(-1000 * day)
		w.mismatch(bob, k, delivery.StatusWithdrawn)
	}},
	{"a release in a wrong future holds", func(w *world) {
		k := w.one(phone)
		id := w.post(bob, welcome(k), hold).ID
		w.clock.Jump(1000 * day)
		w.release(bob, id)
		w.clock.Jump(-1000 * day)
		w.release(bob, id)
		w.first(phone, id)
	}},
	{"a cancellation in a wrong future holds", func(w *world) {
		k := w.one(phone)
		id := w.post(bob, welcome(k)).ID
		w.clock.Jump(1000 * day)
		w.cancel(bob, id)
		w.clock.Jump(-1000 * day)
		w.nothing(phone)
	}},
	{"a withdrawal in a wrong future does not stand before other Welcomes", func(w *world) {
		k, other := w.one(phone), w.one(phone)
		w.send(bob, k)
		w.clock.Jump(1000 * day)
		w.withdraw(phone, k)
		w.clock.Jump(-1000 * day)
		id := w.send(bob, other)
		w.first(phone, id)
	}},
	{"a small step back after a withdrawal does not stand before other Welcomes", func(w *world) {
		k, other := w.one(phone), w.one(phone)
		w.send(bob, k)
		w.clock.Advance(30*day - 500*time.Millisecond)
		w.withdraw(phone, k)
		w.clock.Jump(-2 * time.Second)
		id := w.send(bob, other)
		w.first(phone, id)
	}},
	{"a Welcome posted while the clock is behind is not lost", func(w *world) {
		k := w.one(phone)
		w.must(w.store.Close())
		w.clock.Jump(-365 * day)
		w.store.Store = w.fixture.Open(w.t, w.clock, w.limits)
		w.refused(w.store.Ready(w.ctx), delivery.ErrClock)
		o := w.post(bob, welcome(k))
		w.clock.Advance(time.Minute)
		w.clock.Jump(365 * day)
		w.sweep()
		w.became(bob, o.ID, delivery.StatusPending)
	}},
	{"a Welcome claimed while the clock is behind is given again", func(w *world) {
		k := w.one(phone)
		id := w.send(bob, k)
		w.reopen()
		w.clock.Jump(-365 * day)
		w.notReady()
		w.first(phone, id)
		w.clock.Jump(365 * day)
		w.sweep()
		w.again(phone, id)
	}},
	{"a rejection in a wrong future holds", func(w *world) {
		k := w.one(phone)
		id := w.consume(phone, k)
		w.clock.Jump(1000 * day)
		w.reject(phone, id, delivery.ReasonOther)
		w.clock.Jump(-1000 * day)
		w.became(bob, id, delivery.StatusRejected)
	}},
	{"a reservation repeats its bytes although the KeyPackage was withdrawn", func(w *world) {
		k := w.one(phone)
		r := w.reserve(bob, delivery.ReserveRequest{Devices: []deviceID{phone}, IdempotencyKey: "x"})
		w.withdraw(phone, k)
		w.clock.Advance(day - time.Second)
		w.sweep()
		r2 := w.reserve(bob, delivery.ReserveRequest{Devices: []deviceID{phone}, IdempotencyKey: "x"})
		same(w, "bytes", len(r2.Users[0].Devices[0].KeyPackage.Bytes), len(r.Users[0].Devices[0].KeyPackage.Bytes))
	}},
	{"a reservation in a wrong future does not end early", func(w *world) {
		k := w.one(phone)
		w.reserveOne(bob, phone, k)
		w.clock.Jump(1000 * day)
		w.one(phone)
		w.clock.Jump(-1000 * day)
		w.sweep()
		w.first(phone, w.send(bob, k))
	}},
}
