package bolt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// wait for events, not for time: the writer is kept busy while others are asked.
func keepBusy(t *testing.T, s *Store) (release func()) {
	t.Helper()
	entered, end, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.writer.do(context.WithoutCancel(t.Context()), 0, func(*txn) error { close(entered); <-end; return nil })
	}()
	<-entered
	return func() { close(end); must(t, <-done) }
}

// A costWorld is a store in which each event has happened once.
type costWorld struct {
	t             *testing.T
	s             *Store
	ann, self     delivery.Caller
	id            delivery.DeviceID
	items         []delivery.NewKeyPackage
	sent, settled delivery.Posting // sent is released
	inventory     delivery.Inventory
	reserve       delivery.ReserveRequest
}

func newCostWorld(t *testing.T) *costWorld {
	w := &costWorld{t: t, s: openTest(t), ann: delivery.Caller{User: "ann"}, id: deviceNo(0)}
	w.self = delivery.Caller{User: w.id.User, Device: w.id.Name}
	w.items = randomItems(5)
	w.items[4].LastResort = true
	_, err := w.s.Publish(t.Context(), w.self, w.id, w.items)
	must(t, err)
	w.sent = delivery.Posting{Welcome: parsedWelcome(t, w.items[0].Ref), Hold: true}
	_, err = w.s.Post(t.Context(), w.ann, w.sent)
	must(t, err)
	_, err = w.s.Release(t.Context(), w.ann, w.idOf(w.sent))
	must(t, err)
	w.settled = delivery.Posting{Welcome: parsedWelcome(t, w.items[1].Ref)}
	_, err = w.s.Post(t.Context(), w.ann, w.settled)
	must(t, err)
	_, err = w.s.Claim(t.Context(), w.self, w.id, delivery.ClaimOptions{})
	must(t, err)
	must(t, w.s.Acknowledge(t.Context(), w.self, w.id, w.idOf(w.settled), ""))
	_, err = w.s.Cancel(t.Context(), w.ann, w.idOf(w.settled))
	must(t, err)
	must(t, w.s.Withdraw(t.Context(), w.self, w.id, w.items[2].Ref))
	w.reserve = delivery.ReserveRequest{Users: []delivery.UserID{w.id.User}, IdempotencyKey: "once"}
	_, err = w.s.Reserve(t.Context(), w.ann, w.reserve)
	must(t, err)
	_, err = w.s.Reserve(t.Context(), w.ann, delivery.ReserveRequest{Users: []delivery.UserID{w.id.User}}) // the last resort
	must(t, err)
	// The first one decides that what is reserved does not come back to this shelf.
	_, err = w.s.Replace(t.Context(), w.self, w.id, 0, w.items[4:])
	must(t, err)
	w.inventory, err = w.s.Inventory(t.Context(), w.self, w.id)
	must(t, err)
	return w
}

func parsedWelcome(t *testing.T, refs ...mls.KeyPackageRef) *mls.Welcome {
	t.Helper()
	w, err := mls.ParseWelcome(mlstest.Welcome(1, refs...))
	must(t, err)
	return w
}

func (w *costWorld) idOf(p delivery.Posting) delivery.WelcomeID {
	return delivery.IDOf(w.ann, p.Welcome.Bytes())
}

