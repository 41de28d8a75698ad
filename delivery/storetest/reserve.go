package storetest

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

var listPromises = []promise{
	{"a listing returns all available KeyPackages of all devices, by device and age", func(w *world) {
		p, l := w.shelf(phone, 3), w.shelf(laptop, 2)
		w.shelf(dave, 1)
		listing := w.list("alice")
		same(w, "listed", listedRefs(listing), refsOf(append(l, p...)...))
		same(w, "pages", listing.Next, "")
		first := listing.Devices[1].KeyPackages[0]
		same(w, "device", listing.Devices[1].Device, "phone")
		same(w, "lifetime", first.Lifetime, p[0].Lifetime)
		same(w, "bytes", bytes.Equal(first.Bytes, p[0].Bytes), true)
		at(w, "expires", first.ExpiresAt, w.clock.Now().Add(w.limits.ShelfAge-5*time.Second-time.Second))
	}},
	{"a listing reserves nothing", func(w *world) {
		items := w.shelf(phone, 2)
		w.idle("listing", func() { w.list("alice") })
		w.states(delivery.Available, items...)
	}},
	{"a listing leaves out what is no longer on the shelf", func(w *world) {
		items := w.shelf(phone, 5)
		w.reserveOne(bob, phone, items[0])
		w.send(bob, items[1])
		w.withdraw(phone, items[2])
		w.join(tablet, w.one(tablet))
		same(w, "listed", w.listed("alice"), refsOf(items[3:]...))
	}},
	{"a listing can be limited to devices and suites", func(w *world) {
		one, two := w.one(phone), keyPackageOf(2)
		w.publish(phone, two)
		other := w.one(tablet)
		listing := w.list("alice", func(o *delivery.ListOptions) { o.Devices = []string{"phone"} })
		same(w, "of the phone", listedRefs(listing), refsOf(one, two))
		listing = w.list("alice", func(o *delivery.ListOptions) { o.Suites = []mls.CipherSuite{1} })
		same(w, "of suite 1", listedRefs(listing), refsOf(one, other))
	}},
	{"the pages of a listing are the listing", func(w *world) {
		var all []ref
		for _, d := range []deviceID{laptop, phone, tablet} {
			all = append(all, refsOf(w.shelf(d, 3)...)...)
		}
		for name, limit := range map[string]func(*delivery.ListOptions){
			"by number": func(o *delivery.ListOptions) { o.Limit = 2 },
			"by bytes":  func(o *delivery.ListOptions) { o.Bytes = 1 },
		} {
			var got []ref
			for after := ""; ; {
				page := w.list("alice", limit, func(o *delivery.ListOptions) { o.After = after })
				if n := len(listedRefs(page)); n < 1 || n > 2 || len(got) > len(all) {
					w.t.Fatalf("%s: a page of %d after %d", name, n, len(got))
				}
				got = append(got, listedRefs(page)...)
				if after = page.Next; after == "" {
					break
				}
			}
			same(w, name, got, all)
		}
	}},
	{"a listing without limits is whole", func(w *world) {
		items := w.shelf(phone, 5)
		l, err := w.store.List(w.ctx, bob, "alice", delivery.ListOptions{})
		w.must(err)
		same(w, "listed", listedRefs(l), refsOf(items...))
	}},
	{"a place that no page named is refused", func(w *world) {
		w.shelf(phone, 1)
		_, err := w.store.List(w.ctx, bob, "alice", delivery.ListOptions{After: "\x00"})
		w.refused(err, delivery.ErrBadCursor)
	}},
	{"what is listed is the receiver's to keep", func(w *world) {
		k := w.one(phone)
		clear(w.list("alice").Devices[0].KeyPackages[0].Bytes)
		again := w.list("alice").Devices[0].KeyPackages[0].Bytes
		same(w, "bytes", bytes.Equal(again, k.Bytes), true)
	}},
}

