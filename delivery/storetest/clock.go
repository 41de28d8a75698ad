package storetest

import (
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

var clockPromises = []promise{
	{"a clock behind the time that has come is not ready and ends nothing", func(w *world) {
		w.shelf(phone, 1)
		w.reopen()
		w.clock.Jump(-30 * time.Minute)
		w.must(w.store.Ready(w.ctx))
		w.sweep()
		w.clock.Jump(-31 * time.Minute)
		w.notReady()
		w.clock.Jump(31 * time.Minute)
		w.must(w.store.Ready(w.ctx))
		w.sweep()
	}},
	{"a clock that went back between starts is not ready", func(w *world) {
		w.shelf(phone, 1)
		w.clock.Advance(5 * day)
		w.shelf(phone, 1)
		w.must(w.store.Close())
		w.clock.Jump(-2 * time.Hour)
		w.store.Store = w.fixture.Open(w.t, w.clock, w.limits)
		w.notReady()
		w.reopen()
		w.notReady()
		w.clock.Jump(2 * time.Hour)
		w.must(w.store.Ready(w.ctx))
		w.sweep()
	}},
	{"one that went back by less than a day is believed when it has held for an hour", func(w *world) {
		w.clock.Jump(20 * time.Hour)
		k := w.one(phone)
		id := w.send(bob, k)
		w.must(w.store.Close())
		w.clock.Jump(-20 * time.Hour)
		w.store.Store = w.fixture.Open(w.t, w.clock, w.limits)
		w.notReady()
		w.clock.Advance(59 * time.Minute)
		w.notReady()
		w.clock.Advance(time.Minute)
		w.must(w.store.Ready(w.ctx))
		w.sweep()
		at(w, "posted", w.outcome(bob, w.send(bob, w.one(phone))).PostedAt, w.clock.Now().Add(-time.Second))
		w.reopen()
		w.must(w.store.Ready(w.ctx))
		w.became(bob, id, delivery.StatusPending)
	}},
	{"one that went back by more is not believed, however long it holds", func(w *world) {
		w.clock.Advance(400 * day)
		w.shelf(phone, 1)
		w.must(w.store.Close())
		w.clock.Jump(-400 * day)
		w.store.Store = w.fixture.Open(w.t, w.clock, w.limits)
		w.notReady()
		w.clock.Advance(30 * day)
		w.notReady()
	}},
	{"a clock that was ahead since the store was opened and comes back is right at once", func(w *world) {
		before := w.one(phone)
		w.must(w.store.Close())
		w.clock.Jump(20 * time.Hour)
		w.store.Store = w.fixture.Open(w.t, w.clock, w.limits)
		k := w.one(phone)
		id := w.send(bob, k)
		w.clock.Advance(3 * day)
		w.sweep()
		w.clock.Jump(-20 * time.Hour)
		w.must(w.store.Ready(w.ctx))
		w.sweep()
		at(w, "posted", w.outcome(bob, w.send(bob, w.one(phone))).PostedAt, w.clock.Now().Add(-time.Second))
		w.reopen()
		w.must(w.store.Ready(w.ctx))
		w.became(bob, id, delivery.StatusPending)
		w.reserveOne(bob, phone, before)
	}},
	{"so is one that was trusted 45 days ahead, and what it has ended stays ended", func(w *world) {
		k, waiting, last := w.one(phone, w.lasting(-day, 40*day)), w.one(phone), w.one(phone, mlstest.LastResort())
		id := w.send(bob, waiting)
		w.reopen()
		w.clock.Jump(45 * day)
		w.sweepRefused()
		w.clock.Advance(time.Hour)
		w.sweep()
		w.clock.Jump(-45 * day)
		w.must(w.store.Ready(w.ctx))
		w.sweep()
		w.states(delivery.Expired, k, waiting)
		w.became(bob, id, delivery.StatusExpired)
		w.needs(phone, last)
		w.join(phone, w.one(phone))
	}},
	{"after a jump ahead the store serves, and ends nothing until the time has held", func(w *world) {
		k := w.one(phone)
		id := w.send(bob, k)
		w.must(w.store.Ready(w.ctx))
		w.clock.Jump(2 * day)
		w.servesButDoesNotSweep()
		w.clock.Advance(59 * time.Minute)
		w.servesButDoesNotSweep()
		w.clock.Advance(2 * time.Minute)
		w.sweep()
		w.first(phone, id)
	}},
	{"a jump ahead between starts is not trusted either", func(w *world) {
		w.shelf(phone, 1)
		w.must(w.store.Close())
		w.clock.Jump(3 * day)
		w.store.Store = w.fixture.Open(w.t, w.clock, w.limits)
		w.servesButDoesNotSweep()
		w.reopen() // after a restart the time is not trusted either
		w.servesButDoesNotSweep()
		w.clock.Advance(61 * time.Minute)
		w.sweep()
	}},
	{"a jump ahead that is corrected leaves no trace", func(w *world) {
		w.shelf(phone, 1)
		w.clock.Jump(1000 * day)
		w.servesButDoesNotSweep()
		w.clock.Jump(-1000 * day)
		w.must(w.store.Ready(w.ctx))
		w.sweep()
		w.clock.Jump(1000 * day)
		w.reopen()
		w.servesButDoesNotSweep()
		w.must(w.store.Close())
		w.clock.Jump(-1000 * day)
		w.store.Store = w.fixture.Open(w.t, w.clock, w.limits)
		w.must(w.store.Ready(w.ctx))
		w.sweep()
	}},
	{"a jump ahead that is not trusted ends nothing in any answer", func(w *world) {
		items := w.shelf(phone, 5, w.lasting(-day, 80*day))
		bob2 := delivery.ReserveRequest{Devices: []deviceID{phone}, IdempotencyKey: "x"}
		reserved := reservedRefs(w.reserve(bob, bob2))
		given, held, waiting := w.consumeHolding(phone, items[1]), w.post(bob, welcome(items[2]), hold).ID, w.send(bob, items[3])
		limited := w.token(ofAlice, w.clock.Now().Add(day))
		before := w.inventory(phone)
		w.clock.Jump(1000 * day)
		w.sweepRefused()

		same(w, "inventory", w.inventory(phone), before)
		w.states(delivery.Reserved, items[0])
		w.states(delivery.Available, items[4])
		same(w, "listed", w.listed("alice"), refsOf(items[4]))
		same(w, "reserved again", reservedRefs(w.reserve(bob, bob2)), reserved)
		same(w, "published again", publishedStatuses(w.publish(phone, items...)), []delivery.PublishedStatus{
			delivery.AlreadyStored, delivery.Spent, delivery.AlreadyStored, delivery.AlreadyStored, delivery.AlreadyStored})
		w.became(bob, given, delivery.StatusDelivered)
		w.became(bob, held, delivery.StatusHeld)
		w.became(bob, waiting, delivery.StatusPending)
		_, err := w.store.Token(w.ctx, limited.ID)
		w.refused(err, delivery.ErrClock)
		same(w, "tokens", w.tokensWithin(ofAlice), []delivery.Token{limited})

		r, err := w.store.Sync(w.ctx, self(phone), phone, before.Digest, refsOf(items...))
		w.must(err)
		sameRefs(w, "spent", r.Spent)
		same(w, "stock", w.claim(phone, atMost(1)).Stock.Available, 1)
		w.release(bob, held)
		w.first2(phone, []welcomeID{held}, given, waiting)
		w.became(bob, w.send(bob, items[0]), delivery.StatusPending)
		w.reserveOne(carol, phone, items[4])
		fresh := w.one(phone, w.lasting(-day, 80*day))
		same(w, "listed", w.listed("alice"), refsOf(fresh))
	}},
	{"a jump ahead that is corrected has ended nothing", func(w *world) {
		items := w.shelf(phone, 3)
		w.reserveOne(bob, phone, items[0])
		given, waiting := w.consumeHolding(phone, items[1]), w.send(bob, items[2])
		w.clock.Jump(1000 * day)
		w.must(w.store.Ready(w.ctx))
		w.servesButDoesNotSweep()
		w.clock.Jump(-1000 * day)
		w.sweep()
		w.states(delivery.Reserved, items[0])
		w.first2(phone, []welcomeID{waiting}, given)
	}},
	{"a token that expires while a jump ahead is not trusted does", func(w *world) {
		limited := w.token(ofAlice, w.clock.Now().Add(10*time.Minute))
		w.clock.Jump(2 * day)
		w.sweepRefused()
		w.clock.Advance(11 * time.Minute)
		w.gone(limited)
	}},
	{"a device that was removed is not forgotten by a clock that is not trusted", func(w *world) {
		bound := self(phone)
		bound.Bound = w.clock.Now()
		w.one(phone)
		w.must(w.store.RemoveDevice(w.ctx, bound, phone))
		w.sweep()
		w.clock.Jump(1000 * day)
		w.must(w.store.RemoveDevice(w.ctx, nobody, phone))
		w.outlived(bound)
	}},
	{"what ended with a device is written also if its clock was wrong then", func(w *world) {
		one, last := w.one(phone), w.one(phone, mlstest.LastResort())
		w.clock.Jump(20 * time.Hour)
		w.must(w.store.RemoveDevice(w.ctx, nobody, phone))
		w.clock.Jump(-20 * time.Hour)
		w.sweep()
		same(w, "withdrawn", w.stats().KeyPackages[delivery.Withdrawn], 2)
		w.states(delivery.Withdrawn, one, last)
	}},
	{"a removal in a future that was wrong ends no credentials that were issued since it was put right", func(w *world) {
		for _, ahead := range []time.Duration{20 * time.Hour, 1000 * day} {
			for _, remove := range []func() error{
				func() error { return w.store.RemoveDevice(w.ctx, nobody, phone) },
				func() error { return w.store.RemoveUser(w.ctx, nobody, "alice") },
			} {
				w.one(phone)
				before := self(phone)
				before.Bound = w.clock.Now()
				w.clock.Advance(time.Minute)
				w.clock.Jump(ahead)
				w.must(remove())
				w.clock.Jump(-ahead)
				w.outlived(before)
				w.clock.Advance(time.Minute)
				w.sweep()
				w.clock.Advance(time.Millisecond)
				since := self(phone)
				since.Bound = w.clock.Now()
				w.outlived(before)
				w.publishAs(since, phone, keyPackage())
				w.outlived(before)
				w.clock.Advance(ahead)
				w.reopen()
				w.clock.Advance(time.Hour)
				w.publishAs(since, phone, keyPackage())
				w.must(w.store.RemoveDevice(w.ctx, nobody, phone))
				w.outlived(since)
			}
		}
	}},
	{"nor those of a device that was made again in that future", func(w *world) {
		w.one(phone)
		w.clock.Jump(20 * time.Hour)
		w.must(w.store.RemoveDevice(w.ctx, nobody, phone))
		w.one(phone)
		w.clock.Jump(-20 * time.Hour)
		w.sweep()
		w.clock.Advance(time.Millisecond)
		since := self(phone)
		since.Bound = w.clock.Now()
		w.publishAs(since, phone, keyPackage())
	}},
	{"time that passes is no jump", func(w *world) {
		w.shelf(phone, 1)
		for range 3 {
			w.clock.Advance(40 * day)
			w.must(w.store.Ready(w.ctx))
			w.sweep()
		}
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
	{"a reservation in a wrong future does not end early", func(w *world) {
		k := w.one(phone)
		w.reserveOne(bob, phone, k)
		w.clock.Jump(1000 * day)
		w.one(phone)
		w.clock.Jump(-1000 * day)
		w.sweep()
		w.first(phone, w.send(bob, k))
	}},
	{"a device that was seen in a wrong future is seen now", func(w *world) {
		w.one(phone)
		w.clock.Jump(1000 * day)
		w.claim(phone)
		w.clock.Jump(-1000 * day)
		w.claim(phone)
		at(w, "seen", w.devices("alice")[0].SeenAt, w.clock.Now())
		w.idle("another claim", func() { w.claim(phone) })
	}},
	{"a reservation from a wrong future is not repeated without its bytes", func(w *world) {
		k := w.one(phone)
		req := delivery.ReserveRequest{Devices: []deviceID{phone}, IdempotencyKey: "x"}
		w.clock.Jump(40 * day)
		w.reserve(bob, req)
		w.clock.Jump(-40 * day)
		same(w, "repeated", reservedRefs(w.reserve(bob, req)), refsOf(k))
		w.withdraw(phone, k)
		w.clock.Advance(2 * day)
		w.sweep()
		fresh := w.one(phone)
		for _, u := range w.reserve(bob, req).Users {
			same(w, "reserved", u.Devices[0].KeyPackage.Ref, fresh.Ref)
			same(w, "bytes", len(u.Devices[0].KeyPackage.Bytes), len(fresh.Bytes))
		}
	}},
	{"a replacement in a wrong future holds", func(w *world) {
		old := w.one(phone)
		w.clock.Jump(100 * day)
		w.replace(phone, 0)
		w.clock.Jump(-100 * day)
		w.states(delivery.Retired, old)
		same(w, "listed", w.listed("alice"), []ref{})
		w.first(phone, w.send(bob, old))
	}},
}

func (w *world) notReady() {
	w.t.Helper()
	w.refused(w.store.Ready(w.ctx), delivery.ErrClock)
	_, err := w.store.Sweep(w.ctx)
	w.refused(err, delivery.ErrClock)
}

func (w *world) servesButDoesNotSweep() {
	w.t.Helper()
	w.sweepRefused()
	w.join(dave, w.one(dave))
}

// sweepRefused expects that the store is ready and does not trust its clock.
func (w *world) sweepRefused() {
	w.t.Helper()
	w.must(w.store.Ready(w.ctx))
	_, err := w.store.Sweep(w.ctx)
	w.refused(err, delivery.ErrClock)
}
