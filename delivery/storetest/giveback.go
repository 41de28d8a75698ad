package storetest

import (
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// gives has caller give refs of a reservation back, all if there are none, and expects
// the statuses of the answer.
func (w *world) gives(caller delivery.Caller, id delivery.ReservationID, reason delivery.GiveBackReason, refs []ref, want ...delivery.GiveBackStatus) {
	w.t.Helper()
	r, err := w.store.GiveBack(w.ctx, caller, delivery.GiveBackRequest{Reservation: id, Refs: refs, Reason: reason})
	w.must(err)
	var got []delivery.GiveBackStatus
	for _, k := range r.KeyPackages {
		got = append(got, k.Status)
	}
	same(w, "given back", got, want)
}

var giveBackPromises = []promise{
	{"what is given back lies behind the others and before the last resort", func(w *world) {
		last := w.one(phone, mlstest.LastResort())
		items := w.shelf(phone, 3)
		r := w.reserve(bob, alice)
		w.gives(bob, r.ID, delivery.GivenBackUnused, nil, delivery.GivenBack)
		w.states(delivery.Available, items[0])
		newer := w.one(phone)
		same(w, "listed", w.listed("alice"), refsOf(items[1], items[2], newer, items[0], last))
		for _, k := range []kp{items[1], items[2], newer, items[0], last} {
			w.reserveOne(carol, phone, k)
		}
		w.mismatch(bob, items[0], delivery.StatusTaken)
		w.first(phone, w.send(carol, items[0]))
	}},
	{"giving back again answers the same and changes nothing", func(w *world) {
		items := w.shelf(phone, 2)
		r := w.reserve(bob, alice)
		w.gives(bob, r.ID, delivery.GivenBackUnused, refsOf(items[0], items[1]), delivery.GivenBack, delivery.GiveBackNotHeld)
		w.idle("giving back again", func() {
			w.gives(bob, r.ID, delivery.GivenBackUnused, refsOf(items[0]), delivery.GivenBack)
			w.gives(bob, r.ID, delivery.GivenBackInvalid, nil, delivery.GivenBack)
			w.gives(bob, r.ID, delivery.GivenBackUnused, []ref{})
		})
		w.states(delivery.Available, items...)
		w.reserveOne(carol, phone, items[1])
		other := w.reserve(carol, alice)
		w.gives(bob, r.ID, delivery.GivenBackUnused, refsOf(items[0]), delivery.GivenBack)
		w.states(delivery.Reserved, items...)
		w.gives(carol, other.ID, delivery.GivenBackUnused, nil, delivery.GivenBack)
		w.gives(bob, r.ID, delivery.GivenBackUnused, refsOf(items[0]), delivery.GiveBackNotHeld)
	}},
	{"only who reserved gives back, with whatever device, and only what nobody has posted", func(w *world) {
		k, posted := w.one(phone), w.one(tablet)
		r := w.reserve(delivery.Caller{User: "bob", Device: "old"}, alice)
		w.idle("what others give back", func() {
			w.gives(carol, r.ID, delivery.GivenBackUnused, refsOf(k), delivery.GiveBackNotHeld)
			w.gives(self(phone), r.ID, delivery.GivenBackUnused, nil)
		})
		id := w.send(bob, posted)
		w.gives(bob, r.ID, delivery.GivenBackUnused, refsOf(posted), delivery.GiveBackUsed)
		w.cancel(bob, id)
		w.gives(bob, r.ID, delivery.GivenBackUnused, nil, delivery.GivenBack, delivery.GivenBack)
		w.states(delivery.Available, k, posted)
		w.mismatch(bob, keyPackage(), delivery.StatusUnknown)
	}},
	{"with a reason it is never shelved again, and its owner sees the reason", func(w *world) {
		for _, reason := range []delivery.GiveBackReason{delivery.GivenBackIncompatible, delivery.GivenBackInvalid} {
			k := w.one(phone)
			r := w.reserve(bob, alice)
			given := w.clock.Now()
			w.gives(bob, r.ID, reason, nil, delivery.GivenBack)
			w.states(delivery.Retired, k)
			same(w, "given back", w.inventory(phone).GivenBack, []delivery.ReturnedKeyPackage{{Ref: k.Ref, Suite: 1, At: given, Reason: reason}})
			w.needs(phone, k)
			w.withdraw(phone, k)
		}
	}},
	{"what others gave back does not keep a device from publishing", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.RetiredPerDevice = 1 })
		for range 3 {
			w.one(phone)
			w.gives(bob, w.reserve(bob, alice).ID, delivery.GivenBackInvalid, nil, delivery.GivenBack)
		}
		w.one(phone)
		w.replace(phone, 0, keyPackage())
	}},
	{"what was reserved before its shelf was replaced does not come back to it", func(w *world) {
		other := keyPackageOf(2)
		w.publish(phone, other)
		one, two := w.one(phone), w.one(phone)
		ofTwo := w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, Suites: []mls.CipherSuite{2}})
		first, second := w.reserve(bob, alice), w.reserve(bob, alice)
		id := w.send(bob, two)
		w.replace(phone, 1)
		w.idle("a replacement that decides nothing", func() { w.replace(phone, 1) })
		w.cancel(bob, id)
		w.gives(bob, first.ID, delivery.GivenBackUnused, nil, delivery.GivenBack)
		w.gives(bob, second.ID, delivery.GivenBackUnused, nil, delivery.GivenBack)
		w.gives(bob, ofTwo.ID, delivery.GivenBackUnused, nil, delivery.GivenBack)
		w.states(delivery.Retired, one, two)
		w.states(delivery.Available, other)
		fresh := w.one(phone)
		w.gives(bob, w.reserve(bob, alice).ID, delivery.GivenBackUnused, nil, delivery.GivenBack)
		w.states(delivery.Available, fresh)
	}},
	{"what is too old for the shelf, or finds it full, is retired", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.KeyPackagesPerDevice = 2 })
		old := w.one(phone)
		w.clock.Advance(w.limits.ShelfAge - time.Hour)
		r := w.reserve(bob, alice)
		w.clock.Advance(2 * time.Hour)
		w.gives(bob, r.ID, delivery.GivenBackUnused, nil, delivery.GivenBack)
		w.states(delivery.Retired, old)
		k := w.one(phone)
		r = w.reserve(bob, alice)
		w.shelf(phone, 2)
		w.gives(bob, r.ID, delivery.GivenBackUnused, nil, delivery.GivenBack)
		w.states(delivery.Retired, k)
	}},
	{"what has ended is not given back, and a last resort stays as it is", func(w *world) {
		k := w.one(phone)
		r := w.reserve(bob, alice)
		w.withdraw(phone, k)
		w.gives(bob, r.ID, delivery.GivenBackUnused, refsOf(k), delivery.GiveBackEnded)
		last := w.one(phone, mlstest.LastResort())
		same(w, "reservation", w.reserve(bob, alice).ID, 0)
		w.gives(bob, r.ID, delivery.GivenBackInvalid, refsOf(last), delivery.GiveBackLastResort)
		w.states(delivery.Available, last)
	}},
	{"a repeated reservation says what was given back, and names no KeyPackage", func(w *world) {
		w.one(phone)
		other := w.one(tablet)
		req := delivery.ReserveRequest{Users: alice.Users, IdempotencyKey: "x"}
		r := w.reserve(bob, req)
		w.gives(bob, r.ID, delivery.GivenBackUnused, refsOf(other), delivery.GivenBack)
		for range 2 {
			again := w.reserve(bob, req)
			same(w, "answer", reservedStatuses(again), []string{"alice partial: phone reserved tablet given_back"})
			same(w, "reservation", again.ID, r.ID)
			w.reserveOne(carol, tablet, w.one(tablet))
		}
		w.gives(bob, r.ID, delivery.GivenBackUnused, nil, delivery.GivenBack, delivery.GivenBack)
		same(w, "answer", reservedStatuses(w.reserve(bob, req)), []string{"alice exhausted: phone given_back tablet given_back"})
	}},
	{"a reservation is given back after a restart", func(w *world) {
		k := w.one(phone)
		r := w.reserve(bob, alice)
		w.reopen()
		w.gives(bob, r.ID, delivery.GivenBackUnused, nil, delivery.GivenBack)
		w.reopen()
		w.gives(bob, r.ID, delivery.GivenBackUnused, nil, delivery.GivenBack)
		w.reserveOne(carol, phone, k)
	}},
}
