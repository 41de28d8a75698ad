package storetest

import (
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// plenty is more than any of these tests makes.
const plenty = 1000

func (w *world) userHistory(user delivery.UserID) delivery.UserHistory {
	w.t.Helper()
	h, err := w.store.UserHistory(w.ctx, user, plenty)
	w.must(err)
	return h
}

func (w *world) deviceHistory(d deviceID, most int) delivery.DeviceHistory {
	w.t.Helper()
	h, err := w.store.DeviceHistory(w.ctx, d, most)
	w.must(err)
	at(w, "as of", h.At, w.clock.Now())
	same(w, "device", h.Device, d)
	return h
}

func (w *world) keyPackageHistory(k kp) delivery.KeyPackageHistory {
	w.t.Helper()
	h, err := w.store.KeyPackageHistory(w.ctx, k.Ref, plenty)
	w.must(err)
	return h
}

func (w *world) welcomeHistory(id welcomeID) delivery.WelcomeHistory {
	w.t.Helper()
	h, err := w.store.WelcomeHistory(w.ctx, id, plenty)
	w.must(err)
	same(w, "id", h.ID, id)
	return h
}

// recipientOf returns what became of a Welcome for k, of which there is one.
func (w *world) recipientOf(k kp) delivery.RecipientHistory {
	w.t.Helper()
	h := w.keyPackageHistory(k)
	same(w, "Welcomes", len(h.Welcomes)+h.MoreWelcomes, 1)
	same(w, "ref", h.Welcomes[0].Ref, k.Ref)
	return h.Welcomes[0]
}

func welcomeIDsOf(recipients []delivery.RecipientHistory) []welcomeID {
	ids := []welcomeID{}
	for _, m := range recipients {
		ids = append(ids, m.ID)
	}
	return ids
}

func recordRefs(records []delivery.KeyPackageRecord) []ref {
	refs := []ref{}
	for _, r := range records {
		refs = append(refs, r.Ref)
	}
	return refs
}

var historyPromises = []promise{
	{"what never was has no history", func(w *world) {
		w.one(phone)
		w.idle("asking", func() {
			same(w, "devices", len(w.userHistory("dave").Devices), 0)
			_, err := w.store.DeviceHistory(w.ctx, tablet, plenty)
			w.refused(err, delivery.ErrNotFound)
			_, err = w.store.KeyPackageHistory(w.ctx, keyPackage().Ref, plenty)
			w.refused(err, delivery.ErrNotFound)
			_, err = w.store.KeyPackageHistory(w.ctx, "short", plenty)
			w.refused(err, delivery.ErrNotFound)
			_, err = w.store.WelcomeHistory(w.ctx, welcomeID{1}, plenty)
			w.refused(err, delivery.ErrNotFound)
		})
	}},
	{"a life is told with who did what and when", func(w *world) {
		k := w.one(phone)
		published := w.clock.Now().Add(-time.Second)
		reserved := w.clock.Now()
		w.reserveOne(bob, phone, k)
		w.clock.Advance(time.Minute)
		posted := w.clock.Now()
		id := w.post(bob, welcome(k), hold).ID
		h := w.keyPackageHistory(k)
		same(w, "device", h.Device, phone)
		same(w, "state", h.State, delivery.Matched)
		same(w, "reserved by", h.ReservedBy, "bob")
		at(w, "published", h.PublishedAt, published)
		at(w, "reserved", h.ReservedAt, reserved)
		m := w.recipientOf(k)
		same(w, "Welcome", m.ID, id)
		same(w, "state", m.State, delivery.Held)
		same(w, "hold", m.Hold, true)
		same(w, "posted by", m.PostedBy, "bob")
		at(w, "posted", m.PostedAt, posted)
		same(w, "released", m.ReleasedAt.IsZero(), true)

		w.clock.Advance(time.Minute)
		w.release(bob, id)
		m = w.recipientOf(k)
		same(w, "state", m.State, delivery.Pending)
		same(w, "overdue", m.Overdue, false)
		at(w, "released", m.ReleasedAt, w.clock.Now())
		w.clock.Advance(time.Minute)
		w.first(phone, id)
		at(w, "delivered", w.recipientOf(k).DeliveredAt, w.clock.Now())
		w.clock.Advance(time.Minute)
		_, err := w.store.Reject(w.ctx, self(phone), phone, id, "", delivery.ReasonUndecryptable, "no such group")
		w.must(err)
		m = w.recipientOf(k)
		same(w, "state", m.State, delivery.Rejected)
		same(w, "reason", words(m.Reason, m.Detail), "undecryptable no such group")
		at(w, "ended", m.EndedAt, w.clock.Now())
		same(w, "state", w.keyPackageHistory(k).State, delivery.Consumed)
		same(w, "told to the device's", w.deviceHistory(phone, plenty).Welcomes, []delivery.RecipientHistory{m})
	}},
	{"no caller rule hides anything", func(w *world) {
		robot := delivery.Caller{Service: "backend"}
		k := w.one(phone)
		id := w.send(robot, k)
		same(w, "poster", w.recipientOf(k).PostedBy, robot.ID())
		same(w, "poster", w.welcomeHistory(id).PostedBy, robot.ID())
		k = w.one(phone)
		w.send(nobody, k)
		same(w, "poster", w.recipientOf(k).PostedBy, "")
	}},
	{"a device that claims and leaves a Welcome has it overdue", func(w *world) {
		asked, asleep, other := w.one(phone), w.one(tablet), w.one(phone)
		id := w.send(bob, asked, asleep)
		same(w, "overdue", w.recipientOf(asked).Overdue, false)
		w.given(w.claim(phone, holding(other)))
		m := w.recipientOf(asked)
		same(w, "overdue", m.Overdue, true)
		at(w, "withheld", m.WithheldAt, w.clock.Now())
		same(w, "overdue", w.recipientOf(asleep).Overdue, false)
		h := w.deviceHistory(phone, plenty)
		same(w, "counts", words(h.Pending, h.Overdue, h.Held, h.Delivered), "1 1 0 0")
		at(w, "oldest", h.OldestPending, m.PostedAt)
		h = w.deviceHistory(tablet, plenty)
		same(w, "counts", words(h.Pending, h.Overdue), "1 0")
		w.given(w.claim(phone, skip(id)))
		w.first(phone, id)
		same(w, "overdue", w.recipientOf(asked).Overdue, false)
		h = w.deviceHistory(phone, plenty)
		same(w, "counts", words(h.Pending, h.Overdue, h.Held, h.Delivered), "0 0 0 1")
	}},
	{"when a device was seen is told", func(w *world) {
		published := w.clock.Now()
		k := w.one(phone)
		w.clock.Advance(10 * day)
		w.post(bob, welcome(k), hold)
		at(w, "seen", w.deviceHistory(phone, plenty).SeenAt, published)
		w.nothing(phone)
		at(w, "seen", w.deviceHistory(phone, plenty).SeenAt, w.clock.Now())
	}},
	{"what has had its time is told so after a sweep", func(w *world) {
		k, given, unused := w.one(phone), w.one(phone), w.one(phone, w.lasting(-day, 20*day))
		w.consume(phone, given)
		w.post(carol, welcome(k), hold)
		posted := w.clock.Now()
		w.clock.Advance(40 * day)
		h := w.deviceHistory(phone, plenty)
		same(w, "counts", words(h.Pending, h.Held, h.Delivered, h.Stock.Available), "0 1 1 0")
		w.sweep()
		u := w.keyPackageHistory(unused)
		same(w, "state", u.State, delivery.Expired)
		at(w, "ended", u.EndedAt, u.NotAfter())
		same(w, "state", w.recipientOf(k).State, delivery.WelcomeExpired)
		at(w, "ended", w.recipientOf(k).EndedAt, posted.Add(30*day))
		same(w, "state", w.recipientOf(given).State, delivery.Lapsed)
		at(w, "ended", w.recipientOf(given).EndedAt, w.recipientOf(given).DeliveredAt.Add(14*day))
		h = w.deviceHistory(phone, plenty)
		same(w, "counts", words(h.Pending, h.Held, h.Delivered, h.Stock.Available), "0 0 0 0")
		for _, r := range h.KeyPackages {
			same(w, "the device's is "+r.State.String(), r.State.Ended(), true)
		}
	}},
	{"a cancelled Welcome is told, and who has the KeyPackage now", func(w *world) {
		k := w.one(phone)
		id := w.send(bob, k)
		w.cancel(bob, id)
		same(w, "state", w.recipientOf(k).State, delivery.Cancelled)
		h := w.keyPackageHistory(k)
		same(w, "state", words(h.State, h.ReservedBy), "reserved bob")
		at(w, "cancelled", w.welcomeHistory(id).CancelledAt, w.clock.Now())
		again := w.send(bob, k)
		same(w, "newest first", welcomeIDsOf(w.keyPackageHistory(k).Welcomes), []welcomeID{again, id})
	}},
	{"a last resort is told with every Welcome that it matched", func(w *world) {
		last := w.one(phone, mlstest.LastResort())
		a, b := w.send(bob, last), w.send(carol, last)
		w.given(w.claim(phone, atMost(1)), a)
		w.ack(phone, a)
		h := w.keyPackageHistory(last)
		same(w, "state", h.State, delivery.Available)
		same(w, "those that wait first", welcomeIDsOf(h.Welcomes), []welcomeID{b, a})
		d := w.deviceHistory(phone, plenty)
		same(w, "last resorts", len(d.LastResort), 1)
		same(w, "stock", words(d.Stock.Available, d.Stock.Low), "0 true")
	}},
	{"a Welcome is told with each recipient and whose it is", func(w *world) {
		good, taken, unknown := w.one(phone), w.one(tablet), keyPackage()
		w.send(carol, taken)
		o := w.post(bob, welcome(good, taken, unknown), hold)
		w.clock.Advance(time.Minute)
		w.release(bob, o.ID)
		h := w.welcomeHistory(o.ID)
		same(w, "verdicts", statuses(h.Recipients), []delivery.Status{"pending", "taken", "unknown"})
		same(w, "devices", words(*h.Recipients[0].Device, *h.Recipients[1].Device, h.Recipients[2].Device == nil), "alice/phone alice/tablet true")
		same(w, "suite", h.Suite, mls.CipherSuite(1))
		at(w, "released", h.ReleasedAt, w.clock.Now())
		h, err := w.store.WelcomeHistory(w.ctx, o.ID, 2)
		w.must(err)
		same(w, "bounded", words(len(h.Recipients), h.More), "2 1")
	}},
	{"a removed device is remembered", func(w *world) {
		k := w.one(phone)
		w.one(tablet)
		id := w.send(bob, k)
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		removed := w.clock.Now()
		devices := w.userHistory("alice").Devices
		same(w, "devices", words(len(devices), devices[0].Name, devices[0].Removed, devices[1].Name, devices[1].Removed), "2 tablet false phone true")
		same(w, "seen", devices[0].SeenAt.After(devices[1].SeenAt), true)
		h := w.deviceHistory(phone, plenty)
		same(w, "removed", h.Removed, true)
		at(w, "removed", h.RemovedAt, removed)
		same(w, "state", words(h.KeyPackages[0].State, h.Welcomes[0].State, h.Welcomes[0].ID == id), "withdrawn withdrawn true")
		one, err := w.store.UserHistory(w.ctx, "alice", 1)
		w.must(err)
		same(w, "bounded", words(one.Devices[0].Name, len(one.Devices), one.More), "tablet 1 1")
	}},
	{"a history is bounded and counts what it leaves out", func(w *world) {
		items := w.shelf(phone, 9)
		for _, k := range items[:4] {
			w.send(bob, k)
		}
		w.withdraw(phone, items[8], items[0])
		h := w.deviceHistory(phone, 2)
		same(w, "left out", words(len(h.KeyPackages), h.MoreKeyPackages, len(h.Welcomes), h.MoreWelcomes), "2 7 2 2")
		sameRefs(w, "those to which something happened last", recordRefs(h.KeyPackages), items[8], items[0])
		for _, m := range h.Welcomes {
			same(w, "those that wait first", m.State, delivery.Pending)
		}
		all := w.deviceHistory(phone, plenty)
		same(w, "nothing is left out", words(len(all.KeyPackages), all.MoreKeyPackages, len(all.Welcomes), all.MoreWelcomes), "9 0 4 0")
		sameRefs(w, "all", recordRefs(all.KeyPackages), items...)
		same(w, "counts", words(h.Pending, h.Stock.Available), "3 4")
		same(w, "in order", slices.IsSortedFunc(all.KeyPackages, func(a, b delivery.KeyPackageRecord) int { return b.LastAt().Compare(a.LastAt()) }), true)
	}},
}
