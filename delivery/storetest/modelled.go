package storetest

import (
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

// modelledPromises are those that package model found broken.
var modelledPromises = []promise{
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
	{"a device that was seen in a wrong future is seen now", func(w *world) {
		w.one(phone)
		w.clock.Jump(1000 * day)
		w.claim(phone)
		w.clock.Jump(-1000 * day)
		w.claim(phone)
		at(w, "seen", w.devices("alice")[0].SeenAt, w.clock.Now())
		w.idle("another claim", func() { w.claim(phone) })
	}},
	{"a sync lists what it withdrew, not what was withdrawn before", func(w *world) {
		last, k := w.one(phone, mlstest.LastResort()), w.one(phone)
		w.first(phone, w.send(bob, last))
		sameRefs(w, "withdrawn", w.sync(phone, k).Withdrawn, last)
		w.needs(phone, last, k)
		sameRefs(w, "withdrawn again", w.sync(phone, k).Withdrawn)
	}},
	{"a newer last resort does not revive one that has expired", bothWays(func(w *world, passes func(time.Duration)) {
		last := w.one(phone, mlstest.LastResort())
		passes(w.limits.ShelfAge + w.limits.RetiredFor + time.Hour)
		w.one(phone, mlstest.LastResort())
		w.mismatch(bob, last, delivery.StatusExpired)
		w.sweep()
		w.states(delivery.Expired, last)
		w.mismatch(bob, last, delivery.StatusExpired)
	})},
	{"a newer last resort gives one that has aged no more time", bothWays(func(w *world, passes func(time.Duration)) {
		last := w.one(phone, mlstest.LastResort())
		passes(w.limits.ShelfAge + w.limits.RetiredFor - time.Hour)
		w.one(phone, mlstest.LastResort())
		passes(2 * time.Hour)
		w.mismatch(bob, last, delivery.StatusExpired)
	})},
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
