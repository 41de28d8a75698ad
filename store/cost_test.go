package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/archive"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// TestAnEventReadsWhatItChanges: what an event reads when it is run goes with what
// it changes, and not with what its user has had.
func TestAnEventReadsWhatItChanges(t *testing.T) {
	const removed, spent, waiting = 2000, 4000, 1000
	var reads, writes int
	limits := delivery.DefaultLimits()
	limits.PendingPerDevice, limits.PendingPerPoster, limits.KeyPackagesPerPublish = 2*waiting, 2*waiting, 2*waiting
	limits.KeyPackagesPerDevice, limits.KeyPackagesPerUser = 4*waiting, 4*waiting
	s := openWith(t, nil, limits)
	s.observe = func(r, w int) { reads, writes = reads+r, writes+w }
	ctx, id, ann := t.Context(), deviceNo(0), delivery.Caller{User: "ann"}
	self := delivery.Caller{User: id.User, Device: id.Name}
	items := randomItems(40)
	items[39].LastResort = true
	must(t, s.run(ctx, func(t *Txn) error {
		for n := range removed {
			d := t.createDevice(delivery.DeviceID{User: id.User, Name: fmt.Sprint("gone", n)})
			t.removeDevice(d, t.now, t.next())
		}
		d := t.createDevice(id)
		for range spent { // tombstones and init_keys
			if _, err := t.publish(publication{caller: self, id: id, items: randomItems(1)}); err != nil {
				return err
			}
			for _, k := range t.onShelf(d, 0) {
				t.withdrawWith(d, k, nil)
			}
		}
		_, err := t.publish(publication{caller: self, id: id, items: items})
		return err
	}))
	// And Welcomes: as many that wait as are given, so that either are left by a claim.
	recipients := randomItems(2 * waiting)
	_, err := s.Publish(ctx, self, id, recipients)
	must(t, err)
	var sent []delivery.WelcomeID
	send := func(items []delivery.NewKeyPackage) {
		var all []*mls.Welcome
		for _, item := range items {
			all = append(all, parsedWelcome(t, item.Ref))
		}
		must(t, s.run(ctx, func(t *Txn) error {
			for _, w := range all {
				if _, err := t.post(ann, delivery.IDOf(ann, w.Bytes()), nil, delivery.Posting{Welcome: w}, newShares()); err != nil {
					return err
				}
			}
			return nil
		}))
		for _, w := range all {
			sent = append(sent, delivery.IDOf(ann, w.Bytes()))
		}
	}
	send(recipients[:waiting])
	for range waiting / 100 {
		_, err = s.Claim(ctx, self, id, delivery.ClaimOptions{Max: 100, Skip: sent[:0]})
		must(t, err)
	}
	send(recipients[waiting:])
	held := delivery.Posting{Welcome: parsedWelcome(t, items[0].Ref, items[1].Ref, items[39].Ref), Hold: true}
	names := make([]delivery.DeviceID, 500)
	for n := range names {
		names[n] = delivery.DeviceID{User: id.User, Name: fmt.Sprint("none", n)}
	}
	for _, event := range []struct {
		sentence string
		do       func() error
	}{
		{"a publication", func() error { _, err := s.Publish(ctx, self, id, randomItems(1)); return err }},
		{"a first publication of another device", func() error { _, err := s.Publish(ctx, self, deviceOf(id.User, "new"), randomItems(1)); return err }},
		{"a reservation of names that nobody has", func() error {
			_, err := s.Reserve(ctx, ann, delivery.ReserveRequest{Devices: append(names, id)})
			return err
		}},
		{"a Welcome", func() error { _, err := s.Post(ctx, self, held); return err }},
		{"a release", func() error { _, err := s.Release(ctx, self, delivery.IDOf(self, held.Welcome.Bytes())); return err }},
		{"a cancellation", func() error { _, err := s.Cancel(ctx, self, delivery.IDOf(self, held.Welcome.Bytes())); return err }},
		{"a claim of one of many that wait", func() error {
			r, err := s.Claim(ctx, self, id, delivery.ClaimOptions{Max: 1})
			if err == nil && len(r.Deliveries) != 1 {
				err = fmt.Errorf("given %d", len(r.Deliveries))
			}
			return err
		}},
		{"a claim by a device that holds few keys", func() error { // all others are withheld
			r, err := s.Claim(ctx, self, id, delivery.ClaimOptions{Max: 10, Refs: refsOf(recipients[waiting+10:])})
			if err == nil && r.NewlyWithheld == 0 {
				err = fmt.Errorf("nothing is withheld")
			}
			return err
		}},
		{"a claim when they are withheld", func() error {
			_, err := s.Claim(ctx, self, id, delivery.ClaimOptions{Max: 1, Refs: refsOf(recipients[waiting+20:])})
			return err
		}},
		{"an acknowledgement", func() error { return s.Acknowledge(ctx, self, id, sent[0], "") }},
		{"a rejection", func() error { _, err := s.Reject(ctx, self, id, sent[1], "", delivery.ReasonOther, ""); return err }},
		{"a cancellation of one of many", func() error { _, err := s.Cancel(ctx, ann, sent[len(sent)-1]); return err }},
		{"a withdrawal", func() error { return s.Withdraw(ctx, self, id, items[10].Ref) }},
		{"a sync", func() error {
			inventory, err := s.Inventory(ctx, self, id)
			must(t, err)
			kept := slices.DeleteFunc(inventory.Refs, func(ref mls.KeyPackageRef) bool { return ref == items[11].Ref })
			result, err := s.Sync(ctx, self, id, inventory.Digest, kept)
			if err == nil && len(result.Withdrawn) != 1 {
				err = fmt.Errorf("%d withdrawn", len(result.Withdrawn))
			}
			return err
		}},
		{"a removal", func() error { return s.RemoveDevice(ctx, self, id) }},
		{"a first publication after it", func() error { _, err := s.Publish(ctx, self, id, randomItems(1)); return err }},
		{"a removal of the user", func() error { return s.RemoveUser(ctx, self, id.User) }},
	} {
		reads, writes = 0, 0
		must(t, event.do())
		t.Logf("%s: %d rows read, %d written", event.sentence, reads, writes)
		if reads > 2*writes+20 {
			t.Errorf("%s read %d rows when it was run and wrote %d", event.sentence, reads, writes)
		}
	}
}

