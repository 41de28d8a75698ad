package storetest

import (
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

// restored puts the store back to what it is, which is a backup of this moment. It
// skips the test if the fixture cannot.
func (w *world) restored() (epoch string) {
	w.t.Helper()
	if w.fixture.MarkRestored == nil {
		w.t.Skip("the fixture restores nothing")
	}
	w.must(w.store.Close())
	w.fixture.MarkRestored(w.t)
	w.store.Store = w.fixture.Open(w.t, w.clock, w.limits)
	return w.inventory(phone).RestoreEpoch
}

// naming returns items that name a restore epoch.
func naming(epoch string, items ...kp) []kp {
	for i := range items {
		items[i].RestoreEpoch = epoch
	}
	return items
}

var restorePromises = []promise{
	{"a store that was never restored has a restore epoch, which stays", func(w *world) {
		epoch := w.inventory(phone).RestoreEpoch
		same(w, "empty", epoch == "", false)
		w.reopen()
		same(w, "after another opening", w.inventory(phone).RestoreEpoch, epoch)
		p := w.publish(phone, keyPackage())
		same(w, "in a publication", p.RestoreEpoch, epoch)
		same(w, "stored", p.Items[0].Status, delivery.Stored)
	}},
	{"a restore empties the shelves, and its epoch is a new one", func(w *world) {
		was := w.inventory(phone).RestoreEpoch
		items, last := w.shelf(phone, 2), w.one(phone, mlstest.LastResort())
		is := w.restored()
		same(w, "the same epoch", is == was, false)
		same(w, "another after one more", w.restored() == is, false)
		same(w, "listed", w.listed("alice"), refsOf(last))
		w.states(delivery.Retired, items...)
		w.first(phone, w.send(bob, items[0]))
		p := w.publish(phone, items[1])
		same(w, "published again", p.Items[0].Status, delivery.NotAfterRestore)
		same(w, "stored by that", p.Items[0].New, false)
		p = w.publish(phone, keyPackage())
		same(w, "one that may have been handed out", p.Items[0].Status, delivery.NotAfterRestore)
		same(w, "stored by that, and to be paid for", p.Items[0].New, true)
		same(w, "stock", p.Stock.Available, 0)
	}},
	{"what may have been handed out before a restore is kept, and never handed out", func(w *world) {
		was := w.inventory(phone).RestoreEpoch
		w.restored()
		old := append(keyPackages(2), naming(was, keyPackages(2)...)...)
		p := w.publish(phone, old...)
		for i := range old {
			same(w, "status", p.Items[i].Status, delivery.NotAfterRestore)
		}
		same(w, "stock", p.Stock, delivery.Stock{Low: true, Room: 500})
		same(w, "listed", w.listed("alice"), []ref{})
		w.states(delivery.Retired, old...)
		w.needs(phone, old...)
		w.first(phone, w.send(bob, old[0]))
		same(w, "the lost reply", w.publish(phone, old[1]).Items[0].Status, delivery.NotAfterRestore)
	}},
	{"what names the epoch of the restore is handed out", func(w *world) {
		k := naming(w.restored(), keyPackage())[0]
		same(w, "status", w.publish(phone, k).Items[0].Status, delivery.Stored)
		w.reserveOne(bob, phone, k)
	}},
	{"what was not after a restore does not become so by naming its epoch", func(w *world) {
		epoch, k := w.restored(), keyPackage()
		w.publish(phone, k)
		same(w, "status", w.publish(phone, naming(epoch, k)...).Items[0].Status, delivery.NotAfterRestore)
		same(w, "replaced", w.replace(phone, 0, naming(epoch, k)...).Items[0].Status, delivery.NotAfterRestore)
		same(w, "listed", w.listed("alice"), []ref{})
	}},
	{"what had not begun when the store was restored was not handed out before", func(w *world) {
		w.restored()
		from := w.clock.Now().Truncate(time.Second)
		begun := keyPackage(mlstest.WithLifetime(uint64(from.Unix()), mlstest.NoEnd))
		ahead := keyPackage(mlstest.WithLifetime(uint64(from.Unix())+1, mlstest.NoEnd))
		w.clock.Advance(time.Minute)
		p := w.publish(phone, begun, ahead)
		same(w, "begun", p.Items[0].Status, delivery.NotAfterRestore)
		same(w, "ahead", p.Items[1].Status, delivery.Stored)
		same(w, "listed", w.listed("alice"), refsOf(ahead))
	}},
	{"an old key is old for years after a restore", func(w *world) {
		w.restored()
		w.clock.Advance(500 * day)
		w.sweep()
		same(w, "status", w.publish(phone, keyPackage()).Items[0].Status, delivery.NotAfterRestore)
	}},
	{"a last resort is handed out whenever it was made", func(w *world) {
		w.restored()
		last := keyPackage(mlstest.LastResort())
		same(w, "status", w.publish(phone, last).Items[0].Status, delivery.Stored)
		same(w, "again", w.publish(phone, last).Items[0].Status, delivery.AlreadyStored)
		same(w, "listed", w.listed("alice"), refsOf(last))
	}},
	{"old keys fill no shelf", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.KeyPackagesPerDevice = 2 })
		epoch := w.restored()
		w.publish(phone, keyPackages(5)...)
		p := w.publish(phone, naming(epoch, keyPackages(2)...)...)
		same(w, "stock", p.Stock, delivery.Stock{Available: 2, Low: true})
	}},
	{"a KeyPackage that another device has published first is given back to its owner", func(w *world) {
		k, own := w.one(dave), w.one(dave)
		id := w.send(bob, k)
		for range 2 {
			w.must(w.store.Give(w.ctx, delivery.Operator(), phone, k.Ref))
		}
		w.became(bob, id, delivery.StatusWithdrawn)
		w.nothing(dave)
		w.needs(dave, own)
		w.needs(phone, k)
		w.states(delivery.Retired, k)
		w.first(phone, w.send(bob, k))
		_, err := w.store.Publish(w.ctx, self(dave), dave, []kp{k})
		w.publishRefused(err, delivery.ErrNotYours, map[int]delivery.ItemCode{0: delivery.ItemNotYours})

		last := w.one(dave, mlstest.LastResort())
		w.must(w.store.Withdraw(w.ctx, self(dave), dave, own.Ref))
		req := delivery.ReserveRequest{Devices: []delivery.DeviceID{dave}, IdempotencyKey: "again"}
		same(w, "handed out", w.reserve(bob, req).Users[0].Devices[0].Status, delivery.DeviceLastResort)
		w.must(w.store.Give(w.ctx, delivery.Operator(), phone, last.Ref))
		repeated := w.reserve(bob, req).Users[0].Devices[0]
		same(w, "handed out again", repeated, delivery.ReservedDevice{Device: dave.Name, Status: delivery.DeviceGivenBack})
		w.refused(w.store.Give(w.ctx, delivery.Operator(), phone, keyPackage().Ref), delivery.ErrNotFound)
	}},
}
