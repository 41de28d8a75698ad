package bolt

import (
	"context"
	"errors"

	"welcomed/delivery"
)

// An Event is one decision. An engine runs it in a transaction that it may share with
// others. It decides before it writes: when Run returns an error it has written nothing,
// so that one refusal never undoes a neighbour.
type Event struct {
	// Cost is how many bytes of payload it brings, about.
	Cost int
	// Look finds out on a snapshot what there is to do, however much has to be read for
	// that, and reports whether it changes anything: what changes nothing never becomes a
	// transaction that writes. A nil Look always changes something.
	Look func(*txn) (changes bool, err error)
	// Run carries it out and reads only what it changes. If it finds that something has
	// changed on which Look relied, it returns ErrMoved, and Look is called again. An
	// engine that has done so a few times calls both in one transaction that writes, so
	// that the event comes to an end. Run may be called more than once, also without a
	// Look in between, and has to begin afresh each time.
	Run func(*txn) error
	// Revokes is what Run revokes, as Look has found. An engine that keeps this in a place
	// of its own, too, has it there before it calls Run.
	Revokes []revocation
}

// ErrMoved: what an event has found when it looked has changed since.
var ErrMoved = errors.New("what was looked at has changed since")

// run runs an event that has nothing to look at before.
func (s *Store) run(ctx context.Context, fn func(*txn) error) error {
	return s.Do(ctx, &Event{Run: fn})
}

// settled returns after all that was seen until now is durable.
func (s *Store) settled(ctx context.Context) error {
	return s.View(ctx, func(*txn) error { return nil })
}

// viewCommitted reads what an event of this call has committed. The caller may
// be gone, but not the commit: if it cannot be read, the outcome is unknown to
// the caller, who may repeat the event.
func (s *Store) viewCommitted(ctx context.Context, fn func(*txn) error) error {
	err := s.View(context.WithoutCancel(ctx), fn)
	if errors.Is(err, delivery.ErrClosed) {
		return delivery.ErrOutcomeUnknown
	}
	return err
}

// as returns fn for a caller whose credentials have not outlived their device.
func as(caller delivery.Caller, fn func(*txn) error) func(*txn) error {
	return func(t *txn) error {
		if err := t.permit(caller); err != nil {
			return err
		}
		return fn(t)
	}
}

// permit refuses a caller with credentials of a device that was removed after they had
// been issued.
func (t *txn) permit(caller delivery.Caller) error {
	if caller.Bound.IsZero() || caller.Device == "" {
		return nil
	}
	removed := t.removedAt(delivery.DeviceID{User: caller.User, Name: caller.Device})
	if removed.After(t.now) {
		removed = t.now // as putRight will say after the next commit
	}
	if caller.Outlived(removed) {
		return delivery.ErrDeviceRemoved
	}
	return nil
}

// peekAs, viewAs and doAs are Peek, View and Do for a caller. Each method of
// delivery.Store that has a caller goes through one of them.
func (s *Store) peekAs(ctx context.Context, caller delivery.Caller, fn func(*txn) error) error {
	if err := caller.Valid(); err != nil {
		return err
	}
	return s.Peek(ctx, as(caller, fn))
}

func (s *Store) viewAs(ctx context.Context, caller delivery.Caller, fn func(*txn) error) error {
	if err := caller.Valid(); err != nil {
		return err
	}
	return s.View(ctx, as(caller, fn))
}

func (s *Store) doAs(ctx context.Context, caller delivery.Caller, e *Event) error {
	if err := caller.Valid(); err != nil {
		return err
	}
	look := e.Look
	e.Look = func(t *txn) (changes bool, err error) {
		if err := t.permit(caller); err != nil {
			return false, err
		}
		return look(t)
	}
	e.Run = as(caller, e.Run)
	return s.Do(ctx, e)
}