// TestASweepReadsWhatItEnds: a device may have thousands of KeyPackages,
// tombstones and Welcomes of which one is due.
func TestASweepReadsWhatItEnds(t *testing.T) {
	const many = 3000
	var reads, writes int
	clock := storetest.NewClock()
	limits := delivery.DefaultLimits()
	limits.KeyPackagesPerDevice, limits.KeyPackagesPerUser, limits.KeyPackagesPerPublish = 2*many, 2*many, 2*many
	s := openWith(t, clock, limits)
	s.observe = func(r, w int) { reads, writes = reads+r, writes+w }
	ctx, id := t.Context(), deviceNo(0)
	self := delivery.Caller{User: id.User, Device: id.Name}
	first := randomItems(3)
	_, err := s.Publish(ctx, self, id, first)
	must(t, err)
	must(t, s.Withdraw(ctx, self, id, first[0].Ref)) // a tombstone that goes first
	clock.Advance(20 * 24 * time.Hour)
	items := randomItems(many)
	_, err = s.Publish(ctx, self, id, items)
	must(t, err)
	for _, item := range items[:many/2] {
		must(t, s.Withdraw(ctx, self, id, item.Ref))
	}
	for _, at := range []time.Duration{25 * 24 * time.Hour, 50 * 24 * time.Hour, 30 * 24 * time.Hour} {
		clock.Advance(at)
		reads, writes = 0, 0
		swept, err := s.Sweep(ctx)
		must(t, err)
		t.Logf("a sweep of %d that retire and %d that expire: %d rows read, %d written", swept.Retired, swept.Expired, reads, writes)
		if reads > 3*writes+50 {
			t.Errorf("a sweep read %d rows when it was run and wrote %d: %+v", reads, writes, swept)
		}
	}
}

// TestASweepOfOneWelcomeIsInParts: a Welcome may have thousands of recipients and a tree of
// megabytes. No transaction of a sweep puts away or forgets all of them, and between two of
// them the rows are sound and the Welcome is there wholly or not at all.
func TestASweepOfOneWelcomeIsInParts(t *testing.T) {
	const recipients = 2600
	clock, memory := storetest.NewClock(), NewMemory()
	limits := delivery.DefaultLimits()
	limits.KeyPackagesPerDevice, limits.KeyPackagesPerUser, limits.KeyPackagesPerPublish = recipients, recipients, recipients
	limits.PendingPerDevice, limits.PendingPerPoster, limits.OpenPerDevice = recipients, recipients, recipients
	limits.PendingBytesPerDevice, limits.PendingBytesPerPoster = 1<<40, 1<<40
	s, err := memory.Open(clock, false, Options{Limits: limits})
	must(t, err)
	ctx, id := t.Context(), deviceNo(0)
	self := delivery.Caller{User: id.User, Device: id.Name}
	items := randomItems(recipients)
	_, err = s.Publish(ctx, self, id, items)
	must(t, err)
	posting := delivery.Posting{Welcome: parsedWelcome(t, refsOf(items)...), RatchetTree: mlstest.Random(3 << 20), RequireAll: true}
	_, err = s.Post(ctx, ann, posting)
	must(t, err)
	welcome := delivery.IDOf(ann, posting.Welcome.Bytes())
	_, err = s.Cancel(ctx, ann, welcome)
	must(t, err)
	s.observe = func(_, writes int) {
		if writes > 2*sweepWrites {
			t.Errorf("%d rows are written in one transaction", writes)
		}
	}
	for _, kind := range []byte{timerEnded, timerForget} {
		swept, parts := delivery.SweepResult{}, 0
		for _, w := range sweepers {
			for more := w.kind == kind; more; parts++ {
				moved := 0
				more, _, err = s.sweepBatch(ctx, w, w.batch, &moved, &swept)
				must(t, err)
				sound(t, memory)
				must(t, s.View(ctx, func(x *Txn) error {
					return x.Export(ctx, false, nil, func(archive.Record) error { return nil })
				}))
				outcome, err := s.Outcome(ctx, ann, welcome)
				if kind == timerForget && !errors.Is(err, delivery.ErrNotFound) || kind == timerEnded && (err != nil || len(outcome.Recipients) != recipients) {
					t.Errorf("after part %d of kind %d the outcome has %d recipients, %v", parts, kind, len(outcome.Recipients), err)
				}
			}
		}
		if parts < 4 {
			t.Errorf("timers of kind %d fire in %d parts", kind, parts)
		}
		clock.Advance(limits.OutcomesKept + 24*time.Hour)
	}
	must(t, s.View(ctx, func(x *Txn) error {
		if left := len(x.keys(kindWelcomes, nil, 0)) + len(x.keys(kindPosted, nil, 0)) + len(x.keys(kindWelcomeIDs, nil, 0)); left > 0 {
			t.Errorf("%d rows are left", left)
		}
		return nil
	}))
}
