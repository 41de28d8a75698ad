package storetest

import (
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

var inventoryPromises = []promise{
	{"an unknown device has an empty inventory", func(w *world) {
		w.idle("looking", func() { w.needs(phone) })
		same(w, "devices", len(w.devices("alice")), 0)
	}},
	{"the inventory lists every key that the device still needs", func(w *world) {
		items := w.shelf(phone, 8)
		w.reserveOne(bob, phone, items[0])
		w.post(bob, welcome(items[1]), hold)
		id := w.send(bob, items[2])
		w.given(w.claim(phone), id)
		w.ack(phone, id)
		id = w.consume(phone, items[3])
		w.consumeSkipping(phone, items[4], id)
		w.withdraw(phone, items[5])
		retired, fresh := keyPackageOf(2), keyPackageOf(2)
		w.publish(phone, retired)
		w.replace(phone, 2, fresh)

		i := w.inventory(phone)
		same(w, "counts", i.Counts, []delivery.SuiteCounts{
			{Suite: 1, Available: 2, Reserved: 1, Matched: 1, Delivered: 2},
			{Suite: 2, Available: 1, Retired: 1},
		})
		w.needs(phone, items[0], items[1], items[3], items[4], items[6], items[7], retired, fresh)
		same(w, "refs are sorted", digestOf(i.Refs), i.Digest)
	}},
	{"a key is needed until its Welcome is settled", func(w *world) {
		for _, settle := range []func(id welcomeID){
			func(id welcomeID) { w.ack(phone, id) },
			func(id welcomeID) { w.reject(phone, id, delivery.ReasonDeclined) },
			func(id welcomeID) { w.clock.Advance(15 * day); w.sweep() },
		} {
			k := w.one(phone)
			id := w.consume(phone, k)
			w.needs(phone, k)
			settle(id)
			w.needs(phone)
		}
	}},
	{"a sync withdraws the others and says which keys are missing and which may go", func(w *world) {
		items := w.shelf(phone, 6)
		w.join(phone, items[0])
		w.withdraw(phone, items[1])
		w.reserveOne(bob, phone, items[2])
		unknown := keyPackage()
		r := w.sync(phone, items[0], items[1], items[2], items[3], unknown)
		sameRefs(w, "withdrawn", r.Withdrawn, items[4], items[5])
		sameRefs(w, "unknown", r.Unknown, unknown)
		sameRefs(w, "spent", r.Spent, items[0], items[1])
		w.states(delivery.Withdrawn, items[4], items[5])
		w.needs(phone, items[2], items[3])
		same(w, "digest", r.Digest, w.inventory(phone).Digest)
	}},
	{"a sync says how many it withdrew that lay on the shelf for less than a day", func(w *world) {
		old := w.shelf(phone, 2)
		w.clock.Advance(day)
		items := w.shelf(phone, 4)
		early := keyPackage(w.lasting(5*time.Hour, 90*day))
		w.publish(phone, early)
		w.reserveOne(bob, phone, old[0])
		w.reserveOne(bob, phone, old[1])
		w.reserveOne(bob, phone, items[0])
		same(w, "fresh", w.sync(phone, old...).Fresh, 4) // three of items, and the early one
		w.states(delivery.Withdrawn, early)
		w.clock.Advance(day)
		last := keyPackages(3)
		w.publish(phone, last...)
		w.clock.Advance(day - time.Second)
		same(w, "fresh", w.sync(phone, last[1:]...).Fresh, 1)
		w.clock.Advance(time.Second)
		same(w, "fresh a day later", w.sync(phone).Fresh, 0)
	}},
	{"a sync in step changes nothing", func(w *world) {
		items := w.shelf(phone, 3)
		w.idle("a sync", func() {
			r := w.sync(phone, items...)
			same(w, "answer", len(r.Withdrawn)+len(r.Unknown)+len(r.Spent), 0)
		})
	}},
	{"a sync against an old inventory is refused", func(w *world) {
		items := w.shelf(phone, 3)
		old := w.inventory(phone).Digest
		w.shelf(phone, 1)
		_, err := w.store.Sync(w.ctx, self(phone), phone, old, refsOf(items[0]))
		w.refused(err, delivery.ErrInventoryChanged)
		w.states(delivery.Available, items...)
	}},
	{"a sync with no keys withdraws everything that is not consumed", func(w *world) {
		items := w.shelf(phone, 4)
		consumed := w.consume(phone, items[0])
		w.reserveOne(bob, phone, items[1])
		held := w.post(bob, welcome(items[2]), hold).ID
		other := w.one(tablet)
		r := w.sync(phone)
		sameRefs(w, "withdrawn", r.Withdrawn, items[1:]...)
		w.states(delivery.Consumed, items[0])
		w.states(delivery.Available, other)
		w.needs(phone, items[0])
		w.again(phone, consumed)
		w.became(bob, held, delivery.StatusWithdrawn)
	}},
	{"a device that lost the reply to a claim is not told to drop the key", func(w *world) {
		k := w.one(phone)
		id := w.send(bob, k)
		w.claim(phone) // the reply is lost
		w.needs(phone, k)
		r := w.sync(phone, k)
		same(w, "answer", len(r.Withdrawn)+len(r.Unknown)+len(r.Spent), 0)
		w.again(phone, id)
		w.ack(phone, id)
		sameRefs(w, "spent", w.sync(phone, k).Spent, k)
	}},
	{"the Welcome that waits for a withdrawn KeyPackage is withdrawn for its poster", func(w *world) {
		pending, held, kept := w.one(phone), w.one(phone), w.one(phone)
		id := w.send(bob, pending, kept)
		other := w.post(carol, welcome(held), hold).ID
		w.clock.Advance(time.Minute)
		w.sync(phone, kept)
		o := w.became(bob, id, delivery.StatusWithdrawn, delivery.StatusPending)
		same(w, "matched", o.Recipients[0].Matched, true)
		at(w, "ended", o.Recipients[0].EndedAt, w.clock.Now())
		w.became(carol, other, delivery.StatusWithdrawn)
		w.release(carol, other)
		w.became(carol, other, delivery.StatusWithdrawn)
		same(w, "ref", w.first(phone, id)[0].Ref, kept.Ref)
	}},
	{"the owner, the reserver and the poster may ask what became of a KeyPackage", func(w *world) {
		k := w.one(phone)
		publishedAt := w.clock.Now().Add(-time.Second)
		robot := delivery.Caller{Service: "bob"}
		visible := func(callers ...delivery.Caller) {
			w.t.Helper()
			for _, c := range []delivery.Caller{self(phone), self(tablet), bob, carol, robot, self(dave), nobody} {
				_, err := w.store.KeyPackage(w.ctx, c, k.Ref)
				found := c.Unrestricted() || c.User == "alice"
				for _, v := range callers {
					found = found || v == c
				}
				same(w, c.ID()+" may know", err == nil, found)
				if err != nil {
					w.refused(err, delivery.ErrNotFound)
				}
			}
		}
		visible()
		w.list("alice")
		visible()
		w.reserveOne(bob, phone, k)
		visible(bob)
		id := w.consume(phone, k)
		visible(bob)
		for _, c := range []delivery.Caller{self(phone), bob} {
			s, err := w.store.KeyPackage(w.ctx, c, k.Ref)
			w.must(err)
			same(w, "device", s.Device, phone)
			same(w, "state", s.State, delivery.Consumed)
			same(w, "welcome", s.Welcome != nil && *s.Welcome == id, true)
			at(w, "published", s.PublishedAt, publishedAt)
			at(w, "reserved", s.ReservedAt, publishedAt.Add(time.Second))
			same(w, "ended", s.EndedAt.IsZero(), false)
		}
	}},
	{"the poster of a Welcome may ask without a reservation", func(w *world) {
		k, last := w.one(phone), w.one(phone, mlstest.LastResort())
		id := w.send(carol, k, last)
		for _, item := range []kp{k, last} {
			s, err := w.store.KeyPackage(w.ctx, carol, item.Ref)
			w.must(err)
			same(w, "welcome", s.Welcome != nil && *s.Welcome == id, true)
			_, err = w.store.KeyPackage(w.ctx, bob, item.Ref)
			w.refused(err, delivery.ErrNotFound)
		}
		w.missing(keyPackage())
	}},
	{"a user's devices are listed by name with what they have", func(w *world) {
		w.shelf(tablet, 1)
		items := w.shelf(phone, 4)
		w.reserveOne(bob, phone, items[0])
		w.send(bob, items[1])
		w.post(bob, welcome(items[2]), hold)
		devices := w.devices("alice")
		same(w, "devices", deviceNames(devices), []string{"phone", "tablet"})
		same(w, "pending", []int{devices[0].Pending, devices[1].Pending}, []int{1, 0})
		same(w, "counts", devices[0].Counts, []delivery.SuiteCounts{{Suite: 1, Available: 1, Reserved: 1, Matched: 2}})
		if age := w.clock.Now().Sub(devices[0].SeenAt); age < 0 || age > day {
			w.t.Fatalf("seen %v ago", age)
		}
	}},
	{"a sync can drop an expired last resort that a Welcome waits for", func(w *world) {
		last := w.one(phone, mlstest.LastResort(), w.lasting(-day, 3*day))
		id := w.send(bob, last)
		w.clock.Advance(4 * day)
		w.sync(phone)
		w.needs(phone)
		w.became(bob, id, delivery.StatusWithdrawn)
	}},
	{"an inventory lists no suite in which nothing is", bothWays(func(w *world, passes func(time.Duration)) {
		w.one(phone, w.lasting(-day, 2*day))
		passes(3 * day)
		w.sweep()
		same(w, "counts", w.inventory(phone).Counts, []delivery.SuiteCounts{})
		same(w, "counts", w.devices("alice")[0].Counts, []delivery.SuiteCounts{})
	})},
	{"what is no longer delivered is not pending", func(w *world) {
		w.send(bob, w.one(phone))
		same(w, "pending", w.devices("alice")[0].Pending, 1)
		w.clock.Advance(31 * day)
		w.sweep()
		same(w, "pending", w.devices("alice")[0].Pending, 0)
	}},
	{"a sync lists what it withdrew, not what was withdrawn before", func(w *world) {
		last, k := w.one(phone, mlstest.LastResort()), w.one(phone)
		w.first(phone, w.send(bob, last))
		sameRefs(w, "withdrawn", w.sync(phone, k).Withdrawn, last)
		w.needs(phone, last, k)
		sameRefs(w, "withdrawn again", w.sync(phone, k).Withdrawn)
	}},
}

var removePromises = []promise{
	{"withdrawing takes a KeyPackage from everybody", func(w *world) {
		items := w.shelf(phone, 4)
		w.reserveOne(bob, phone, items[0])
		w.replace(phone, 0, items[1], items[3])
		w.withdraw(phone, items[:3]...)
		w.states(delivery.Withdrawn, items[:3]...)
		for _, k := range items[:3] {
			w.mismatch(bob, k, delivery.StatusWithdrawn)
		}
		same(w, "listed", w.listed("alice"), refsOf(items[3]))
		w.idle("withdrawing again", func() { w.withdraw(phone, items[:3]...) })
	}},
	{"withdrawing ends the Welcome that waits", func(w *world) {
		pending, held := w.one(phone), w.one(phone)
		a, b := w.send(bob, pending), w.post(bob, welcome(held), hold).ID
		w.withdraw(phone, pending, held)
		w.became(bob, a, delivery.StatusWithdrawn)
		w.became(bob, b, delivery.StatusWithdrawn)
		w.nothing(phone)
		w.cancel(bob, a)
		w.became(bob, a, delivery.StatusWithdrawn)
		w.states(delivery.Withdrawn, pending, held)
	}},
	{"what is consumed can no longer be withdrawn", func(w *world) {
		k := w.one(phone)
		id := w.consume(phone, k)
		for range 2 {
			w.refused(w.store.Withdraw(w.ctx, self(phone), phone, k.Ref), delivery.ErrConsumed)
			w.states(delivery.Consumed, k)
			w.ack(phone, id)
		}
	}},
	{"a KeyPackage that is not the device's is not found", func(w *world) {
		k := w.one(phone)
		w.refused(w.store.Withdraw(w.ctx, self(tablet), tablet, k.Ref), delivery.ErrNotFound)
		w.refused(w.store.Withdraw(w.ctx, self(dave), dave, k.Ref), delivery.ErrNotFound)
		w.refused(w.store.Withdraw(w.ctx, self(phone), phone, keyPackage().Ref), delivery.ErrNotFound)
		w.states(delivery.Available, k)
	}},
	{"what has expired stays expired", func(w *world) {
		k := w.one(phone, w.lasting(-day, 2*day))
		w.clock.Advance(3 * day)
		w.sweep()
		w.withdraw(phone, k)
		w.states(delivery.Expired, k)
	}},
	{"removing a device withdraws what it has and ends its Welcomes", func(w *world) {
		items := w.shelf(phone, 6)
		w.reserveOne(bob, phone, items[0])
		pending, held := w.send(bob, items[1]), w.post(bob, welcome(items[2]), hold).ID
		both := w.send(carol, items[3], w.one(tablet))
		given := w.consumeHolding(phone, items[4])
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))

		same(w, "devices", deviceNames(w.devices("alice")), []string{"tablet"})
		w.states(delivery.Withdrawn, items[0], items[1], items[2], items[3], items[5])
		w.states(delivery.Consumed, items[4])
		w.became(bob, pending, delivery.StatusWithdrawn)
		w.became(bob, held, delivery.StatusWithdrawn)
		w.became(carol, both, delivery.StatusWithdrawn, delivery.StatusPending)
		w.nothing(phone)
		w.needs(phone)
		w.mismatch(bob, items[0], delivery.StatusWithdrawn)
		same(w, "the poster still sees it", len(w.outcome(bob, given).Recipients), 1)
		w.first(tablet, both)
		w.idle("removing again", func() { w.must(w.store.RemoveDevice(w.ctx, self(phone), phone)) })
	}},
	{"a device that comes back cannot publish its old bytes", func(w *world) {
		items := w.shelf(phone, 3)
		w.join(phone, items[0])
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		w.refusedAsSpent(phone, items...)
		same(w, "devices", len(w.devices("alice")), 0)
		_, err := w.store.Publish(w.ctx, self(phone), phone, []kp{keyPackage(mlstest.WithInitKey(items[1].InitKey))})
		w.publishRefused(err, delivery.ErrKeyPackageSpent, map[int]delivery.ItemCode{0: delivery.ItemInitKeyReused})

		fresh := keyPackage()
		p := w.publish(phone, items[0], items[1], fresh)
		same(w, "statuses", publishedStatuses(p), []delivery.PublishedStatus{delivery.Spent, delivery.Spent, delivery.Stored})
		same(w, "listed", w.listed("alice"), refsOf(fresh))
		w.first(phone, w.send(bob, fresh))
	}},
	{"a device that comes back is not given Welcomes of its former life", func(w *world) {
		k := w.one(phone)
		w.consume(phone, k)
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		w.nothing(phone)
		fresh := w.one(phone)
		w.nothing(phone)
		w.needs(phone, fresh)
	}},
	{"what a device was given has lapsed for good once it is removed: made again, it settles nothing of that and reads no tree", func(w *world) {
		k := w.one(phone)
		id := w.post(bob, welcome(k), withTree([]byte("tree"))).ID
		w.first(phone, id)
		for range 2 {
			w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
			fresh := w.one(phone)
			w.refused(w.store.Acknowledge(w.ctx, self(phone), phone, id, ""), delivery.ErrNotFound)
			w.refused(w.store.Acknowledge(w.ctx, self(phone), phone, id, k.Ref), delivery.ErrNotFound)
			_, err := w.store.Reject(w.ctx, self(phone), phone, id, k.Ref, delivery.ReasonOther, "")
			w.refused(err, delivery.ErrNotFound)
			_, err = w.store.RatchetTree(w.ctx, self(phone), phone, id)
			w.refused(err, delivery.ErrNotFound)
			w.became(bob, id, "lapsed")
			w.needs(phone, fresh)
			r := w.sync(phone, fresh, k)
			sameRefs(w, "spent", r.Spent, k)
			sameRefs(w, "unknown", r.Unknown)
			w.sweep()
			w.became(bob, id, "lapsed")
		}
	}},
	{"a removal takes effect at once, and is counted when it was swept", func(w *world) {
		available, matched := w.one(phone), w.one(phone)
		id := w.send(bob, matched)
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		w.states(delivery.Withdrawn, available, matched)
		w.became(bob, id, "withdrawn")
		same(w, "devices", w.stats().DevicesLow, 0)
		w.sweep()
		stats := w.stats()
		same(w, "withdrawn", stats.KeyPackages[delivery.Withdrawn], 2)
		same(w, "Welcomes withdrawn", stats.Welcomes[delivery.WelcomeWithdrawn], 1)
		w.became(bob, id, "withdrawn")
	}},
	{"removing a user removes every device", func(w *world) {
		p, t, other := w.one(phone), w.one(tablet), w.one(dave)
		id := w.send(bob, p, t, other)
		w.must(w.store.RemoveUser(w.ctx, delivery.Caller{User: "alice"}, "alice"))
		same(w, "devices", len(w.devices("alice")), 0)
		w.states(delivery.Withdrawn, p, t)
		w.became(bob, id, "withdrawn", "withdrawn", "pending")
		same(w, "answer", reservedStatuses(w.reserve(bob, alice)), []string{"alice unknown_user"})
		w.first(dave, id)
		w.idle("removing again", func() { w.must(w.store.RemoveUser(w.ctx, delivery.Caller{User: "alice"}, "alice")) })
	}},
	{"removing a user whose name begins another's leaves the other", func(w *world) {
		al, alFoo := deviceID{User: "al", Name: "phone"}, deviceID{User: "al.foo", Name: "phone"}
		a, b, c := w.one(al), w.one(alFoo), w.one(phone)
		w.must(w.store.RemoveUser(w.ctx, delivery.Caller{User: "al"}, "al"))
		w.states(delivery.Withdrawn, a)
		w.states(delivery.Available, b, c)
		d := w.one(deviceID{User: "alice", Name: "phone.old"})
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		w.states(delivery.Available, d)
		same(w, "listed", w.listed("alice"), refsOf(d))
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
}

// consumeHolding lets d claim a Welcome of Bob's for k and for nothing else.
func (w *world) consumeHolding(d deviceID, k kp) welcomeID {
	w.t.Helper()
	id := w.send(bob, k)
	w.given(w.claim(d, holding(k)), id)
	return id
}
