package storetest

import (
	"bytes"
	"fmt"
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

var postPromises = []promise{
	{"reserve, post on hold, release, claim, join", func(w *world) {
		for _, d := range []deviceID{phone, tablet, laptop} {
			w.shelf(d, 2)
		}
		r := w.reserve(bob, alice)
		refs := reservedRefs(r)
		same(w, "reserved", len(refs), 3)
		m := parseWelcome(mlstest.Welcome(r.Suite, refs...))
		o := w.post(bob, m, hold, requireAll)
		same(w, "posted", statuses(o.Recipients), []delivery.Status{"held", "held", "held"})
		w.nothing(phone)
		w.release(bob, o.ID)
		for i, d := range []deviceID{laptop, phone, tablet} {
			g := w.first(d, o.ID)[0]
			same(w, "ref", g.Ref, refs[i])
			same(w, "welcome", bytes.Equal(g.Welcome, m.Slice(i)), true)
			w.ack(d, o.ID)
			w.nothing(d)
		}
		w.became(bob, o.ID, "acknowledged", "acknowledged", "acknowledged")
		same(w, "left", len(w.listed("alice")), 3)
	}},
	{"the server finds every recipient, and names the devices that matched", func(w *world) {
		a, b, c := w.one(phone), w.one(dave), w.one(phone)
		m := welcome(a, b, c)
		o := w.post(bob, m)
		same(w, "id", o.ID, delivery.IDOf(bob, m.Bytes()))
		same(w, "repeated", o.Repeated, false)
		at(w, "posted", o.PostedAt, w.clock.Now())
		for i, want := range []deviceID{phone, dave, phone} {
			r := o.Recipients[i]
			same(w, "ref", r.Ref, m.Secrets[i].NewMember)
			same(w, "status", r.Status, delivery.StatusPending)
			same(w, "matched", r.Matched, true)
			same(w, "device", *r.Device, want)
			at(w, "released", r.ReleasedAt, w.clock.Now())
		}
		w.states(delivery.Matched, a, b, c)
	}},
	{"the first of two Welcomes for a KeyPackage wins, and the second is told at once", func(w *world) {
		k := w.one(phone)
		id := w.send(bob, k)
		r := w.mismatch(carol, k, delivery.StatusTaken)
		same(w, "device", r.Device == nil, true)
		same(w, "by", r.By == nil, true)
		r = w.mismatch(bob, k, delivery.StatusTaken)
		same(w, "by", r.By != nil && *r.By == id, true)
		w.first(phone, id)
	}},
	{"a held Welcome takes a KeyPackage as well", func(w *world) {
		k := w.one(phone)
		w.post(bob, welcome(k), hold)
		w.mismatch(carol, k, delivery.StatusTaken)
	}},
	{"each KeyPackage that no Welcome can open gets its own verdict", func(w *world) {
		short, items := w.one(phone, w.lasting(-day, 20*day)), w.shelf(phone, 6)
		otherSuite, unknown := keyPackageOf(3), keyPackage()
		w.publish(phone, otherSuite)
		w.join(phone, items[0])
		w.send(carol, items[1])
		w.withdraw(phone, items[2])
		w.reserveOne(carol, phone, short)
		w.reserveOne(bob, phone, items[3])
		w.withdraw(phone, items[3])

		o := w.post(bob, welcome(items[0], items[1], items[2], short, items[3], otherSuite, unknown, items[4]))
		same(w, "verdicts", statuses(o.Recipients),
			[]delivery.Status{"consumed", "taken", "withdrawn", "taken", "withdrawn", "wrong_suite", "unknown", "pending"})
		for i, r := range o.Recipients {
			same(w, "matched", r.Matched, i == 7)
			same(w, fmt.Sprintf("device of %d is shown", i), r.Device != nil, i == 7 || i == 4) // 4: Bob had reserved it
		}
		w.given(w.claim(phone, holding(items[4])), o.ID)

		w.clock.Advance(21 * day)
		w.mismatch(bob, short, delivery.StatusExpired)
	}},
	{"a Welcome for nobody is not kept", func(w *world) {
		k := w.one(phone)
		w.withdraw(phone, k)
		m := welcome(k, keyPackage())
		w.idle("a refused post", func() {
			_, err := w.tryPost(bob, m)
			same(w, "verdicts", statuses(w.noMatch(err)), []delivery.Status{"withdrawn", "unknown"})
		})
		_, err := w.store.Outcome(w.ctx, bob, delivery.IDOf(bob, m.Bytes()))
		w.refused(err, delivery.ErrNotFound)
	}},
	{"a Welcome that was refused is decided anew when it is posted again", func(w *world) {
		k := keyPackage()
		m := welcome(k)
		_, err := w.tryPost(bob, m)
		same(w, "verdicts", statuses(w.noMatch(err)), []delivery.Status{"unknown"})
		w.publish(phone, k)
		w.first(phone, w.post(bob, m).ID)
	}},
	{"who requires all keeps nothing unless all match", func(w *world) {
		a, b := w.one(phone), w.one(tablet)
		taken := w.one(dave)
		w.send(carol, taken)
		m := welcome(a, taken, b)
		_, err := w.tryPost(bob, m, requireAll)
		r := w.noMatch(err)
		same(w, "verdicts", len(r), 3)
		same(w, "the one that does not match", r[1].Status, delivery.StatusTaken)
		w.states(delivery.Available, a, b)
		w.nothing(phone)
		_, err = w.store.Outcome(w.ctx, bob, delivery.IDOf(bob, m.Bytes()))
		w.refused(err, delivery.ErrNotFound)
		w.send(bob, a, b)
	}},
	{"a dry run decides and keeps nothing", func(w *world) {
		k, m := w.one(phone), welcome(keyPackage())
		w.idle("a dry run", func() {
			o := w.post(bob, welcome(k, keyPackage()), dryRun)
			same(w, "verdicts", statuses(o.Recipients), []delivery.Status{"pending", "unknown"})
			_, err := w.store.Outcome(w.ctx, bob, o.ID)
			w.refused(err, delivery.ErrNotFound)
			_, err = w.tryPost(bob, m, dryRun)
			w.noMatch(err)
		})
		w.states(delivery.Available, k)
		w.nothing(phone)
	}},
	{"posting again decides nothing again and answers what became of it", func(w *world) {
		k, late := w.one(phone), keyPackage()
		m := welcome(k, late)
		options := []postOption{hold, withTree([]byte("tree")), withContext([]byte("context"))}
		id := w.post(bob, m, options...).ID
		w.publish(phone, late)
		repeat := func(want ...delivery.Status) {
			w.t.Helper()
			w.idle("posting again", func() {
				o := w.post(bob, m, options...)
				same(w, "id", o.ID, id)
				same(w, "repeated", o.Repeated, true)
				same(w, "statuses", statuses(o.Recipients), want)
			})
		}
		repeat("held", "unknown")
		w.release(bob, id)
		repeat("pending", "unknown")
		w.first(phone, id)
		repeat("delivered", "unknown")
		w.ack(phone, id)
		repeat("acknowledged", "unknown")
		w.states(delivery.Available, late)
	}},
	{"posting again differently is refused", func(w *world) {
		m := welcome(w.one(phone))
		w.post(bob, m, withTree([]byte("tree")), withContext([]byte("context")))
		for what, options := range map[string][]postOption{
			"hold":    {withTree([]byte("tree")), withContext([]byte("context")), hold},
			"require": {withTree([]byte("tree")), withContext([]byte("context")), requireAll},
			"tree":    {withTree([]byte("trees")), withContext([]byte("context"))},
			"no tree": {withContext([]byte("context"))},
			"context": {withTree([]byte("tree")), withContext([]byte("contexts"))},
		} {
			w.t.Log(what)
			_, err := w.tryPost(bob, m, options...)
			w.refused(err, delivery.ErrPostedDifferently)
		}
		w.first(phone, delivery.IDOf(bob, m.Bytes()))
	}},
	{"another caller's identical bytes are another Welcome", func(w *world) {
		a, b := w.one(phone), w.one(phone)
		m := welcome(a, b)
		id := w.post(bob, m).ID
		for _, other := range []delivery.Caller{carol, nobody, {Service: "bob"}} {
			_, err := w.tryPost(other, m)
			same(w, "verdicts", statuses(w.noMatch(err)), []delivery.Status{"taken", "taken"})
		}
		same(w, "given", len(w.claim(phone).Deliveries), 2)
		w.became(bob, id, "delivered", "delivered")
	}},
	{"a Welcome of another caller is not found", func(w *world) {
		id := w.post(bob, welcome(w.one(phone)), hold).ID
		for _, other := range []delivery.Caller{carol, {Service: "bob"}, self(phone)} {
			_, err := w.store.Outcome(w.ctx, other, id)
			w.refused(err, delivery.ErrNotFound)
			_, err = w.store.Release(w.ctx, other, id)
			w.refused(err, delivery.ErrNotFound)
			_, err = w.store.Cancel(w.ctx, other, id)
			w.refused(err, delivery.ErrNotFound)
		}
		w.became(delivery.Caller{User: "bob", Device: "any"}, id, delivery.StatusHeld)
		_, err := w.store.Release(w.ctx, bob, welcomeID{1})
		w.refused(err, delivery.ErrNotFound)
	}},
	{"a full mailbox takes no more, held ones counted", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.PendingPerDevice = 2 })
		items := w.shelf(phone, 5)
		first := w.send(bob, items[0])
		held := w.post(bob, welcome(items[1]), hold).ID
		w.mismatch(bob, items[2], delivery.StatusMailboxFull)
		w.states(delivery.Available, items[2])
		w.send(bob, w.one(tablet))
		w.first(phone, first)
		w.send(bob, items[2])
		w.mismatch(bob, items[3], delivery.StatusMailboxFull)
		w.cancel(bob, held)
		w.send(bob, items[3])
	}},
	{"a device that settles nothing gets so many Welcomes and no more", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.OpenPerDevice = 3 })
		items := append(w.shelf(phone, 5), w.one(tablet))
		first := w.send(bob, items[0])
		w.send(bob, items[1])
		w.claim(phone)
		held := w.post(bob, welcome(items[2]), hold).ID
		w.mismatch(bob, items[3], delivery.StatusMailboxFull)
		w.states(delivery.Available, items[3])
		w.send(bob, items[5])
		w.ack(phone, first)
		o := w.post(bob, welcome(items[3:]...))
		same(w, "verdicts", statuses(o.Recipients), []delivery.Status{"pending", "mailbox_full", "taken"})
		w.cancel(bob, held)
		w.clock.Advance(w.limits.Redelivery + time.Minute)
		w.sweep() // the one that was claimed lapses
		w.send(bob, items[4], w.one(phone))
	}},
	{"a full mailbox is full within one Welcome as well", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.PendingPerDevice = 2 })
		items := append(w.shelf(phone, 3), w.one(tablet))
		o := w.post(bob, welcome(items...))
		same(w, "verdicts", statuses(o.Recipients), []delivery.Status{"pending", "pending", "mailbox_full", "pending"})
		w.states(delivery.Available, items[2])
	}},
	{"a mailbox is full of bytes, trees included", func(w *world) {
		items := w.shelf(phone, 3)
		size := func(k kp) int64 { return int64(len(welcome(k).Slice(0))) }(items[0])
		w.allow(func(l *delivery.Limits) { l.PendingBytesPerDevice = 2*(size+10_000) + 1000 })
		for _, k := range items[:2] {
			w.post(bob, welcome(k), withTree(mlstest.Random(10_000)))
		}
		_, err := w.tryPost(bob, welcome(items[2]), withTree(mlstest.Random(10_000)))
		same(w, "verdict", statuses(w.noMatch(err)), []delivery.Status{"mailbox_full"})
		same(w, "given", len(w.claim(phone).Deliveries), 2)
		w.send(bob, items[2])
	}},
	{"nobody fills another's mailbox alone, and held ones count", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.PendingPerPoster = 2 })
		items := append(w.shelf(phone, 7), w.one(tablet))
		o := w.post(bob, welcome(items[0], items[1], items[2], items[7]), hold)
		same(w, "verdicts", statuses(o.Recipients), []delivery.Status{"held", "held", "mailbox_full", "held"})
		w.mismatch(bob, items[2], delivery.StatusMailboxFull)
		w.states(delivery.Available, items[2])
		w.send(carol, items[2])
		w.send(self(tablet), items[3:6]...)
		w.mismatch(bob, items[6], delivery.StatusMailboxFull)
		w.cancel(bob, o.ID)
		w.send(bob, items[6])
	}},
	{"nobody fills another's mailbox with bytes alone", func(w *world) {
		items := w.shelf(phone, 4)
		w.allow(func(l *delivery.Limits) { l.PendingBytesPerPoster = 15_000 })
		large := withTree(mlstest.Random(10_000))
		w.post(bob, welcome(items[0]), large)
		_, err := w.tryPost(bob, welcome(items[1]), withTree(mlstest.Random(10_000)))
		same(w, "verdict", statuses(w.noMatch(err)), []delivery.Status{"mailbox_full"})
		w.send(bob, items[1])
		w.post(carol, welcome(items[2]), large)
		w.claim(phone)
		w.post(bob, welcome(items[3]), large)
	}},
	{"whatever ends a Welcome makes room in the mailbox", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.PendingPerDevice = 1 })
		for what, end := range map[string]func(k kp, id welcomeID){
			"claimed":   func(_ kp, id welcomeID) { w.ack(phone, w.first(phone, id)[0].ID) },
			"cancelled": func(_ kp, id welcomeID) { w.cancel(bob, id) },
			"withdrawn": func(k kp, _ welcomeID) { w.withdraw(phone, k) },
			"synced":    func(kp, welcomeID) { w.sync(phone) },
			"removed":   func(kp, welcomeID) { w.must(w.store.RemoveDevice(w.ctx, self(phone), phone)) },
			"expired":   func(kp, welcomeID) { w.clock.Advance(31 * day); w.sweep() },
		} {
			w.t.Log(what)
			k := w.one(phone)
			id := w.post(bob, welcome(k), hold, withTree(mlstest.Random(1000))).ID
			w.mismatch(bob, w.one(phone), delivery.StatusMailboxFull)
			w.release(bob, id)
			w.mismatch(bob, w.one(phone), delivery.StatusMailboxFull)
			end(k, id)
			w.join(phone, w.one(phone))
		}
	}},
	{"where only reserved ones match, what was listed or guessed does not", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.MatchReserved = true })
		items, lastResort := w.shelf(phone, 4), w.one(tablet, mlstest.LastResort())
		w.reserveOne(bob, phone, items[0])
		w.reserveOne(carol, phone, items[1])
		w.idle("refused posts", func() {
			r := w.mismatch(bob, items[2], delivery.StatusNotReserved)
			same(w, "device", r.Device == nil, true)
			w.mismatch(nobody, items[2], delivery.StatusNotReserved)
			w.mismatch(bob, items[1], delivery.StatusTaken)
			w.mismatch(bob, lastResort, delivery.StatusNotReserved)
		})
		w.states(delivery.Available, items[2], items[3], lastResort)
		o := w.post(bob, welcome(items[0], items[1], items[2]))
		same(w, "verdicts", statuses(o.Recipients), []delivery.Status{"pending", "taken", "not_reserved"})
		w.first(phone, o.ID)
		w.ack(phone, o.ID)

		w.reserveOne(carol, tablet, lastResort)
		w.first(tablet, w.send(bob, lastResort))
		w.first(phone, w.send(carol, items[1]))
	}},
	{"where only reserved ones match, a poster who cancels may post again", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.MatchReserved = true })
		k := w.one(phone)
		w.reserveOne(bob, phone, k)
		w.cancel(bob, w.send(bob, k))
		w.mismatch(carol, k, delivery.StatusTaken)
		w.first(phone, w.send(bob, k))
	}},
	{"without callers, where only reserved ones match, any that was reserved does", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.MatchReserved = true })
		items := w.shelf(phone, 3)
		w.reserveOne(nobody, phone, items[0])
		w.reserveOne(bob, phone, items[1])
		w.mismatch(bob, items[0], delivery.StatusNotReserved)
		w.mismatch(nobody, items[2], delivery.StatusNotReserved)
		same(w, "matched", statuses(w.post(nobody, welcome(items[:2]...)).Recipients), []delivery.Status{"pending", "pending"})
	}},
	{"a Welcome for too many is refused", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.RecipientsPerWelcome = 2 })
		items := w.shelf(phone, 3)
		_, err := w.tryPost(bob, welcome(items...))
		w.refused(err, delivery.ErrTooMany)
		w.states(delivery.Available, items...)
		w.post(bob, welcome(items[:2]...))
	}},
	{"one Welcome for a thousand devices is a thousand lives", thousandDevices},
	{"a Welcome that was forgotten does not come back", func(w *world) {
		m := welcome(w.one(phone))
		id := w.post(bob, m).ID
		w.first(phone, id)
		w.ack(phone, id)
		w.clock.Advance(31 * day)
		w.sweep()
		_, err := w.store.Outcome(w.ctx, bob, id)
		w.refused(err, delivery.ErrNotFound)
		_, err = w.tryPost(bob, m)
		same(w, "verdict", statuses(w.noMatch(err)), []delivery.Status{"consumed"})
		w.nothing(phone)
	}},
}

