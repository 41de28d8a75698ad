package storetest

import (
	"fmt"
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

// bothWays runs a test twice in one world. The first time no sweep follows when time
// passes, so what is too old to be handed out or matched is still stored. The second time
// a sweep follows. The answers must be the same. A test that asks what has ended calls
// sweep itself, since a store reports an end only after a sweep.
func bothWays(test func(w *world, passes func(time.Duration))) func(*world) {
	return func(w *world) {
		for _, swept := range []bool{false, true} {
			w.t.Logf("swept: %v", swept)
			test(w, func(d time.Duration) {
				w.t.Helper()
				w.clock.Advance(d)
				if swept {
					w.sweep()
				}
			})
			w.must(w.store.RemoveUser(w.ctx, nobody, "alice"))
			w.sweep()
		}
	}
}

var timePromises = []promise{
	{"a KeyPackage leaves the shelf with age and can still be matched", bothWays(func(w *world, passes func(time.Duration)) {
		items := w.shelf(phone, 3)
		passes(w.limits.ShelfAge - time.Minute)
		same(w, "listed", len(w.listed("alice")), 3)
		passes(2 * time.Minute)
		same(w, "listed", w.listed("alice"), []ref{})
		same(w, "answer", reservedStatuses(w.reserve(bob, alice)), []string{"alice exhausted: phone exhausted"})
		w.states(delivery.Retired, items...)
		w.needs(phone, items...)
		w.join(phone, items[0])
		passes(w.limits.RetiredFor - time.Hour)
		w.join(phone, items[1])
		passes(2 * time.Hour)
		w.mismatch(bob, items[2], delivery.StatusExpired)
		w.sweep()
		w.states(delivery.Expired, items[2])
		w.mismatch(bob, items[2], delivery.StatusExpired)
		w.refusedAsSpent(phone, items[2])
		p := w.publish(phone, items[2], keyPackage())
		same(w, "statuses", publishedStatuses(p), []delivery.PublishedStatus{delivery.Spent, delivery.Stored})
	})},
	{"what is no longer handed out is no stock", bothWays(func(w *world, passes func(time.Duration)) {
		w.shelf(phone, 2)
		w.shelf(phone, 1, w.lasting(-day, 3*day))
		passes(2*day + time.Minute)
		same(w, "stock", w.claim(phone).Stock.Available, 2)
		passes(w.limits.ShelfAge)
		same(w, "stock", w.claim(phone).Stock.Available, 0)
		w.sweep()
		same(w, "counts", w.inventory(phone).Counts, []delivery.SuiteCounts{{Suite: 1, Retired: 2}})
	})},
	{"what has under a day left is not handed out and can still be matched", bothWays(func(w *world, passes func(time.Duration)) {
		items := []kp{w.one(phone, w.lasting(-day, 3*day)), w.one(phone, w.lasting(-day, 3*day))}
		passes(2*day - time.Minute)
		same(w, "listed", len(w.listed("alice")), 2)
		passes(2 * time.Minute)
		same(w, "listed", w.listed("alice"), []ref{})
		same(w, "answer", reservedStatuses(w.reserve(bob, alice)), []string{"alice exhausted: phone exhausted"})
		w.first(phone, w.send(bob, items[0]))
		passes(day)
		w.mismatch(bob, items[1], delivery.StatusExpired)
		w.sweep()
		w.states(delivery.Expired, items[1])
	})},
	{"what is published with under a day left can be matched", func(w *world) {
		k := w.one(phone, w.lasting(-day, 12*time.Hour))
		same(w, "listed", w.listed("alice"), []ref{})
		w.needs(phone, k)
		w.first(phone, w.send(bob, k))
	}},
	{"a reservation ends and takes the KeyPackage with it", bothWays(func(w *world, passes func(time.Duration)) {
		a, b := w.one(phone), w.one(phone)
		w.reserveOne(bob, phone, a)
		w.reserveOne(bob, phone, b)
		passes(w.limits.RetiredFor - time.Hour)
		w.join(phone, a)
		passes(2 * time.Hour)
		w.mismatch(bob, b, delivery.StatusExpired)
		w.sweep()
		w.states(delivery.Expired, b)
		w.needs(phone)
	})},
	{"a Welcome that was accepted in time is delivered after not_after", bothWays(func(w *world, passes func(time.Duration)) {
		k := w.one(phone, w.lasting(-day, 2*day))
		id := w.send(bob, k)
		passes(10 * day)
		w.states(delivery.Matched, k)
		w.needs(phone, k)
		w.first(phone, id)
		w.states(delivery.Consumed, k)
	})},
	{"a Welcome that nobody claims expires, and its KeyPackage with it", func(w *world) {
		pending, held := w.one(phone), w.one(phone)
		a, b := w.send(bob, pending), w.post(bob, welcome(held), hold).ID
		w.clock.Advance(w.limits.WelcomeKept - time.Hour)
		w.sweep()
		w.became(bob, a, delivery.StatusPending)
		w.clock.Advance(2 * time.Hour)
		w.sweep()
		w.nothing(phone)
		w.became(bob, a, delivery.StatusExpired)
		w.became(bob, b, delivery.StatusExpired)
		w.cancel(bob, a)
		w.became(bob, a, delivery.StatusExpired)
		w.states(delivery.Expired, pending, held)
		w.mismatch(bob, pending, delivery.StatusExpired)
		w.refusedAsSpent(phone, held)
		w.needs(phone)
		same(w, "posted again", statuses(w.outcome(bob, b).Recipients), []delivery.Status{"expired"})
	}},
	{"a Welcome that has waited long enough is given until a sweep ends it", func(w *world) {
		k, held := w.one(phone), w.one(phone)
		a, b := w.send(bob, k), w.post(bob, welcome(held), hold).ID
		w.clock.Advance(w.limits.WelcomeKept + time.Minute)
		w.became(bob, a, delivery.StatusPending)
		w.release(bob, b)
		w.first(phone, a, b)
		w.clock.Advance(w.limits.Redelivery + time.Minute)
		w.again(phone, a, b)
		w.became(bob, a, delivery.StatusDelivered)
		w.sweep()
		w.nothing(phone)
		w.became(bob, a, delivery.StatusLapsed)
	}},
	{"a Welcome in whose time nobody may join is not matched by another", func(w *world) {
		k := w.one(phone)
		w.send(bob, k)
		w.clock.Advance(31 * day)
		_, err := w.tryPost(carol, welcome(k))
		w.noMatch(err)
	}},
	{"a last resort outlives the Welcomes that nobody claims", func(w *world) {
		last := w.one(phone, mlstest.LastResort())
		w.send(bob, last)
		w.clock.Advance(31 * day)
		w.sweep()
		w.nothing(phone)
		w.states(delivery.Available, last)
		w.first(phone, w.send(bob, last))
	}},
	{"redelivery ends, and the Welcome has lapsed", func(w *world) {
		id := w.consume(phone, w.one(phone))
		w.clock.Advance(w.limits.Redelivery - time.Hour)
		w.sweep()
		w.again(phone, id)
		w.clock.Advance(2 * time.Hour)
		w.sweep()
		w.nothing(phone)
		w.became(bob, id, delivery.StatusLapsed)
	}},
	{"a sweep counts what it ended, once", func(w *world) {
		w.shelf(tablet, 2)
		w.reserveOne(carol, laptop, w.one(laptop))
		w.shelf(dave, 3, w.lasting(-day, 3*day))
		unclaimed, held := w.one(phone), w.one(phone)
		w.send(bob, unclaimed)
		w.post(bob, welcome(held), hold)
		w.consumeHolding(phone, w.one(phone))

		swept := w.sweep()
		same(w, "nothing is due", swept, delivery.SweepResult{})
		w.clock.Advance(2*day + time.Hour)
		swept = w.sweep()
		same(w, "off the shelf", swept.Retired, 3)
		same(w, "abandoned", swept.Abandoned, 1)
		w.clock.Advance(day)
		same(w, "expired", w.sweep().Expired, 3)
		w.clock.Advance(12 * day)
		same(w, "lapsed", w.sweep().Lapsed, 1)
		w.clock.Advance(15 * day)
		same(w, "never claimed", w.sweep().ExpiredUnclaimed, 2)
		w.clock.Advance(60 * day)
		swept = w.sweep()
		same(w, "off the shelf", swept.Retired, 2)
		same(w, "forgotten", swept.ForgottenWelcomes, 3)
		same(w, "again", w.sweep(), delivery.SweepResult{})
	}},
	{"a reservation that nobody uses is counted as abandoned once, and stays good", func(w *world) {
		used, unused := w.one(phone), w.one(phone)
		w.reserveOne(bob, phone, used)
		w.reserveOne(bob, phone, unused)
		w.join(phone, used)
		w.clock.Advance(day + time.Minute)
		same(w, "abandoned", w.sweep().Abandoned, 1)
		same(w, "abandoned", w.sweep().Abandoned, 0)
		w.clock.Advance(day + time.Minute)
		same(w, "abandoned", w.sweep().Abandoned, 0)
		w.mismatch(carol, unused, delivery.StatusTaken)
		w.first(phone, w.send(bob, unused))
	}},
	{"a spent KeyPackage is refused until not_after", func(w *world) {
		for end, spend := range map[delivery.KeyPackageState]func(k kp){
			delivery.Consumed:  func(k kp) { w.join(phone, k) },
			delivery.Withdrawn: func(k kp) { w.withdraw(phone, k) },
		} {
			k := w.one(phone, w.lasting(-day, 200*day))
			spend(k)
			w.clock.Advance(199 * day)
			w.sweep()
			w.refusedAsSpent(phone, k)
			w.states(end, k)
			w.clock.Advance(2 * day)
			w.sweep()
			w.missing(k)
		}
	}},
	{"a spent KeyPackage is remembered for at least 30 days", func(w *world) {
		k := w.one(phone, w.lasting(-day, 2*day))
		w.withdraw(phone, k)
		w.clock.Advance(29 * day)
		w.sweep()
		w.states(delivery.Withdrawn, k)
		w.clock.Advance(2 * day)
		same(w, "forgotten", w.sweep().ForgottenKeyPackage, 1)
		w.missing(k)
		same(w, "remembered", w.stats().KeyPackages[delivery.Withdrawn], 0)
	}},
	{"a spent KeyPackage without end is forgotten after 400 days, its init_key too", func(w *world) {
		k := w.one(phone)
		w.join(phone, k)
		w.clock.Advance(399 * day)
		w.sweep()
		w.refusedAsSpent(phone, k)
		w.clock.Advance(2 * day)
		same(w, "forgotten", w.sweep().ForgottenKeyPackage, 1)
		same(w, "remembered", w.stats().KeyPackages[delivery.Consumed], 0)
		w.publish(phone, keyPackage(mlstest.WithInitKey(k.InitKey)))
	}},
	{"a consumed KeyPackage is remembered while its Welcome may come again", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.TombstoneKept = time.Hour })
		k := w.one(phone, w.lasting(-day, 2*day))
		id := w.consume(phone, k)
		w.clock.Advance(5 * day)
		w.sweep()
		w.states(delivery.Consumed, k)
		w.needs(phone, k)
		w.again(phone, id)
		w.ack(phone, id)
		w.nothing(phone)
	}},
	{"a sweep ends everything that is due, however much it is", func(w *world) {
		short := w.lasting(-day, 2*day)
		for i := range 15 {
			d := deviceID{User: "alice", Name: fmt.Sprintf("device%d", i)}
			w.publish(d, keyPackages(100, short)...)
		}
		w.clock.Advance(3 * day)
		same(w, "expired", w.sweep().Expired, 1500)
		same(w, "expired", w.stats().KeyPackages[delivery.Expired], 1500)
		w.clock.Advance(31 * day)
		same(w, "forgotten", w.sweep().ForgottenKeyPackage, 1500)
		same(w, "remembered", w.stats().KeyPackages[delivery.Expired], 0)
	}},
	{"outcomes are kept for 30 days after the last recipient's end", func(w *world) {
		a, b := w.one(phone), w.one(tablet)
		id := w.send(bob, a, b)
		w.first(phone, id)
		w.ack(phone, id)
		w.clock.Advance(20 * day)
		w.sweep()
		w.first(tablet, id)
		w.ack(tablet, id)
		w.clock.Advance(29 * day)
		w.sweep()
		w.became(bob, id, "acknowledged", "acknowledged")
		w.clock.Advance(2 * day)
		same(w, "forgotten", w.sweep().ForgottenWelcomes, 1)
		_, err := w.store.Outcome(w.ctx, bob, id)
		w.refused(err, delivery.ErrNotFound)
		same(w, "remembered", w.stats().Welcomes[delivery.Acknowledged], 0)
		w.settleRefused(phone, id, a.Ref, delivery.ErrNotFound)
	}},
	{"an outcome outlives what is remembered of its KeyPackages and devices", func(w *world) {
		short := w.lasting(-day, 2*day)
		settled, lapsed, removed, late := w.one(phone, short), w.one(tablet, short), w.one(laptop, short), w.one(dave, short)
		id := w.send(bob, settled, lapsed, removed, late)
		w.first(phone, id)
		w.ack(phone, id)
		w.first(tablet, id)
		w.must(w.store.RemoveDevice(w.ctx, self(laptop), laptop))
		w.clock.Advance(20 * day)
		w.sweep()
		w.clock.Advance(9 * day)
		w.first(dave, id)
		w.clock.Advance(6 * day)
		w.sweep()
		w.sweep() // forgetting may take two steps
		w.missing(settled, lapsed, removed)
		w.became(bob, id, "acknowledged", "lapsed", "withdrawn", "delivered")
		w.ack(phone, id)
		w.reject(phone, id, delivery.ReasonOther)
		w.ack(tablet, id)
		w.cancel(bob, id)
		w.became(bob, id, "acknowledged", "acknowledged", "withdrawn", "delivered")
		w.again(dave, id)
	}},
	{"an outcome is not forgotten while a recipient may still acknowledge", func(w *world) {
		a, b := w.one(phone), w.one(tablet)
		id := w.send(bob, a, b)
		w.first(phone, id)
		w.reject(phone, id, delivery.ReasonOther)
		w.clock.Advance(29 * day)
		w.sweep()
		w.first(tablet, id)
		w.clock.Advance(13 * day)
		w.sweep()
		w.became(bob, id, "rejected", "delivered")
		w.again(tablet, id)
		w.ack(tablet, id)
	}},
}
