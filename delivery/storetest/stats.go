package storetest

import (
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

var statsPromises = []promise{
	{"an empty store is empty", func(w *world) {
		for name, n := range census(w.stats()) {
			same(w, name, n, int64(0))
		}
		w.must(w.store.Ready(w.ctx))
		same(w, "swept", w.sweep(), delivery.SweepResult{})
	}},
	{"devices are counted by their stock", func(w *world) {
		w.publish(phone, keyPackages(10)...)
		w.publish(tablet, keyPackages(9)...)
		w.publish(laptop, keyPackage(), keyPackage(mlstest.LastResort()))
		w.stocks(1, 2, 0, 0)
		w.reserve(bob, alice)
		w.stocks(0, 2, 1, 0)
		w.must(w.store.RemoveUser(w.ctx, nobody, "alice"))
		w.stocks(0, 0, 0, 0)
	}},
	{"what is not yet valid is no stock until a sweep finds it valid", func(w *world) {
		early := w.lasting(5*time.Hour, 90*day)
		w.publish(phone, keyPackages(12, early)...)
		w.publish(tablet, keyPackage(mlstest.LastResort(), early))
		w.stocks(0, 0, 2, 0)
		same(w, "shelves", len(w.stats().Shelves), 0)
		w.one(phone)
		w.stocks(0, 1, 1, 0)
		w.sweep()
		w.stocks(0, 1, 1, 0)
		w.reopen()
		w.clock.Advance(5 * time.Hour)
		w.sweep()
		w.stocks(1, 0, 0, 1)
		same(w, "shelf", w.stats().Shelves[1], delivery.Shelf{Available: 13, LastResort: 1})
		w.idle("another sweep", func() { w.sweep() })
	}},
	{"what is not yet valid and leaves the shelf is not counted", func(w *world) {
		early := keyPackages(3, w.lasting(5*time.Hour, 90*day))
		w.publish(phone, early...)
		w.withdraw(phone, early[0])
		w.stocks(0, 0, 1, 0)
		w.clock.Advance(6 * time.Hour)
		w.reserveOne(bob, phone, early[1]) // valid, before a sweep
		w.stocks(0, 0, 1, 0)
		w.sweep()
		w.stocks(0, 1, 0, 0)
		w.replace(phone, 0)
		w.stocks(0, 0, 1, 0)
	}},
	{"a device that begins with nothing but last resorts has them by design", func(w *world) {
		last := w.one(phone, mlstest.LastResort())
		w.stocks(0, 0, 0, 1)
		w.reserve(bob, alice) // nobody uses it up
		w.stocks(0, 0, 0, 1)
		w.withdraw(phone, last)
		w.stocks(0, 0, 1, 0)
		w.one(phone, mlstest.LastResort())
		w.stocks(0, 0, 0, 1)
		w.one(phone)
		w.stocks(0, 1, 0, 0)
		w.reserve(bob, alice)
		w.stocks(0, 0, 1, 0)
		w.one(phone, mlstest.LastResort())
		w.stocks(0, 0, 1, 0)
	}},
	{"a device that replaces all by last resorts has them by design", func(w *world) {
		last := w.one(phone, mlstest.LastResort())
		w.one(phone)
		w.replace(phone, 2, keyPackageOf(2, mlstest.LastResort()))
		w.stocks(0, 1, 0, 0)
		w.replace(phone, 1, last)
		w.stocks(0, 0, 1, 0)
		w.replace(phone, 0, last)
		w.stocks(0, 0, 0, 1)
		w.idle("replacing again", func() { w.replace(phone, 0, last) })
		w.replace(phone, 0)
		w.stocks(0, 0, 1, 0)
		w.replace(phone, 0, keyPackage(), keyPackage(mlstest.LastResort()))
		w.stocks(0, 1, 0, 0)
	}},
	{"a replacement by what is on the shelf already says that last resorts are enough", func(w *world) {
		last, k := w.one(phone, mlstest.LastResort()), w.one(phone)
		w.consume(phone, k)
		w.stocks(0, 0, 1, 0)
		w.replace(phone, 0, last)
		w.stocks(0, 0, 0, 1)
		w.reopen()
		w.stocks(0, 0, 0, 1)
	}},
	{"a device that wants last resorts only is not told for ever to publish others", bothWays(func(w *world, passes func(time.Duration)) {
		low := func(want bool) {
			w.t.Helper()
			same(w, "low", words(w.claim(phone).Stock.Low, w.deviceHistory(phone, plenty).Stock.Low), words(want, want))
		}
		w.one(phone, mlstest.LastResort())
		low(true) // it may be about to publish others when it is told so
		passes(day)
		low(false)
		same(w, "by design", w.deviceHistory(phone, plenty).LastResortsOnly, true)
		passes(w.limits.ShelfAge)
		low(true)
		same(w, "after a new one", w.publish(phone, keyPackage(mlstest.LastResort())).Stock.Low, false)
		w.one(phone)
		low(true)
		same(w, "by design", w.deviceHistory(phone, plenty).LastResortsOnly, false)
	})},
	{"what waits although the device has claimed since is overdue", func(w *world) {
		w.nothing(phone)
		items := w.shelf(phone, 3)
		for _, k := range items {
			w.send(bob, k)
		}
		same(w, "overdue", w.stats().Overdue, 0)
		w.clock.Advance(time.Minute)
		a := w.claim(phone, atMost(1)).Deliveries[0].ID
		same(w, "overdue", w.stats().Overdue, 2)
		w.clock.Advance(time.Minute)
		late := w.send(bob, w.one(phone))
		same(w, "overdue", w.stats().Overdue, 2)
		w.clock.Advance(time.Minute)
		r := w.claim(phone, skip(a))
		same(w, "given", r.Deliveries[2].ID, late)
		same(w, "overdue", w.stats().Overdue, 0)
	}},
	{"what was overdue and ends otherwise is overdue no more", func(w *world) {
		items := w.shelf(phone, 4)
		w.send(bob, items[0])
		withdrawn, cancelled := w.send(bob, items[1]), w.send(bob, items[2])
		w.send(bob, items[3])
		w.clock.Advance(time.Minute)
		w.claim(phone, atMost(1))
		same(w, "overdue", w.stats().Overdue, 3)
		w.withdraw(phone, items[1])
		w.cancel(bob, cancelled)
		w.became(bob, withdrawn, delivery.StatusWithdrawn)
		same(w, "overdue", w.stats().Overdue, 1)
		w.clock.Advance(31 * day)
		w.sweep()
		same(w, "overdue", w.stats().Overdue, 0)
	}},
	{"what came after the last claim does not become overdue in another's place", func(w *world) {
		items := w.shelf(phone, 3)
		a, _ := w.send(bob, items[0]), w.send(bob, items[1])
		w.clock.Advance(time.Minute)
		w.given(w.claim(phone, atMost(1)), a)
		w.clock.Advance(time.Minute)
		w.send(bob, items[2])
		same(w, "overdue", w.stats().Overdue, 1)
		w.withdraw(phone, items[1])
		same(w, "overdue", w.stats().Overdue, 0)
	}},
	{"what is overdue is so after a restart", func(w *world) {
		items := w.shelf(phone, 3)
		w.post(bob, welcome(items[0]), hold)
		w.send(bob, items[1])
		w.send(bob, items[2])
		w.clock.Advance(2 * time.Hour)
		w.claim(phone, atMost(1))
		w.sweep()
		for range 2 {
			s := w.stats()
			same(w, "overdue", []int{s.Overdue, s.HoldsOverdue}, []int{1, 1})
			w.reopen()
		}
	}},
	{"what is on the shelves is counted by suite, last resorts apart", func(w *world) {
		items := w.shelf(phone, 3)
		w.publish(tablet, keyPackageOf(2), keyPackageOf(2, mlstest.LastResort()), keyPackage(mlstest.LastResort()))
		shelves := func(want map[mls.CipherSuite]delivery.Shelf) {
			w.t.Helper()
			for range 2 {
				same(w, "shelves", w.stats().Shelves, want)
				w.reopen()
			}
		}
		shelves(map[mls.CipherSuite]delivery.Shelf{1: {Available: 3, LastResort: 1}, 2: {Available: 1, LastResort: 1}})
		w.reserveOne(bob, phone, items[0])
		w.withdraw(phone, items[1])
		w.send(bob, items[2])
		w.one(tablet, mlstest.LastResort())
		shelves(map[mls.CipherSuite]delivery.Shelf{1: {LastResort: 1}, 2: {Available: 1, LastResort: 1}})
		w.clock.Advance(91 * day)
		w.sweep()
		shelves(map[mls.CipherSuite]delivery.Shelf{})
	}},
	{"the soonest end of a shelf is known, whatever else is due before", func(w *world) {
		ends := func(want time.Time) {
			w.t.Helper()
			for range 2 {
				at(w, "soonest end", w.stats().SoonestEnd, want)
				w.reopen()
			}
		}
		ends(time.Time{})
		first := w.clock.Now().Add(w.limits.ShelfAge)
		oldest := w.one(phone)
		w.clock.Advance(time.Hour)
		second := w.clock.Now().Add(w.limits.ShelfAge)
		w.one(tablet, mlstest.LastResort())
		w.clock.Advance(time.Hour)
		newest := w.shelf(laptop, 2)
		ends(first)
		w.reserveOne(bob, phone, oldest) // and its reservation is due tomorrow
		w.send(bob, newest[0])           // and it is kept for a month
		ends(second)
		short := w.one(phone, w.lasting(-day, 20*day))
		ends(time.Unix(int64(short.Lifetime.NotAfter), 0).Add(-w.limits.LifetimeMargin))
		w.withdraw(phone, short)
		ends(second)
		w.clock.Advance(w.limits.ShelfAge)
		w.sweep()
		ends(time.Time{})
	}},
	{"a store that was never restored or backed up says so", func(w *world) {
		w.one(phone)
		s := w.stats()
		same(w, "restored, backed up", []bool{s.RestoredAt.IsZero(), s.BackedUpAt.IsZero()}, []bool{true, true})
	}},
	{"the oldest pending Welcome is known, held ones not counted", func(w *world) {
		items := w.shelf(phone, 3)
		w.post(bob, welcome(items[2]), hold)
		same(w, "none", w.stats().OldestPending.IsZero(), true)
		w.clock.Advance(time.Minute)
		oldest := w.clock.Now()
		a := w.send(bob, items[0])
		w.clock.Advance(time.Minute)
		next := w.clock.Now()
		b := w.send(bob, items[1])
		at(w, "oldest", w.stats().OldestPending, oldest)
		w.given(w.claim(phone, atMost(1)), a)
		at(w, "oldest", w.stats().OldestPending, next)
		w.cancel(bob, b)
		same(w, "none", w.stats().OldestPending.IsZero(), true)
	}},
}
