package storetest

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

var claimPromises = []promise{
	{"a claim consumes the KeyPackage and gives the Welcome, in one", func(w *world) {
		k := w.one(phone)
		m := welcome(k)
		postedAt := w.clock.Now()
		id := w.post(bob, m, withContext([]byte("context"))).ID
		w.clock.Advance(time.Minute)
		g := w.first(phone, id)[0]
		same(w, "ref", g.Ref, k.Ref)
		same(w, "welcome", bytes.Equal(g.Welcome, m.Bytes()), true)
		same(w, "context", string(g.Context), "context")
		same(w, "posted by", g.PostedBy, delivery.UserID("bob"))
		at(w, "posted", g.PostedAt, postedAt)
		at(w, "redelivered until", g.RedeliveredUntil, w.clock.Now().Add(w.limits.Redelivery))
		w.states(delivery.Consumed, k)
		r := w.became(bob, id, delivery.StatusDelivered).Recipients[0]
		at(w, "delivered", r.DeliveredAt, w.clock.Now())
	}},
	{"who posted is named only where it was a user", func(w *world) {
		w.send(delivery.Caller{User: "bob", Service: "bridge"}, w.one(phone))
		w.send(delivery.Caller{Service: "robot"}, w.one(phone))
		w.send(nobody, w.one(phone))
		d := w.claim(phone).Deliveries
		same(w, "posted by", []delivery.UserID{d[0].PostedBy, d[1].PostedBy, d[2].PostedBy}, []delivery.UserID{"bob", "", ""})
	}},
	{"a Welcome comes again until it is acknowledged, and then never", func(w *world) {
		k := w.one(phone)
		m := welcome(k)
		id := w.post(bob, m, withTree([]byte("tree")), withContext([]byte("context"))).ID
		first := w.first(phone, id)[0]
		for range 3 {
			w.clock.Advance(day)
			g := w.again(phone, id)[0]
			same(w, "welcome", bytes.Equal(g.Welcome, first.Welcome), true)
			same(w, "tree", string(g.RatchetTree), "tree")
			same(w, "context", string(g.Context), "context")
			at(w, "redelivered until", g.RedeliveredUntil, first.RedeliveredUntil)
		}
		w.ack(phone, id)
		w.nothing(phone)
	}},
	{"of many claims of a device at the same time each is given one of as many Welcomes", func(w *world) {
		const n = 48
		for range n {
			w.send(bob, w.one(phone))
		}
		given := make(chan int, n)
		for range n {
			go func() {
				r, err := w.store.Claim(w.ctx, self(phone), phone, delivery.ClaimOptions{Max: 1, NewOnly: true})
				if err != nil {
					w.t.Error(err)
				}
				given <- len(r.Deliveries)
			}()
		}
		total := 0
		for range n {
			total += <-given
		}
		same(w, "given", total, n)
	}},
	{"a device is given its own Welcomes and no other", func(w *world) {
		id := w.send(bob, w.one(phone))
		w.nothing(tablet)
		w.nothing(dave)
		w.first(phone, id)
	}},
	{"two KeyPackages of one device in a Welcome are given apart", func(w *world) {
		a, b := w.one(phone), w.one(phone)
		m := welcome(a, b)
		id := w.post(bob, m).ID
		deliveries := w.first(phone, id, id)
		var got [][]byte
		for _, g := range deliveries {
			got = append(got, g.Welcome)
		}
		want := [][]byte{m.Slice(0), m.Slice(1)}
		slices.SortFunc(got, bytes.Compare)
		slices.SortFunc(want, bytes.Compare)
		same(w, "welcomes", got, want)
	}},
	{"new Welcomes come first, the oldest first", func(w *world) {
		items := w.shelf(phone, 5)
		old := []welcomeID{w.send(bob, items[4]), w.send(carol, items[3])}
		w.first(phone, old...)
		w.clock.Advance(time.Minute)
		fresh := []welcomeID{w.send(bob, items[2]), w.send(carol, items[0]), w.send(bob, items[1])}
		given := w.claim(phone).Deliveries
		same(w, "new", []welcomeID{given[0].ID, given[1].ID, given[2].ID}, fresh)
		same(w, "again", []bool{given[2].Redelivered, given[3].Redelivered, given[4].Redelivered}, []bool{false, true, true})
	}},
	{"a claim for new ones only returns nothing again, names what is not settled, and changes nothing", func(w *world) {
		newOnly := func(o *delivery.ClaimOptions) { o.NewOnly = true }
		a, b := w.one(phone), w.one(phone)
		first, second := w.send(bob, a), w.send(bob, b)
		w.first(phone, first, second)
		w.idle("a look", func() {
			r := w.claim(phone, newOnly, atMost(1))
			w.given(r)
			same(w, "not settled", r.Unsettled, []delivery.Unsettled{{ID: first, Ref: refsOf(a)[0]}})
			same(w, "not settled, not in hand", w.claim(phone, newOnly, skip(first)).Unsettled, []delivery.Unsettled{{ID: second, Ref: refsOf(b)[0]}})
		})
		third := w.send(bob, w.one(phone))
		r := w.claim(phone, newOnly)
		w.given(r, third, first, second)
		same(w, "not settled", len(r.Unsettled), 0)
	}},
	{"a claim asks for room before it reads, and changes nothing where there is none", func(w *world) {
		k := w.one(phone)
		id := w.send(bob, k)
		full, asked := errors.New("no room"), 0
		w.idle("a claim without room", func() {
			_, err := w.store.Claim(w.ctx, self(phone), phone, claimOptions(func(o *delivery.ClaimOptions) {
				o.Room = func(n int) error { asked += n; return full }
			}))
			w.refused(err, full)
		})
		w.states(delivery.Matched, k)
		g := w.first(phone, id)[0]
		same(w, "asked for as much as there is", asked >= len(g.Welcome)-len(g.Context) && asked < 2*len(g.Welcome), true)
		w.given(w.claim(tablet, func(o *delivery.ClaimOptions) { o.Room = func(int) error { return full } }))
	}},
	{"after them come those least recently given", func(w *world) {
		var ids []welcomeID
		for _, k := range w.shelf(phone, 3) {
			ids = append(ids, w.consumeSkipping(phone, k, ids...))
			w.clock.Advance(time.Minute)
		}
		w.again(phone, ids...)
		newer := w.shelf(phone, 2)
		first, second := w.send(bob, newer[0]), w.send(bob, newer[1])
		w.given(w.claim(phone, skip(ids...), holding(newer[1])), second)
		w.given(w.claim(phone, skip(append(ids, second)...)), first)
		w.given(w.claim(phone, skip(ids...)), second, first)
		w.ack(phone, first)
		w.ack(phone, second)
		var got []welcomeID
		for range 6 {
			w.clock.Advance(time.Minute)
			got = append(got, w.claim(phone, atMost(1)).Deliveries[0].ID)
		}
		for _, id := range ids { // each comes up, so none starves
			same(w, "in the first three", slices.Contains(got[:3], id), true)
			same(w, "in the next three", slices.Contains(got[3:], id), true)
		}
	}},
	{"a claim gives at most so many and says that there are more", func(w *world) {
		var ids []welcomeID
		for _, k := range w.shelf(phone, 5) {
			ids = append(ids, w.send(bob, k))
		}
		for i, more := range []bool{true, true, false} {
			want := ids[i*2 : min(i*2+2, 5)]
			r := w.claim(phone, atMost(2), skip(ids[:i*2]...))
			w.given(r, want...)
			same(w, "more", r.More, more)
		}
	}},
	{"a claim without limits gives everything", func(w *world) {
		var ids []welcomeID
		for _, k := range w.shelf(phone, 12) {
			ids = append(ids, w.send(bob, k))
		}
		w.given(w.claim(phone, atMost(0), bytesAtMost(0)), ids...)
	}},
	{"a claim gives so many bytes, and at least one Welcome", func(w *world) {
		items := w.shelf(phone, 3)
		var ids []welcomeID
		for _, k := range items {
			ids = append(ids, w.post(bob, parseWelcome(mlstest.WelcomeSize(100_000, 1, k.Ref))).ID)
			w.clock.Advance(time.Second)
		}
		r := w.claim(phone, bytesAtMost(1))
		w.given(r, ids[0])
		same(w, "more", r.More, true)
		w.states(delivery.Matched, items[1:]...)
		r = w.claim(phone, bytesAtMost(250_000), skip(ids[0]))
		w.given(r, ids[1:]...)
		same(w, "more", r.More, false)
	}},
	{"what is in hand is skipped", func(w *world) {
		a, b := w.consume(phone, w.one(phone)), w.send(bob, w.one(phone))
		w.given(w.claim(phone, skip(a)), b)
		w.idle("a claim of nothing new", func() {
			r := w.claim(phone, skip(a, b))
			w.given(r)
			same(w, "more", r.More, false)
		})
		same(w, "given", len(w.claim(phone, skip(b)).Deliveries), 1)
	}},
	{"a device is given only Welcomes for the keys that it holds", func(w *world) {
		held, lost := w.one(phone), w.one(phone)
		a, b := w.send(bob, held), w.send(bob, lost)
		w.clock.Advance(time.Minute)
		saidAt := w.clock.Now()
		r := w.claim(phone, holding(held))
		w.given(r, a)
		same(w, "withheld", []int{r.Withheld, r.NewlyWithheld}, []int{1, 1})
		w.states(delivery.Matched, lost)
		w.clock.Advance(time.Minute)
		w.idle("withholding again", func() {
			r = w.claim(phone, holding(held), skip(a))
			same(w, "withheld", []int{r.Withheld, r.NewlyWithheld}, []int{1, 0})
		})
		o := w.became(bob, b, delivery.StatusPending)
		at(w, "withheld", o.Recipients[0].WithheldAt, saidAt)
		same(w, "withheld", w.outcome(bob, a).Recipients[0].WithheldAt.IsZero(), true)
		w.given(w.claim(phone, holding(lost)), b)
	}},
	{"a device that holds no keys is given nothing", func(w *world) {
		k := w.one(phone)
		id := w.send(bob, k)
		r := w.claim(phone, holding())
		w.given(r)
		same(w, "withheld", []int{r.Withheld, r.NewlyWithheld}, []int{1, 1})
		w.states(delivery.Matched, k)
		w.first(phone, id)
	}},
	{"what was withheld does not hide what is not", func(w *world) {
		items := w.shelf(phone, 12)
		for _, k := range items[:11] {
			w.send(bob, k)
		}
		id := w.send(bob, items[11])
		r := w.claim(phone, holding(items[11]), atMost(1))
		w.given(r, id)
		same(w, "more", r.More, false)
	}},
	{"a small ratchet tree comes with the Welcome, a large one apart", func(w *world) {
		small, large := mlstest.Random(delivery.TreeInline), mlstest.Random(delivery.TreeInline+1)
		a := w.post(bob, welcome(w.one(phone)), withTree(small)).ID
		w.clock.Advance(time.Second)
		b := w.post(bob, welcome(w.one(phone), w.one(tablet)), withTree(large)).ID
		_, err := w.store.RatchetTree(w.ctx, self(phone), phone, b)
		w.refused(err, delivery.ErrNotDelivered)

		d := w.first(phone, a, b)
		same(w, "small", bytes.Equal(d[0].RatchetTree, small), true)
		same(w, "large", d[1].RatchetTree == nil, true)
		same(w, "sizes", []int{d[0].RatchetTreeSize, d[1].RatchetTreeSize}, []int{len(small), len(large)})
		for id, want := range map[welcomeID][]byte{a: small, b: large} {
			tree, err := w.store.RatchetTree(w.ctx, self(phone), phone, id)
			w.must(err)
			same(w, "tree", bytes.Equal(tree, want), true)
		}
		_, err = w.store.RatchetTree(w.ctx, self(tablet), tablet, a)
		w.refused(err, delivery.ErrNotFound)
		_, err = w.store.RatchetTree(w.ctx, self(phone), phone, welcomeID{1})
		w.refused(err, delivery.ErrNotFound)
		_, err = w.store.RatchetTree(w.ctx, self(tablet), tablet, b)
		w.refused(err, delivery.ErrNotDelivered)
	}},
	{"a Welcome without tree and context has neither", func(w *world) {
		g := w.first(phone, w.send(bob, w.one(phone)))[0]
		same(w, "sizes", []int{len(g.RatchetTree), g.RatchetTreeSize, len(g.Context)}, []int{0, 0, 0})
	}},
	{"what is given is the receiver's to keep", func(w *world) {
		m := welcome(w.one(phone))
		id := w.post(bob, m, withTree([]byte("tree")), withContext([]byte("context"))).ID
		g := w.first(phone, id)[0]
		clear(g.Welcome)
		clear(g.RatchetTree)
		clear(g.Context)
		g = w.again(phone, id)[0]
		same(w, "welcome", bytes.Equal(g.Welcome, m.Bytes()), true)
		same(w, "tree and context", string(g.RatchetTree)+string(g.Context), "treecontext")
	}},
	{"a Welcome is sliced to its recipient in every suite", func(w *world) {
		for _, suite := range mlstest.Suites {
			a, b := keyPackageOf(suite), keyPackageOf(suite)
			w.publish(phone, a)
			w.publish(tablet, b)
			m := welcome(a, b)
			id := w.post(bob, m).ID
			same(w, "first", bytes.Equal(w.first(phone, id)[0].Welcome, m.Slice(0)), true)
			same(w, "second", bytes.Equal(w.first(tablet, id)[0].Welcome, m.Slice(1)), true)
			w.ack(phone, id)
			w.ack(tablet, id)
		}
	}},
}