// thousandDevices posts one Welcome for all kinds of recipients.
func thousandDevices(w *world) {
	const n = 1000
	items, devices := keyPackages(n), make([]deviceID, n)
	together(16, func(worker int) {
		for i := worker; i < n; i += 16 {
			devices[i] = deviceID{User: delivery.UserID(fmt.Sprintf("user%d", i/50)), Name: fmt.Sprintf("device%d", i)}
			if i%10 == 1 { // never published: unknown
				continue
			}
			if _, err := w.store.Publish(w.ctx, self(devices[i]), devices[i], []kp{items[i]}); err != nil {
				w.t.Error(err)
			}
		}
	})
	var taken []kp
	want := make([]delivery.Status, n)
	for i, k := range items {
		want[i] = delivery.StatusPending
		switch i % 10 {
		case 1:
			want[i] = delivery.StatusUnknown
		case 2:
			want[i] = delivery.StatusTaken
			taken = append(taken, k)
		case 3:
			if i%100 == 3 {
				want[i] = delivery.StatusWithdrawn
				w.withdraw(devices[i], k)
			}
		}
	}
	w.send(carol, taken...)
	m := welcome(items...)
	o := w.post(bob, m)
	same(w, "verdicts", statuses(o.Recipients), want)

	for _, i := range []int{0, 500, 996, 998} {
		g := w.first(devices[i], o.ID)[0]
		same(w, "welcome", bytes.Equal(g.Welcome, m.Slice(i)), true)
		want[i] = delivery.StatusDelivered
	}
	w.ack(devices[0], o.ID)
	w.reject(devices[500], o.ID, delivery.ReasonDeclined)
	w.withdraw(devices[999], items[999])
	want[0], want[500], want[999] = delivery.StatusAcknowledged, delivery.StatusRejected, delivery.StatusWithdrawn
	w.became(bob, o.ID, want...)
	w.cancel(bob, o.ID)
	for i, s := range want {
		if s == delivery.StatusPending {
			want[i] = delivery.StatusCancelled
		}
	}
	w.became(bob, o.ID, want...)
	w.again(devices[996], o.ID)
	w.nothing(devices[997])
}

