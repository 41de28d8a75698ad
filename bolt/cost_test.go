package bolt

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/store"
)

// wait for events, not for time: the writer is kept busy while others are asked.
func keepBusy(t *testing.T, s *Store) (release func()) {
	t.Helper()
	entered, end, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.writer.do(context.WithoutCancel(t.Context()), 0, func(*store.Txn) error { close(entered); <-end; return nil })
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
