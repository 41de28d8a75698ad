package storetest

import (
	"context"
	"errors"
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

var durabilityPromises = []promise{
	{"every state of a KeyPackage survives closing and goes on", func(w *world) {
		items := w.shelf(phone, 7)
		w.reserveOne(bob, phone, items[0])
		w.send(bob, items[1])
		w.join(tablet, w.one(tablet))
		w.consumeHolding(phone, items[2])
		w.withdraw(phone, items[3])
		w.replace(phone, 0, items[5], items[6])
		last, short := w.one(phone, mlstest.LastResort()), w.one(phone, w.lasting(-day, 2*day))
		w.reserve(bob, delivery.ReserveRequest{Devices: []deviceID{tablet}})
		want := map[delivery.KeyPackageState]kp{
			delivery.Reserved: items[0], delivery.Matched: items[1], delivery.Consumed: items[2],
			delivery.Withdrawn: items[3], delivery.Retired: items[4], delivery.Available: items[5],
		}
		before := w.inventory(phone)
		w.reopen()
		for state, k := range want {
			w.states(state, k)
		}
		same(w, "inventory", w.inventory(phone), before)
		sameRefs(w, "listed", w.listed("alice"), items[5], items[6], last, short)

		w.mismatch(carol, items[0], delivery.StatusTaken)
		w.mismatch(carol, items[1], delivery.StatusTaken)
		w.mismatch(carol, items[2], delivery.StatusConsumed)
		w.mismatch(carol, items[3], delivery.StatusWithdrawn)
		w.send(carol, items[4], items[5], last)
		w.send(bob, items[0])
		w.clock.Advance(day)
		w.clock.Advance(day)
		w.sweep()
		w.reopen()
		w.states(delivery.Expired, short)
		w.refusedAsSpent(phone, items[2], items[3])
		same(w, "given", len(w.claim(phone).Deliveries), 6)
	}},
	{"every state of a Welcome survives closing and goes on", func(w *world) {
		items := w.shelf(phone, 8)
		ids := make([]welcomeID, 8)
		for i, k := range items {
			ids[i] = w.post(bob, welcome(k), hold, withTree([]byte("tree")), withContext([]byte("context"))).ID
			if i > 0 {
				w.release(bob, ids[i])
				w.clock.Advance(time.Minute)
			}
		}
		w.cancel(bob, ids[6])
		w.withdraw(phone, items[7])
		w.given(w.claim(phone, holding(items[2:6]...)), ids[2:6]...)
		w.ack(phone, ids[3])
		_, err := w.store.Reject(w.ctx, self(phone), phone, ids[4], items[4].Ref, delivery.ReasonUnsupported, "why")
		w.must(err)
		want := []delivery.Status{"held", "pending", "delivered", "acknowledged", "rejected", "delivered", "cancelled", "withdrawn"}
		var before []delivery.Outcome
		for i, id := range ids {
			before = append(before, w.became(bob, id, want[i]))
		}
		w.reopen()
		for i, id := range ids {
			same(w, "outcome", recipientTimes(w.outcome(bob, id)), recipientTimes(before[i]))
		}
		given := w.claim(phone).Deliveries
		same(w, "given", []welcomeID{given[0].ID, given[1].ID, given[2].ID}, []welcomeID{ids[1], ids[2], ids[5]})
		for i, g := range given {
			same(w, "redelivered", g.Redelivered, i > 0)
			same(w, "tree and context", string(g.RatchetTree)+string(g.Context), "treecontext")
		}
		w.reopen()
		w.release(bob, ids[0])
		w.ack(phone, ids[2])
		w.clock.Advance(15 * day)
		w.sweep()
		w.became(bob, ids[5], delivery.StatusLapsed)
		w.reopen()
		w.first(phone, ids[0])
		w.became(bob, ids[2], delivery.StatusAcknowledged)
		w.became(bob, ids[5], delivery.StatusLapsed)
	}},
	{"posting, reserving and acknowledging again after a restart answer as before", func(w *world) {
		w.shelf(phone, 3)
		req := delivery.ReserveRequest{Users: alice.Users, IdempotencyKey: "k1"}
		refs := reservedRefs(w.reserve(bob, req))
		m := parseWelcome(mlstest.Welcome(1, refs...))
		id := w.post(bob, m).ID
		w.first(phone, id)
		w.ack(phone, id)
		w.reopen()
		w.idle("repeating", func() {
			same(w, "reserved", reservedRefs(w.reserve(bob, req)), refs)
			same(w, "posted", statuses(w.post(bob, m).Recipients), []delivery.Status{"acknowledged"})
			w.ack(phone, id)
		})
		_, err := w.tryPost(bob, m, hold)
		w.refused(err, delivery.ErrPostedDifferently)
	}},
	{"a stock that was never looked at again is the same after a restart", func(w *world) {
		w.publish(phone, keyPackages(3)...)
		w.publish(tablet, keyPackageOf(2), keyPackageOf(7), keyPackage(mlstest.LastResort()))
		listing := w.list("alice")
		w.reopen()
		same(w, "listing", w.list("alice"), listing)
		same(w, "devices", deviceNames(w.devices("alice")), []string{"phone", "tablet"})
	}},
	{"an event that changes nothing commits nothing", func(w *world) {
		items := w.shelf(phone, 5)
		id := w.consume(phone, items[0])
		w.ack(phone, id)
		w.withdraw(phone, items[1])
		waiting := welcome(items[2])
		w.post(bob, waiting, hold)
		refused := func(_ any, err error) {
			w.t.Helper()
			if err == nil {
				w.t.Fatal("not refused")
			}
		}
		for what, f := range map[string]func(){
			"a claim of nothing":              func() { w.nothing(phone) },
			"a claim of an unknown device":    func() { w.nothing(dave) },
			"an acknowledgement again":        func() { w.ack(phone, id) },
			"a rejection too late":            func() { w.reject(phone, id, delivery.ReasonOther) },
			"a withdrawal again":              func() { w.withdraw(phone, items[1]) },
			"a publication again":             func() { w.publish(phone, items...) },
			"posting again":                   func() { w.post(bob, waiting, hold) },
			"an inventory":                    func() { w.inventory(phone) },
			"a listing":                       func() { w.list("alice") },
			"the devices":                     func() { w.devices("alice") },
			"an outcome":                      func() { w.outcome(bob, id) },
			"statistics":                      func() { w.stats() },
			"readiness":                       func() { w.must(w.store.Ready(w.ctx)) },
			"a cancellation by another":       func() { w.store.Cancel(w.ctx, carol, id) },
			"a reservation of nobody":         func() { w.reserve(bob, delivery.ReserveRequest{Users: []delivery.UserID{"erin"}}) },
			"a refused publication":           func() { refused(w.store.Publish(w.ctx, self(phone), phone, items[:2])) },
			"a refused sync":                  func() { refused(w.store.Sync(w.ctx, self(phone), phone, delivery.Digest{}, nil)) },
			"a refused withdrawal":            func() { refused(nil, w.store.Withdraw(w.ctx, self(phone), phone, items[0].Ref)) },
			"a refused acknowledgement":       func() { refused(nil, w.store.Acknowledge(w.ctx, self(phone), phone, welcomeID{1}, "")) },
			"removing an unknown device":      func() { w.must(w.store.RemoveDevice(w.ctx, self(dave), dave)) },
			"what became of a KeyPackage":     func() { w.states(delivery.Consumed, items[0]) },
			"replacing by what is there":      func() { w.replace(phone, 0, items[3], items[4]) },
			"an idle claim with other limits": func() { w.claim(phone, atMost(1), bytesAtMost(1), holding(), skip(id)) },
		} {
			w.idle(what, f)
		}
	}},
	{"an event whose caller is gone has happened or has not", func(w *world) {
		items := w.shelf(phone, 5)
		given, held := w.consume(phone, items[0]), w.post(bob, welcome(items[1]), hold).ID
		waiting := w.send(carol, items[2])
		gone, cancel := context.WithCancel(w.ctx)
		cancel()
		fresh := keyPackage()
		digest := w.inventory(phone).Digest
		for what, event := range map[string]func() error{
			"publish":  func() error { _, err := w.store.Publish(gone, self(phone), phone, []kp{fresh}); return err },
			"replace":  func() error { _, err := w.store.Replace(gone, self(phone), phone, 0, []kp{fresh}); return err },
			"sync":     func() error { _, err := w.store.Sync(gone, self(phone), phone, digest, nil); return err },
			"withdraw": func() error { return w.store.Withdraw(gone, self(phone), phone, items[3].Ref) },
			"reserve":  func() error { _, err := w.store.Reserve(gone, bob, alice); return err },
			"post": func() error {
				_, err := w.store.Post(gone, bob, delivery.Posting{Welcome: welcome(items[4])})
				return err
			},
			"release":     func() error { _, err := w.store.Release(gone, bob, held); return err },
			"cancel":      func() error { _, err := w.store.Cancel(gone, carol, waiting); return err },
			"claim":       func() error { _, err := w.store.Claim(gone, self(phone), phone, claimOptions()); return err },
			"acknowledge": func() error { return w.store.Acknowledge(gone, self(phone), phone, given, "") },
			"reject": func() error {
				_, err := w.store.Reject(gone, self(phone), phone, given, "", delivery.ReasonOther, "")
				return err
			},
			"remove": func() error { return w.store.RemoveDevice(gone, self(phone), phone) },
		} {
			before, commits := census(w.stats()), w.commits()
			if err := event(); errors.Is(err, context.Canceled) {
				same(w, what+" changed", census(w.stats()), before)
				same(w, what+" committed", w.commits(), commits)
			} else if errors.Is(err, delivery.ErrOutcomeUnknown) {
				w.t.Fatalf("%s: %v", what, err)
			} // else it was too late to stop it, or one before it
		}
	}},
	{"a closed store says so", func(w *world) {
		k := w.one(phone)
		w.must(w.store.Close())
		_, err := w.store.Publish(w.ctx, self(phone), phone, []kp{keyPackage()})
		w.refused(err, delivery.ErrClosed)
		_, err = w.store.Claim(w.ctx, self(phone), phone, claimOptions())
		w.refused(err, delivery.ErrClosed)
		_, err = w.store.List(w.ctx, bob, "alice", delivery.ListOptions{Limit: 1, Bytes: 1})
		w.refused(err, delivery.ErrClosed)
		w.refused(w.store.Ready(w.ctx), delivery.ErrClosed)
		w.store.Store = w.fixture.Open(w.t, w.clock, w.limits)
		w.states(delivery.Available, k)
	}},
	{"a store that works has not failed", func(w *world) {
		w.shelf(phone, 1)
		select {
		case <-w.store.Failed():
			w.t.Fatal("failed")
		default:
		}
	}},
}

// recipientTimes is all that is told of the recipients.
func recipientTimes(o delivery.Outcome) []string {
	var lines []string
	for _, r := range o.Recipients {
		line := r.Ref.String() + " " + string(r.Status) + " " + string(r.Reason) + " " + r.Detail
		if r.Device != nil {
			line += " " + r.Device.String()
		}
		for _, t := range []time.Time{o.PostedAt, r.ReleasedAt, r.DeliveredAt, r.WithheldAt, r.EndedAt} {
			line += " " + t.UTC().Format(time.RFC3339)
		}
		lines = append(lines, line)
	}
	return lines
}