// consumeSkipping is consume while others are in hand.
func (w *world) consumeSkipping(d deviceID, k kp, inHand ...welcomeID) welcomeID {
	w.t.Helper()
	id := w.send(bob, k)
	w.given(w.claim(d, skip(inHand...)), id)
	return id
}

var settlePromises = []promise{
	{"acknowledging ends a Welcome, and again is as good", func(w *world) {
		k := w.one(phone)
		id := w.consume(phone, k)
		w.clock.Advance(time.Minute)
		w.ack(phone, id)
		r := w.became(bob, id, delivery.StatusAcknowledged).Recipients[0]
		at(w, "ended", r.EndedAt, w.clock.Now())
		w.clock.Advance(time.Minute)
		w.idle("acknowledging again", func() {
			w.ack(phone, id)
			w.must(w.store.Acknowledge(w.ctx, self(phone), phone, id, k.Ref))
		})
		at(w, "ended", w.outcome(bob, id).Recipients[0].EndedAt, r.EndedAt)
	}},
	{"a rejection is shown to the poster with its reason", func(w *world) {
		k := w.one(phone)
		id := w.consume(phone, k)
		n, err := w.store.Reject(w.ctx, self(phone), phone, id, k.Ref, delivery.ReasonUndecryptable, "no such epoch")
		w.must(err)
		same(w, "settled", n, 1)
		n, err = w.store.Reject(w.ctx, self(phone), phone, id, k.Ref, delivery.ReasonUndecryptable, "no such epoch")
		w.must(err)
		same(w, "settled again", n, 0)
		r := w.became(bob, id, delivery.StatusRejected).Recipients[0]
		same(w, "reason", r.Reason, delivery.ReasonUndecryptable)
		same(w, "detail", r.Detail, "no such epoch")
		at(w, "ended", r.EndedAt, w.clock.Now())
		w.nothing(phone)
		w.states(delivery.Consumed, k)
		w.refusedAsSpent(phone, k)
	}},
	{"the first of two rejections counts", func(w *world) {
		id := w.consume(phone, w.one(phone))
		w.reject(phone, id, delivery.ReasonDeclined)
		w.idle("rejecting again", func() { w.reject(phone, id, delivery.ReasonOther) })
		same(w, "reason", w.outcome(bob, id).Recipients[0].Reason, delivery.ReasonDeclined)
	}},
	{"an acknowledgement wins over a rejection, whichever came first", func(w *world) {
		early, late := w.one(phone), w.one(phone)
		a := w.consume(phone, early)
		b := w.consumeSkipping(phone, late, a)
		w.ack(phone, a)
		w.idle("rejecting what is acknowledged", func() { w.reject(phone, a, delivery.ReasonOther) })
		w.reject(phone, b, delivery.ReasonOther)
		w.ack(phone, b)
		w.idle("rejecting what is acknowledged", func() { w.reject(phone, b, delivery.ReasonOther) })
		w.became(bob, a, delivery.StatusAcknowledged)
		w.became(bob, b, delivery.StatusAcknowledged)
		w.nothing(phone)
	}},
	{"with a ref one recipient is settled, without it all that were given", func(w *world) {
		items := w.shelf(phone, 4)
		id := w.send(bob, items...)
		w.given(w.claim(phone, holding(items[:3]...)), id, id, id)
		w.must(w.store.Acknowledge(w.ctx, self(phone), phone, id, items[1].Ref))
		w.became(bob, id, "delivered", "acknowledged", "delivered", "pending")
		w.reject(phone, id, delivery.ReasonOther)
		w.became(bob, id, "rejected", "acknowledged", "rejected", "pending")
		same(w, "ref", w.first(phone, id)[0].Ref, items[3].Ref)
		w.ack(phone, id)
		same(w, "the last one", w.outcome(bob, id).Recipients[3].Status, delivery.StatusAcknowledged)
	}},
	{"a device settles only for itself", func(w *world) {
		a, b := w.one(phone), w.one(tablet)
		id := w.send(bob, a, b)
		w.first(phone, id)
		w.first(tablet, id)
		w.ack(phone, id)
		w.became(bob, id, "acknowledged", "delivered")
		w.settleRefused(phone, id, b.Ref, delivery.ErrNotFound)
		w.became(bob, id, "acknowledged", "delivered")
	}},
	{"what was not given cannot be settled", func(w *world) {
		k := w.one(phone)
		id := w.send(bob, k)
		for _, r := range []ref{"", k.Ref} {
			w.settleRefused(phone, id, r, delivery.ErrNotDelivered)
		}
		held := w.post(bob, welcome(w.one(phone)), hold).ID
		w.settleRefused(phone, held, "", delivery.ErrNotDelivered)
		w.became(bob, id, delivery.StatusPending)
		w.first(phone, id)
	}},
	{"a Welcome that is not the device's is not found", func(w *world) {
		k, other := w.one(phone), w.one(phone)
		id := w.consume(phone, k)
		w.settleRefused(phone, welcomeID{1}, "", delivery.ErrNotFound)
		w.settleRefused(phone, id, other.Ref, delivery.ErrNotFound)
		w.settleRefused(tablet, id, "", delivery.ErrNotFound)
		w.settleRefused(dave, id, k.Ref, delivery.ErrNotFound)
		w.became(bob, id, delivery.StatusDelivered)
	}},
	{"what was cancelled or withdrawn before it was given cannot be settled", func(w *world) {
		a, b := w.one(phone), w.one(phone)
		cancelled, withdrawn := w.send(bob, a), w.send(bob, b)
		w.cancel(bob, cancelled)
		w.withdraw(phone, b)
		w.settleRefused(phone, cancelled, a.Ref, delivery.ErrNotDelivered)
		w.settleRefused(phone, withdrawn, b.Ref, delivery.ErrNotDelivered)
	}},
	{"a late acknowledgement counts, a late rejection does not", func(w *world) {
		for range 2 {
			a := w.consume(phone, w.one(phone))
			b := w.consume(tablet, w.one(tablet))
			w.clock.Advance(15 * day)
			same(w, "lapsed", w.sweep().Lapsed, 2)
			w.nothing(phone)
			w.became(bob, a, delivery.StatusLapsed)
			w.reject(tablet, b, delivery.ReasonOther)
			w.ack(phone, a)
			w.became(bob, a, delivery.StatusAcknowledged)
			w.became(bob, b, delivery.StatusLapsed)
			w.sweep()
		}
	}},
}

// settleRefused expects that neither acknowledging nor rejecting is accepted.
func (w *world) settleRefused(d deviceID, id welcomeID, r ref, want error) {
	w.t.Helper()
	w.refused(w.store.Acknowledge(w.ctx, self(d), d, id, r), want)
	_, err := w.store.Reject(w.ctx, self(d), d, id, r, delivery.ReasonOther, "")
	w.refused(err, want)
}