// TestWhatChangesNothingLeavesTheWriterAlone: what a caller has answered as often as
// they like, whatever it costs to find out, nobody else waits for.
func TestWhatChangesNothingLeavesTheWriterAlone(t *testing.T) {
	w := newCostWorld(t)
	ctx := t.Context()
	release := keepBusy(t, w.s)
	defer release()
	for sentence, event := range map[string]struct {
		do   func() error
		want error
	}{
		"a publication of what is known": {func() error { _, err := w.s.Publish(ctx, w.self, w.id, w.items); return err }, nil},
		"a publication of another's":     {func() error { _, err := w.s.Publish(ctx, w.ann, deviceNo(1), w.items); return err }, delivery.ErrNotYours},
		"a publication that is refused": {func() error {
			item := randomItems(1)
			item[0].InitKey = w.items[0].InitKey
			_, err := w.s.Publish(ctx, w.self, w.id, item)
			return err
		}, delivery.ErrKeyPackageSpent},
		"a replacement by what is there":   {func() error { _, err := w.s.Replace(ctx, w.self, w.id, 0, w.items[4:]); return err }, nil},
		"a replacement of nothing":         {func() error { _, err := w.s.Replace(ctx, w.self, deviceNo(1), 0, nil); return err }, nil},
		"a sync in step":                   {func() error { _, err := w.s.Sync(ctx, w.self, w.id, w.inventory.Digest, w.inventory.Refs); return err }, nil},
		"a sync of another inventory":      {func() error { _, err := w.s.Sync(ctx, w.self, w.id, delivery.Digest{}, nil); return err }, delivery.ErrInventoryChanged},
		"a withdrawal again":               {func() error { return w.s.Withdraw(ctx, w.self, w.id, w.items[2].Ref) }, nil},
		"a withdrawal of what is consumed": {func() error { return w.s.Withdraw(ctx, w.self, w.id, w.items[0].Ref) }, delivery.ErrConsumed},
		"a withdrawal of what is not here": {func() error { return w.s.Withdraw(ctx, w.self, w.id, randomItems(1)[0].Ref) }, delivery.ErrNotFound},
		"a reservation again": {func() error {
			r, err := w.s.Reserve(ctx, w.ann, w.reserve)
			if err == nil && (!r.Repeated || len(r.Users[0].Devices[0].KeyPackage.Bytes) == 0) {
				err = fmt.Errorf("answered %+v", r)
			}
			return err
		}, nil},
		"another reservation with its key": {func() error {
			_, err := w.s.Reserve(ctx, w.ann, delivery.ReserveRequest{IdempotencyKey: "once"})
			return err
		}, delivery.ErrIdempotencyKeyReused},
		"a reservation of nobody": {func() error {
			_, err := w.s.Reserve(ctx, w.ann, delivery.ReserveRequest{Users: []delivery.UserID{"nobody"}, Devices: []delivery.DeviceID{{User: "nobody", Name: "phone"}, {User: w.id.User, Name: "none"}}})
			return err
		}, nil},
		"a reservation of a last resort that was handed out before": {func() error {
			r, err := w.s.Reserve(ctx, w.ann, delivery.ReserveRequest{Users: []delivery.UserID{w.id.User}})
			if err == nil && len(r.Users[0].Devices[0].KeyPackage.Bytes) == 0 {
				err = fmt.Errorf("answered %+v", r)
			}
			return err
		}, nil},
		"a reservation of too many": {func() error {
			_, err := w.s.Reserve(ctx, w.ann, delivery.ReserveRequest{Devices: make([]delivery.DeviceID, 1), Users: make([]delivery.UserID, 1001)})
			return err
		}, delivery.ErrTooMany},
		"a Welcome again": {func() error { _, err := w.s.Post(ctx, w.ann, w.sent); return err }, nil},
		"a Welcome for nobody": {func() error {
			_, err := w.s.Post(ctx, w.ann, delivery.Posting{Welcome: parsedWelcome(t, w.items[0].Ref)})
			return err
		}, delivery.ErrNoMatchingKeyPackage},
		"a dry run": {func() error {
			_, err := w.s.Post(ctx, w.ann, delivery.Posting{Welcome: parsedWelcome(t, w.items[4].Ref), DryRun: true})
			return err
		}, nil},
		"a release again":           {func() error { _, err := w.s.Release(ctx, w.ann, w.idOf(w.sent)); return err }, nil},
		"a release of a cancelled":  {func() error { _, err := w.s.Release(ctx, w.ann, w.idOf(w.settled)); return err }, delivery.ErrCancelled},
		"a cancellation again":      {func() error { _, err := w.s.Cancel(ctx, w.ann, w.idOf(w.settled)); return err }, nil},
		"a claim of what was given": {func() error { _, err := w.s.Claim(ctx, w.self, w.id, delivery.ClaimOptions{}); return err }, nil},
		"an acknowledgement again":  {func() error { return w.s.Acknowledge(ctx, w.self, w.id, w.idOf(w.settled), "") }, nil},
		"a rejection after it": {func() error {
			_, err := w.s.Reject(ctx, w.self, w.id, w.idOf(w.settled), "", delivery.ReasonOther, "")
			return err
		}, nil},
		"an acknowledgement of nothing": {func() error { return w.s.Acknowledge(ctx, w.self, w.id, delivery.WelcomeID{}, "") }, delivery.ErrNotFound},
		"a revocation of no token":      {func() error { return w.s.RevokeToken(ctx, delivery.TokenOwner{}, "none") }, delivery.ErrNotFound},
		"a removal of no device":        {func() error { return w.s.RemoveDevice(ctx, w.self, deviceNo(1)) }, nil},
		"a removal of no user":          {func() error { return w.s.RemoveUser(ctx, w.ann, "nobody") }, nil},
	} {
		if err := event.do(); !errors.Is(err, event.want) {
			t.Errorf("%s: %v", sentence, err)
		}
	}
}

