package bolt

import (
	"context"
	"errors"
	"sync"

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

// An Engine keeps rows, and runs what reads and changes them.
type Engine interface {
	// Do runs an event and returns after all that it saw and did is durable. An error
	// says that nothing was done, unless it is delivery.ErrOutcomeUnknown.
	Do(ctx context.Context, e *Event) error
	// View runs fn on a snapshot and returns after all that it saw is durable.
	View(ctx context.Context, fn func(*txn) error) error
	// Peek runs fn on a snapshot, and does not wait until what it saw is durable.
	Peek(ctx context.Context, fn func(*txn) error) error
}

// decisions decide every event of a store, and say in what rows things are kept. They know
// an engine, and not which one.
type decisions struct {
	engine        Engine
	name          string // for the operator
	limits        delivery.Limits
	guard         *delivery.ClockGuard
	observeDamage func(delivery.DamagedPart) // may be nil
	watches       watches

	format     uint32 // of the rows
	restore    delivery.Restore
	summedFrom uint64 // the first Welcome whose rows have checksums

	walkMu sync.Mutex
	walk   shelfWalk
	idle   idleWalk

	pendingMu   sync.Mutex
	pendingFrom uint64 // where oldestPending starts
}

// Time implements delivery.Store.
func (s *decisions) Time() delivery.ClockReading { return s.guard.Look() }

// run runs an event that has nothing to look at before.
func (s *decisions) run(ctx context.Context, fn func(*txn) error) error {
	return s.engine.Do(ctx, &Event{Run: fn})
}

// settled returns after all that was seen until now is durable.
func (s *decisions) settled(ctx context.Context) error {
	return s.engine.View(ctx, func(*txn) error { return nil })
}

// viewCommitted reads what an event of this call has committed. The caller may
// be gone, but not the commit: if it cannot be read, the outcome is unknown to
// the caller, who may repeat the event.
func (s *decisions) viewCommitted(ctx context.Context, fn func(*txn) error) error {
	err := s.engine.View(context.WithoutCancel(ctx), fn)
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
func (s *decisions) peekAs(ctx context.Context, caller delivery.Caller, fn func(*txn) error) error {
	if err := caller.Valid(); err != nil {
		return err
	}
	return s.engine.Peek(ctx, as(caller, fn))
}

func (s *decisions) viewAs(ctx context.Context, caller delivery.Caller, fn func(*txn) error) error {
	if err := caller.Valid(); err != nil {
		return err
	}
	return s.engine.View(ctx, as(caller, fn))
}

func (s *decisions) doAs(ctx context.Context, caller delivery.Caller, e *Event) error {
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
	return s.engine.Do(ctx, e)
}