var alice = delivery.ReserveRequest{Users: []delivery.UserID{"alice"}}

var reservePromises = []promise{
	{"a reservation takes exactly one of each device, the oldest first", func(w *world) {
		p, t, l := w.shelf(phone, 2), w.shelf(tablet, 2), w.shelf(laptop, 2)
		for i := range 2 {
			r := w.reserve(bob, alice)
			same(w, "answer", reservedStatuses(r), []string{"alice success: laptop reserved phone reserved tablet reserved"})
			same(w, "reserved", reservedRefs(r), refsOf(l[i], p[i], t[i]))
			same(w, "bytes", bytes.Equal(r.Users[0].Devices[1].KeyPackage.Bytes, p[i].Bytes), true)
			w.states(delivery.Reserved, p[i], t[i], l[i])
		}
		same(w, "answer", reservedStatuses(w.reserve(bob, alice)), []string{"alice exhausted: laptop exhausted phone exhausted tablet exhausted"})
	}},
	{"a reservation never takes one of the calling device", func(w *world) {
		p, t := w.one(phone), w.one(tablet)
		r := w.reserve(self(phone), alice)
		same(w, "answer", reservedStatuses(r), []string{"alice success: tablet reserved"})
		w.states(delivery.Available, p)
		w.states(delivery.Reserved, t)
		w.reserve(self(phone), delivery.ReserveRequest{Devices: []deviceID{phone, tablet}})
		w.states(delivery.Available, p)
	}},
	{"a reservation takes none of the excepted devices", func(w *world) {
		p, t, l := w.one(phone), w.one(tablet), w.one(laptop)
		r := w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, Except: []deviceID{phone, laptop}})
		same(w, "reserved", reservedRefs(r), refsOf(t))
		w.states(delivery.Available, p, l)
	}},
	{"a user of whom nothing is asked is left out", func(w *world) {
		k := w.one(phone)
		r := w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, Except: []deviceID{phone}})
		same(w, "all excepted", reservedStatuses(r), []string{"alice left_out"})
		same(w, "only the one that asks", reservedStatuses(w.reserve(self(phone), alice)), []string{"alice left_out"})
		w.states(delivery.Available, k)
	}},
	{"a device that is named twice gives one", func(w *world) {
		items := w.shelf(phone, 3)
		r := w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, Devices: []deviceID{phone, phone}})
		same(w, "reserved", reservedRefs(r), refsOf(items[0]))
		w.states(delivery.Available, items[1:]...)
	}},
	{"users are answered in the order of the request, unknown ones too", func(w *world) {
		w.shelf(dave, 1)
		w.shelf(phone, 1)
		r := w.reserve(bob, delivery.ReserveRequest{Users: []delivery.UserID{"dave", "erin", "alice"}})
		same(w, "answer", reservedStatuses(r), []string{"dave success: phone reserved", "erin unknown_user", "alice success: phone reserved"})
	}},
	{"a device or user that does not exist gives nothing and harms nobody", func(w *world) {
		k := w.one(phone)
		r := w.reserve(bob, delivery.ReserveRequest{Devices: []deviceID{tablet, phone, dave}})
		same(w, "reserved", reservedRefs(r), refsOf(k))
	}},
	{"a user is served in part if some devices have nothing", func(w *world) {
		w.join(tablet, w.one(tablet))
		w.shelf(phone, 1)
		same(w, "answer", reservedStatuses(w.reserve(bob, alice)), []string{"alice partial: phone reserved tablet exhausted"})
	}},
	{"a user who has only other suites is incompatible", func(w *world) {
		w.publish(phone, keyPackageOf(2))
		r := w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, Suites: []mls.CipherSuite{1, 3}})
		same(w, "answer", reservedStatuses(r), []string{"alice incompatible: phone incompatible"})
	}},
	{"a device that was removed or never seen is unknown, if it was named", func(w *world) {
		w.one(phone)
		w.one(tablet)
		w.must(w.store.RemoveDevice(w.ctx, self(tablet), tablet))
		same(w, "of the user", reservedStatuses(w.reserve(bob, alice)), []string{"alice success: phone reserved"})
		r := w.reserve(bob, delivery.ReserveRequest{Devices: []deviceID{phone, tablet, laptop, dave}})
		same(w, "named", reservedStatuses(r), []string{
			"alice exhausted: phone exhausted tablet unknown_device laptop unknown_device", "dave unknown_user: phone unknown_device",
		})
	}},
	{"a device whose KeyPackages are not yet valid says from when they are", func(w *world) {
		w.publish(phone, keyPackage(w.lasting(3*time.Hour, 40*day)), keyPackage(w.lasting(2*time.Hour, 40*day)))
		from := w.clock.Now().Add(2 * time.Hour)
		req := delivery.ReserveRequest{Users: alice.Users, IdempotencyKey: "x"}
		first := w.reserve(bob, req)
		same(w, "answer", reservedStatuses(first), []string{"alice exhausted: phone not_yet_valid"})
		w.publish(phone, keyPackageOf(2))
		for _, r := range []delivery.Reservation{first, w.reserve(bob, req), w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, Suites: []mls.CipherSuite{1}})} {
			same(w, "answer", r.Users[0].Devices[0].Status, delivery.DeviceNotYetValid)
			at(w, "usable", r.Users[0].Devices[0].UsableFrom, from)
		}
		same(w, "of suite 3", reservedStatuses(w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, Suites: []mls.CipherSuite{3}})), []string{"alice incompatible: phone incompatible"})
		w.clock.Advance(2 * time.Hour)
		same(w, "then", reservedStatuses(w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, Suites: []mls.CipherSuite{1}})), []string{"alice success: phone reserved"})
	}},
	{"an incompatible device says which suites it has", func(w *world) {
		w.publish(phone, keyPackageOf(3), keyPackageOf(2), keyPackageOf(3), keyPackageOf(7, w.lasting(time.Hour, 40*day)))
		w.publish(phone, keyPackageOf(5, mlstest.LastResort()))
		req := delivery.ReserveRequest{Users: alice.Users, Suites: []mls.CipherSuite{1}, IdempotencyKey: "x"}
		for range 2 {
			d := w.reserve(bob, req).Users[0].Devices[0]
			same(w, "status", d.Status, delivery.DeviceIncompatible)
			same(w, "suites", d.Suites, []mls.CipherSuite{2, 3, 5, 7})
		}
		drained := w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, Suites: req.Suites, LastResortOnly: alice.Users})
		same(w, "of whose budget is spent", drained.Users[0].Devices[0].Suites, []mls.CipherSuite{5})
	}},
	{"suites that are not accepted here are passed over", func(w *world) {
		w.publish(phone, keyPackageOf(2))
		r := w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, Suites: []mls.CipherSuite{65535, 2, 77, 2}})
		same(w, "suite", r.Suite, mls.CipherSuite(2))
		r = w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, Suites: []mls.CipherSuite{77}})
		same(w, "suite of nothing", r.Suite, mls.CipherSuite(0))
	}},
	{"the first suite that serves every device is used for all", func(w *world) {
		w.publish(phone, keyPackageOf(1), keyPackageOf(2), keyPackageOf(3))
		w.publish(tablet, keyPackageOf(2), keyPackageOf(3))
		w.publish(dave, keyPackageOf(3), keyPackageOf(2))
		r := w.reserve(bob, delivery.ReserveRequest{Users: []delivery.UserID{"alice", "dave"}, Suites: []mls.CipherSuite{1, 2, 3}})
		same(w, "suite", r.Suite, mls.CipherSuite(2))
		same(w, "answer", reservedStatuses(r), []string{"alice success: phone reserved tablet reserved", "dave success: phone reserved"})
		same(w, "still listed", len(w.listed("alice")), 3)
	}},
	{"else the suite that serves most is used for all", func(w *world) {
		w.publish(phone, keyPackageOf(2))
		w.publish(tablet, keyPackageOf(2))
		w.publish(laptop, keyPackageOf(1))
		r := w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, Suites: []mls.CipherSuite{1, 2}})
		same(w, "suite", r.Suite, mls.CipherSuite(2))
		same(w, "answer", reservedStatuses(r), []string{"alice partial: laptop incompatible phone reserved tablet reserved"})
	}},
	{"of suites that serve as many the preferred one is used", func(w *world) {
		w.publish(phone, keyPackageOf(2), keyPackageOf(3))
		w.publish(tablet, keyPackageOf(1))
		r := w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, Suites: []mls.CipherSuite{7, 3, 2, 1}})
		same(w, "suite", r.Suite, mls.CipherSuite(3))
	}},
	{"without preference the server's order of suites applies", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.CipherSuites = []mls.CipherSuite{3, 1} })
		w.publish(phone, keyPackageOf(1), keyPackageOf(3))
		same(w, "suite", w.reserve(bob, alice).Suite, mls.CipherSuite(3))
		same(w, "suite", w.reserve(bob, alice).Suite, mls.CipherSuite(1))
	}},
	{"a request for too much takes nothing", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.UsersPerReserve, l.DevicesPerReserve = 2, 2 })
		items := []kp{w.one(phone), w.one(tablet), w.one(dave)}
		for _, req := range []delivery.ReserveRequest{
			{Users: []delivery.UserID{"alice", "dave"}},
			{Users: []delivery.UserID{"erin", "frank", "dave"}},
			{Users: alice.Users, Devices: []deviceID{dave}},
		} {
			_, err := w.store.Reserve(w.ctx, bob, req)
			w.refused(err, delivery.ErrTooMany)
		}
		w.states(delivery.Available, items...)
		same(w, "reserved", len(reservedRefs(w.reserve(bob, alice))), 2)
	}},
	{"a reservation of more bytes than its answer may have is refused whole", func(w *world) {
		items := []kp{w.one(phone), w.one(tablet)}
		total := len(items[0].Bytes) + len(items[1].Bytes)
		_, err := w.store.Reserve(w.ctx, bob, delivery.ReserveRequest{Users: alice.Users, Bytes: total - 1})
		w.refused(err, delivery.ErrTooMany)
		w.states(delivery.Available, items...)
		same(w, "one, however large", len(reservedRefs(w.reserve(bob, delivery.ReserveRequest{Devices: []deviceID{phone}, Bytes: 1}))), 1)
		w.publish(phone, keyPackageOf(1))
		same(w, "two", len(reservedRefs(w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, Bytes: 2 * total}))), 2)
	}},
	{"a retry with the idempotency key returns the same ones", func(w *world) {
		w.shelf(phone, 3)
		w.shelf(tablet, 3)
		req := delivery.ReserveRequest{Users: alice.Users, Suites: []mls.CipherSuite{2, 1}, IdempotencyKey: "k1"}
		first := w.reserve(bob, req)
		same(w, "repeated", first.Repeated, false)
		w.clock.Advance(23 * time.Hour)
		var again delivery.Reservation
		w.idle("a retry", func() { again = w.reserve(bob, req) })
		same(w, "repeated", again.Repeated, true)
		same(w, "suite", again.Suite, first.Suite)
		same(w, "answer", reservedStatuses(again), reservedStatuses(first))
		for i, d := range again.Users[0].Devices {
			want := first.Users[0].Devices[i].KeyPackage
			same(w, "ref", d.KeyPackage.Ref, want.Ref)
			same(w, "lifetime", d.KeyPackage.Lifetime, want.Lifetime)
			same(w, "bytes", bytes.Equal(d.KeyPackage.Bytes, want.Bytes), true)
		}
	}},
	{"a retry returns the same ones after they were matched and claimed", func(w *world) {
		k := w.one(phone)
		w.shelf(phone, 1)
		req := delivery.ReserveRequest{Users: alice.Users, IdempotencyKey: "k1"}
		w.reserve(bob, req)
		w.join(phone, k)
		w.clock.Advance(23 * time.Hour)
		w.sweep()
		r := w.reserve(bob, req)
		same(w, "reserved", reservedRefs(r), refsOf(k))
		same(w, "bytes", bytes.Equal(r.Users[0].Devices[0].KeyPackage.Bytes, k.Bytes), true)
	}},
	{"an idempotency key is good for one request", func(w *world) {
		w.shelf(phone, 3)
		w.shelf(dave, 3)
		w.reserve(bob, delivery.ReserveRequest{Users: alice.Users, IdempotencyKey: "k1"})
		for _, other := range []delivery.ReserveRequest{
			{Users: []delivery.UserID{"dave"}},
			{Users: alice.Users, Suites: []mls.CipherSuite{1}},
			{Users: alice.Users, Except: []deviceID{tablet}},
			{Users: alice.Users, Devices: []deviceID{dave}},
		} {
			other.IdempotencyKey = "k1"
			_, err := w.store.Reserve(w.ctx, bob, other)
			w.refused(err, delivery.ErrIdempotencyKeyReused)
		}
		same(w, "left", len(w.listed("alice"))+len(w.listed("dave")), 5)
	}},
	{"an idempotency key of another caller is another key", func(w *world) {
		items := w.shelf(phone, 2)
		req := delivery.ReserveRequest{Users: alice.Users, IdempotencyKey: "k1"}
		same(w, "Bob's", reservedRefs(w.reserve(bob, req)), refsOf(items[0]))
		same(w, "Carol's", reservedRefs(w.reserve(carol, req)), refsOf(items[1]))
		same(w, "Bob's again", reservedRefs(w.reserve(bob, req)), refsOf(items[0]))
	}},
	{"an idempotency key is forgotten after a day", func(w *world) {
		items := w.shelf(phone, 2)
		req := delivery.ReserveRequest{Users: alice.Users, IdempotencyKey: "k1"}
		w.reserve(bob, req)
		w.clock.Advance(day + time.Second)
		r := w.reserve(bob, req)
		same(w, "repeated", r.Repeated, false)
		same(w, "reserved", reservedRefs(r), refsOf(items[1]))
	}},
	{"a reservation is matched only by its reserver, with whatever device", func(w *world) {
		k := w.one(phone)
		w.reserveOne(delivery.Caller{User: "bob", Device: "old"}, phone, k)
		w.mismatch(carol, k, delivery.StatusTaken)
		w.mismatch(delivery.Caller{Service: "bob"}, k, delivery.StatusTaken)
		w.first(phone, w.send(delivery.Caller{User: "bob", Device: "new"}, k))
	}},
	{"without callers anybody may match a reservation", func(w *world) {
		a, b := w.one(phone), w.one(phone)
		w.reserveOne(nobody, phone, a)
		w.reserveOne(bob, phone, b)
		w.first(phone, w.send(carol, a), w.send(nobody, b))
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
}

var lastResortPromises = []promise{
	{"the shelf has one last-resort KeyPackage per device and suite, the newest", func(w *world) {
		items := w.shelf(phone, 3, mlstest.LastResort())
		other := keyPackageOf(2, mlstest.LastResort())
		w.publish(phone, other)
		elsewhere := w.one(tablet, mlstest.LastResort())
		w.states(delivery.Retired, items[:2]...)
		w.states(delivery.Available, items[2], other, elsewhere)
		sameRefs(w, "listed", w.listed("alice"), items[2], other, elsewhere)
		same(w, "last resort", len(w.inventory(phone).LastResort), 2)
	}},
	{"two last-resort KeyPackages in one publication leave one on the shelf", func(w *world) {
		p := w.publish(phone, keyPackages(2, mlstest.LastResort())...)
		same(w, "statuses", publishedStatuses(p), []delivery.PublishedStatus{delivery.Superseded, delivery.Stored})
		same(w, "last resort", len(w.inventory(phone).LastResort), 1)
		same(w, "listed", len(w.listed("alice")), 1)
	}},
	{"one that is not valid yet is not told to become so if a newer one comes with it", func(w *world) {
		old := w.one(phone, mlstest.LastResort(), w.lasting(time.Hour, 40*day))
		p := w.publish(phone, old, keyPackage(mlstest.LastResort()))
		same(w, "statuses", publishedStatuses(p), []delivery.PublishedStatus{delivery.AlreadyStored, delivery.Stored})
		same(w, "usable from", p.Items[0].UsableFrom.IsZero(), true)
	}},
	{"both encodings of last resort count", func(w *world) {
		a, b := w.one(phone, mlstest.LastResort()), w.one(phone, mlstest.LastResortComponent(2))
		w.states(delivery.Retired, a)
		w.states(delivery.Available, b)
	}},
	{"the last resort is reserved only where nothing else is left, by any number", func(w *world) {
		last, k := w.one(phone, mlstest.LastResort()), w.one(phone)
		w.reserveOne(bob, phone, k)
		same(w, "handed out", w.inventory(phone).LastResort[0].HandedOutAt.IsZero(), true)
		handedOut := w.clock.Now()
		for _, caller := range []delivery.Caller{carol, bob, nobody} {
			r := w.reserve(caller, alice)
			same(w, "answer", reservedStatuses(r), []string{"alice success: phone last_resort"})
			same(w, "reserved", reservedRefs(r), refsOf(last))
			same(w, "last resort", r.Users[0].Devices[0].KeyPackage.LastResort, true)
			w.clock.Advance(time.Minute)
		}
		w.states(delivery.Available, last)
		w.idle("handing out the last resort again", func() { w.reserve(carol, alice) })
		at(w, "first handed out", w.inventory(phone).LastResort[0].HandedOutAt, handedOut)
	}},
	{"a last resort counts neither as stock nor as one of many", func(w *world) {
		p := w.publish(phone, keyPackage(mlstest.LastResort()))
		same(w, "stock", p.Stock, delivery.Stock{Available: 0, Low: true, Room: 500})
	}},
	{"a last resort takes any number of Welcomes and is never consumed", func(w *world) {
		last := w.one(phone, mlstest.LastResort())
		a, b, c := w.send(bob, last), w.send(carol, last), w.send(bob, last)
		w.states(delivery.Available, last)
		w.first(phone, a, b, c)
		w.again(phone, a, b, c)
		w.states(delivery.Available, last)
		w.ack(phone, b)
		w.reject(phone, c, delivery.ReasonDeclined)
		w.became(bob, a, delivery.StatusDelivered)
		w.became(carol, b, delivery.StatusAcknowledged)
		w.became(bob, c, delivery.StatusRejected)
		w.again(phone, a)
		w.first2(phone, []welcomeID{w.send(carol, last)}, a)
		w.needs(phone, last)
	}},
	{"a retired last resort still takes Welcomes", func(w *world) {
		last := w.one(phone, mlstest.LastResort())
		w.shelf(phone, 1, mlstest.LastResort())
		w.states(delivery.Retired, last)
		w.first(phone, w.send(bob, last), w.send(carol, last))
		w.states(delivery.Retired, last)
	}},
	{"cancelling leaves a last resort as it is", func(w *world) {
		last := w.one(phone, mlstest.LastResort())
		id, other := w.send(bob, last), w.send(carol, last)
		w.cancel(bob, id)
		w.states(delivery.Available, last)
		same(w, "handed out", w.inventory(phone).LastResort[0].HandedOutAt.IsZero(), true)
		w.became(bob, id, delivery.StatusCancelled)
		w.first(phone, other)
	}},
	{"a device that lost the key of its last resort has it withdrawn by saying so", func(w *world) {
		last, k := w.one(phone, mlstest.LastResort()), w.one(phone)
		given, also, waiting := w.send(bob, last), w.send(carol, last), w.send(bob, k)
		w.first(phone, given, also, waiting)
		waiting = w.send(carol, last)
		w.reject(phone, also, delivery.ReasonUndecryptable)
		w.states(delivery.Available, last)
		w.reject(phone, given, delivery.ReasonNoMatchingKeyPackage)
		w.states(delivery.Withdrawn, last)
		w.became(carol, waiting, delivery.StatusWithdrawn)
		same(w, "listed", w.listed("alice"), []ref{})
		w.mismatch(bob, last, delivery.StatusWithdrawn)
	}},
	{"withdrawing a last resort ends the Welcomes that wait, not those given", func(w *world) {
		last := w.one(phone, mlstest.LastResort())
		given := w.consumeLast(phone, last)
		waiting := w.send(carol, last)
		w.withdraw(phone, last)
		w.became(carol, waiting, delivery.StatusWithdrawn)
		w.became(bob, given, delivery.StatusDelivered)
		w.again(phone, given)
		w.refusedAsSpent(phone, last)
		w.needs(phone, last)
		w.ack(phone, given)
		w.needs(phone)
	}},
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
}

// first2 expects new Welcomes and after them those that come again.
func (w *world) first2(d deviceID, fresh []welcomeID, again ...welcomeID) {
	w.t.Helper()
	for i, g := range w.given(w.claim(d), append(fresh, again...)...) {
		same(w, "redelivered", g.Redelivered, i >= len(fresh))
	}
}

// consumeLast lets d claim a Welcome of Bob's for a last-resort KeyPackage.
func (w *world) consumeLast(d deviceID, last kp) welcomeID {
	w.t.Helper()
	id := w.consume(d, last)
	w.states(delivery.Available, last)
	return id
}

var spentPromises = []promise{
	{"of whose budget is spent only the last resort is handed out", func(w *world) {
		items := w.shelf(phone, 2)
		last := w.one(phone, mlstest.LastResort())
		other, _ := w.one(dave), w.one(tablet)
		r := w.reserve(bob, delivery.ReserveRequest{Users: []delivery.UserID{"alice", "dave"}, LastResortOnly: []delivery.UserID{"alice"}})
		same(w, "alice", r.Users[0].Status, delivery.UserPartial)
		same(w, "phone", r.Users[0].Devices[0].Status, delivery.DeviceLastResort)
		same(w, "its ref", r.Users[0].Devices[0].KeyPackage.Ref, last.Ref)
		same(w, "tablet", r.Users[0].Devices[1].Status, delivery.DeviceExhausted)
		same(w, "dave", r.Users[1].Devices[0].KeyPackage.Ref, other.Ref)
		w.states(delivery.Available, items...)
	}},
	{"of whose budget is spent only the last resort is listed", func(w *world) {
		w.shelf(phone, 2)
		last := w.one(phone, mlstest.LastResort())
		page, err := w.store.List(w.ctx, bob, "alice", delivery.ListOptions{LastResortOnly: true, Limit: 1})
		w.must(err)
		same(w, "devices", len(page.Devices), 1)
		same(w, "listed", page.Devices[0].KeyPackages[0].Ref, last.Ref)
		same(w, "next", page.Next, "")
	}},
	{"a reservation is repeated whether or not the budget is spent meanwhile", func(w *world) {
		k := w.one(phone)
		req := delivery.ReserveRequest{Users: []delivery.UserID{"alice"}, IdempotencyKey: "key"}
		w.reserve(bob, req)
		req.LastResortOnly = []delivery.UserID{"alice"}
		again := w.reserve(bob, req)
		same(w, "repeated", again.Repeated, true)
		same(w, "ref", again.Users[0].Devices[0].KeyPackage.Ref, k.Ref)
	}},
	{"what a device has published before can be asked, and comes again without its bytes", func(w *world) {
		items, others := w.shelf(phone, 2), w.one(dave)
		w.consume(phone, items[0])
		known, err := w.store.BeforePublish(w.ctx, self(phone), phone, append(refsOf(items...), others.Ref, keyPackage().Ref, ""))
		w.must(err)
		same(w, "known", known, map[ref]bool{items[0].Ref: true, items[1].Ref: true})
		without := func(k kp) kp { k.Bytes = nil; return k }
		p := w.publish(phone, without(items[0]), without(items[1]))
		same(w, "statuses", publishedStatuses(p), []delivery.PublishedStatus{delivery.Spent, delivery.AlreadyStored})
		for _, k := range []kp{keyPackage(), others} {
			_, err = w.store.Publish(w.ctx, self(phone), phone, []kp{without(k), items[1]})
			same(w, "refused", err != nil, true)
		}
		_, err = w.store.Publish(w.ctx, self(phone), phone, []kp{without(keyPackage()), items[1]})
		w.refused(err, delivery.ErrNotFound)
		same(w, "refs", w.listed("alice"), refsOf(items[1]))
	}},
	{"whose a KeyPackage is can be asked, and whether the caller reserved it", func(w *world) {
		items, last := w.shelf(phone, 2), w.one(dave, mlstest.LastResort())
		w.reserveOne(bob, phone, items[0])
		refs := append(refsOf(items...), last.Ref, keyPackage().Ref, "")
		owners := func(c delivery.Caller) []delivery.Owner {
			look, err := w.store.BeforePost(w.ctx, c, welcomeID{}, refs)
			w.must(err)
			o := look.Owners
			slices.SortFunc(o, func(a, b delivery.Owner) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			return o
		}
		same(w, "for bob", owners(bob), []delivery.Owner{{Device: phone}, {Device: phone, Reserved: true}, {Device: dave, LastResort: true}})
		same(w, "for carol", owners(carol), []delivery.Owner{{Device: phone}, {Device: phone}, {Device: dave, LastResort: true}})
		w.send(bob, items[0])
		same(w, "after it was matched", owners(bob)[1].Reserved, true)
	}},
	{"whether a Welcome was posted by the caller can be asked", func(w *world) {
		id := w.send(bob, w.one(phone))
		for _, c := range []delivery.Caller{bob, carol} {
			look, err := w.store.BeforePost(w.ctx, c, id, nil)
			w.must(err)
			same(w, c.ID(), look.Posted, c == bob)
		}
	}},
	{"how many devices a reservation asks for can be asked, and whether it is a repeat", func(w *world) {
		k, _ := w.one(phone), w.one(tablet)
		w.one(dave)
		req := delivery.ReserveRequest{
			Users: []delivery.UserID{"alice", "none"}, Devices: []deviceID{dave, {User: "dave", Name: "none"}, tablet}, IdempotencyKey: "1",
		}
		look, err := w.store.BeforeReserve(w.ctx, bob, req)
		w.must(err)
		same(w, "devices", fmt.Sprint(look.Devices), fmt.Sprint(map[delivery.UserID]int{"alice": 2, "dave": 1}))
		same(w, "repeated", look.Repeated, nil)
		first := w.reserve(bob, req)
		w.states(delivery.Reserved, k)
		look, err = w.store.BeforeReserve(w.ctx, bob, req)
		w.must(err)
		first.Repeated = true
		same(w, "the same as before", reflect.DeepEqual(*look.Repeated, first), true)
		look, err = w.store.BeforeReserve(w.ctx, carol, req)
		w.must(err)
		same(w, "by another", look.Repeated, nil)
		req.Users = req.Users[:1]
		_, err = w.store.BeforeReserve(w.ctx, bob, req)
		w.refused(err, delivery.ErrIdempotencyKeyReused)
	}},
}