// TestTheWriterReadsWhatItChanges: what an event reads inside the writer goes with what
// it changes, and not with what its user has had.
func TestTheWriterReadsWhatItChanges(t *testing.T) {
	const removed, spent, waiting = 2000, 4000, 1000
	var reads, writes int
	var took time.Duration
	limits := delivery.DefaultLimits()
	limits.PendingPerDevice, limits.PendingPerPoster, limits.KeyPackagesPerPublish = 2*waiting, 2*waiting, 2*waiting
	limits.KeyPackagesPerDevice, limits.KeyPackagesPerUser = 4*waiting, 4*waiting
	s, err := Open(filepath.Join(t.TempDir(), "w.db"), Options{Limits: limits, observeEvent: func(r, w int, d time.Duration) { reads, writes, took = reads+r, writes+w, took+d }})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	ctx, id, ann := t.Context(), deviceNo(0), delivery.Caller{User: "ann"}
	self := delivery.Caller{User: id.User, Device: id.Name}
	items := randomItems(40)
	items[39].LastResort = true
	must(t, s.writer.do(ctx, 0, func(t *txn) error {
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
	mails := randomItems(2 * waiting)
	_, err = s.Publish(ctx, self, id, mails)
	must(t, err)
	var sent []delivery.WelcomeID
	send := func(items []delivery.NewKeyPackage) {
		must(t, s.writer.do(ctx, 0, func(t *txn) error {
			for i := range items {
				w, err := mls.ParseWelcome(mlstest.Welcome(1, items[i].Ref))
				if err != nil {
					return err
				}
				p, no := delivery.Posting{Welcome: w}, delivery.IDOf(ann, w.Bytes())
				if _, err := t.post(ann, no, nil, p, newShares()); err != nil {
					return err
				}
				sent = append(sent, no)
			}
			return nil
		}))
	}
	send(mails[:waiting])
	for range waiting / 100 {
		_, err = s.Claim(ctx, self, id, delivery.ClaimOptions{Max: 100, Skip: sent[:0]})
		must(t, err)
	}
	send(mails[waiting:])
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
			r, err := s.Claim(ctx, self, id, delivery.ClaimOptions{Max: 10, Refs: refsOf(mails[waiting+10:])})
			if err == nil && r.NewlyWithheld == 0 {
				err = fmt.Errorf("nothing is withheld")
			}
			return err
		}},
		{"a claim when they are withheld", func() error {
			_, err := s.Claim(ctx, self, id, delivery.ClaimOptions{Max: 1, Refs: refsOf(mails[waiting+20:])})
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
		reads, writes, took = 0, 0, 0
		must(t, event.do())
		t.Logf("%s: %d rows read, %d written in %s", event.sentence, reads, writes, took.Round(time.Microsecond))
		if reads > 2*writes+20 {
			t.Errorf("%s read %d rows in the writer and wrote %d", event.sentence, reads, writes)
		}
	}
}

func refsOf(items []delivery.NewKeyPackage) (refs []mls.KeyPackageRef) {
	for _, item := range items {
		refs = append(refs, item.Ref)
	}
	return refs
}

func deviceOf(user delivery.UserID, name string) delivery.DeviceID {
	return delivery.DeviceID{User: user, Name: name}
}

// TestASweepReadsInTheWriterWhatItEnds: a device may have thousands of KeyPackages,
// tombstones and Welcomes of which one is due.
func TestASweepReadsInTheWriterWhatItEnds(t *testing.T) {
	const many = 3000
	var reads, writes int
	var took time.Duration
	clock := storetest.NewClock()
	limits := delivery.DefaultLimits()
	limits.KeyPackagesPerDevice, limits.KeyPackagesPerUser, limits.KeyPackagesPerPublish = 2*many, 2*many, 2*many
	s, err := Open(filepath.Join(t.TempDir(), "w.db"), Options{Limits: limits, Clock: clock, observeEvent: func(r, w int, d time.Duration) { reads, writes, took = reads+r, writes+w, took+d }})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	ctx, id := t.Context(), deviceNo(0)
	self := delivery.Caller{User: id.User, Device: id.Name}
	first := randomItems(3)
	_, err = s.Publish(ctx, self, id, first)
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
		reads, writes, took = 0, 0, 0
		swept, err := s.Sweep(ctx)
		must(t, err)
		t.Logf("a sweep of %d that retire and %d that expire: %d rows read, %d written in %s", swept.Retired, swept.Expired, reads, writes, took.Round(time.Microsecond))
		if reads > 3*writes+50 {
			t.Errorf("a sweep read %d rows in the writer and wrote %d: %+v", reads, writes, swept)
		}
	}
}
