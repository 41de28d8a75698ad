package storetest

import (
	"fmt"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// bothWays runs a test twice in one world: where what is too old to be handed out
// or matched was not swept yet, and where it was. The answers must be the same. What
// has ended is told after a sweep.
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
		w.reopen() // shall not launder it
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