var holdPromises = []promise{
	{"a held Welcome is given to nobody until it is released", func(w *world) {
		k := w.one(phone)
		o := w.post(bob, welcome(k), hold)
		same(w, "hold", o.Hold, true)
		same(w, "status", o.Recipients[0].Status, delivery.StatusHeld)
		same(w, "released", o.Recipients[0].ReleasedAt.IsZero(), true)
		w.idle("a claim of what is held", func() { w.nothing(phone) })
		w.clock.Advance(time.Minute)
		o = w.release(bob, o.ID)
		same(w, "status", o.Recipients[0].Status, delivery.StatusPending)
		at(w, "released", o.Recipients[0].ReleasedAt, w.clock.Now())
		w.first(phone, o.ID)
	}},
	{"releasing again, or what was not held, changes nothing", func(w *world) {
		held := w.post(bob, welcome(w.one(phone)), hold).ID
		w.release(bob, held)
		sent := w.send(bob, w.one(phone))
		w.idle("releasing again", func() {
			same(w, "status", statuses(w.release(bob, held).Recipients), []delivery.Status{"pending"})
			same(w, "status", statuses(w.release(bob, sent).Recipients), []delivery.Status{"pending"})
		})
		w.first(phone, held, sent)
		w.idle("releasing what was given", func() {
			same(w, "status", statuses(w.release(bob, held).Recipients), []delivery.Status{"delivered"})
		})
	}},
	{"post and release wake the device, a hold does not", func(w *world) {
		a, b := w.one(phone), w.one(phone)
		wake, stop := w.store.Watch(phone, owner{})
		defer stop()
		also, stopAlso := w.store.Watch(phone, owner{})
		defer stopAlso()
		id := w.post(bob, welcome(a), hold).ID
		w.asleep(wake)
		w.release(bob, id)
		w.woken(wake)
		w.woken(also)
		w.first(phone, id)

		second := w.send(bob, b)
		w.woken(wake)
		w.given(w.claim(phone, skip(id)), second)
	}},
	{"who watches before looking misses nothing", func(w *world) {
		items := w.shelf(phone, 20)
		for _, k := range items {
			wake, stop := w.store.Watch(phone, owner{})
			w.nothing(phone)
			posted := make(chan error, 1)
			go func() {
				_, err := w.tryPost(bob, welcome(k))
				posted <- err
			}()
			w.woken(wake)
			r := w.claim(phone)
			same(w, "given", len(r.Deliveries), 1)
			w.ack(phone, r.Deliveries[0].ID)
			w.must(<-posted)
			stop()
		}
	}},
	{"a watch that was stopped stops nobody else", func(w *world) {
		_, stop := w.store.Watch(phone, owner{})
		wake, stopOther := w.store.Watch(phone, owner{})
		defer stopOther()
		stop()
		stop()
		w.send(bob, w.one(phone))
		w.woken(wake)
	}},
	{"cancelling reserves the KeyPackages for the poster", func(w *world) {
		held, pending := w.one(phone), w.one(tablet)
		for _, o := range []delivery.Outcome{w.post(bob, welcome(held), hold), w.post(bob, welcome(pending))} {
			cancelled := w.cancel(bob, o.ID)
			same(w, "cancelled", cancelled.Cancelled, true)
			same(w, "status", statuses(cancelled.Recipients), []delivery.Status{"cancelled"})
			at(w, "ended", cancelled.Recipients[0].EndedAt, w.clock.Now())
			w.idle("cancelling again", func() {
				same(w, "status", statuses(w.cancel(bob, o.ID).Recipients), []delivery.Status{"cancelled"})
			})
		}
		w.nothing(phone)
		w.nothing(tablet)
		w.states(delivery.Reserved, held, pending)
		same(w, "listed", w.listed("alice"), []ref{})
		w.mismatch(carol, held, delivery.StatusTaken)
		w.mismatch(carol, pending, delivery.StatusTaken)
		w.first(phone, w.send(bob, held))
		w.first(tablet, w.send(bob, pending))
	}},
	{"what was cancelled can be neither released nor posted again", func(w *world) {
		m := welcome(w.one(phone))
		id := w.post(bob, m, hold).ID
		w.cancel(bob, id)
		_, err := w.store.Release(w.ctx, bob, id)
		w.refused(err, delivery.ErrCancelled)
		_, err = w.tryPost(bob, m, hold)
		w.refused(err, delivery.ErrCancelled)
		w.nothing(phone)
	}},
	{"cancelling takes nothing from those who were given the Welcome", func(w *world) {
		a, b, c := w.one(phone), w.one(tablet), w.one(laptop)
		id := w.send(bob, a, b, c)
		w.first(phone, id)
		w.first(tablet, id)
		w.ack(tablet, id)
		o := w.cancel(bob, id)
		same(w, "statuses", statuses(o.Recipients), []delivery.Status{"delivered", "acknowledged", "cancelled"})
		w.states(delivery.Consumed, a, b)
		w.states(delivery.Reserved, c)
		w.again(phone, id)
		w.ack(phone, id)
		w.nothing(laptop)
		w.became(bob, id, "acknowledged", "acknowledged", "cancelled")
	}},
	{"cancelling leaves KeyPackages that have ended", func(w *world) {
		withdrawn, short := w.one(phone), w.one(phone, w.lasting(-day, 2*day))
		id := w.send(bob, withdrawn, short)
		w.withdraw(phone, withdrawn)
		w.clock.Advance(3 * day)
		w.cancel(bob, id)
		w.became(bob, id, "withdrawn", "cancelled")
		w.states(delivery.Withdrawn, withdrawn)
		w.sweep()
		w.states(delivery.Expired, short)
	}},
	{"cancelling without a caller leaves the KeyPackages to anybody", func(w *world) {
		k := w.one(phone)
		w.cancel(nobody, w.send(nobody, k))
		w.states(delivery.Reserved, k)
		w.first(phone, w.send(carol, k))
	}},
	{"a hold is counted as overdue after an hour", func(w *world) {
		id := w.post(bob, welcome(w.one(phone), w.one(tablet)), hold).ID
		w.clock.Advance(59 * time.Minute)
		w.sweep()
		same(w, "overdue", w.stats().HoldsOverdue, 0)
		w.clock.Advance(2 * time.Minute)
		w.sweep()
		same(w, "overdue", w.stats().HoldsOverdue, 1)
		w.release(bob, id)
		same(w, "overdue", w.stats().HoldsOverdue, 0)

		k := w.one(phone)
		w.post(bob, welcome(k), hold)
		w.clock.Advance(2 * time.Hour)
		w.sweep()
		same(w, "overdue", w.stats().HoldsOverdue, 1)
		w.withdraw(phone, k) // and with it the last recipient
		w.sweep()
		same(w, "overdue", w.stats().HoldsOverdue, 0)
	}},
	{"a hold does not lapse before the Welcome itself", func(w *world) {
		kept, lost := w.one(phone), w.one(tablet)
		a, b := w.post(bob, welcome(kept), hold).ID, w.post(bob, welcome(lost), hold).ID
		w.clock.Advance(29 * day)
		w.sweep()
		w.release(bob, a)
		w.first(phone, a)
		w.clock.Advance(2 * day)
		w.sweep()
		o, err := w.store.Release(w.ctx, bob, b)
		w.must(err)
		same(w, "status", statuses(o.Recipients), []delivery.Status{"expired"})
		w.nothing(tablet)
	}},
}
