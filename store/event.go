package store

import (
	"context"
	"crypto/cipher"
	"errors"
	"sync"
	"time"

	"welcomed/delivery"
)

// An Event is one decision. An engine may run several events in one transaction. So an event
// decides before it writes: if Run returns an error, it has written nothing, and the refusal of
// one event does not undo the others.
type Event struct {
	// Cost is how many bytes of payload it brings, about.
	Cost int
	// Look finds out on a snapshot what there is to do, however much has to be read for
	// that, and reports whether it changes anything: what changes nothing never becomes a
	// transaction that writes. A nil Look always changes something.
	Look func(*Txn) (changes bool, err error)
	// Run carries it out and reads only what it changes. If it finds that something has
	// changed on which Look relied, it returns ErrMoved, and Look is called again. An
	// engine that has done so a few times calls both in one transaction that writes, so
	// that the event comes to an end. Run may be called more than once, also without a
	// Look in between, and has to begin afresh each time.
	Run func(*Txn) error
	// Revokes is what Run revokes, as Look has found. An engine that keeps this in a place
	// of its own, too, has it there before it calls Run.
	Revokes []Revocation
}

// ErrMoved: what an event found when it looked has changed since.
var ErrMoved = errors.New("what was looked at has changed since")

// An Engine keeps rows, and runs the functions that read and change them.
type Engine interface {
	// Do runs an event and returns after all that it saw and did is durable. An error
	// says that nothing was done, unless it is delivery.ErrOutcomeUnknown.
	Do(ctx context.Context, e *Event) error
	// View runs fn on a snapshot and returns after all that it saw is durable.
	View(ctx context.Context, fn func(*Txn) error) error
	// Peek runs fn on a snapshot, and does not wait until what it saw is durable.
	Peek(ctx context.Context, fn func(*Txn) error) error
}

// A Store decides every event over an engine, and does not know which one. With an engine's
// Ready, Failed and Close it is a delivery.Store.
type Store struct {
	engine       Engine
	name         string
	limits       delivery.Limits
	guard        *delivery.ClockGuard
	kept         func() time.Time // see Options; may be nil
	observe      func(delivery.DamagedPart)
	meta         Meta
	watches      watches
	hints        [len(channels)]hintsKept
	restore      delivery.Restore
	cursors      cipher.Block // of events
	branchBegins uint64

	walkMu sync.Mutex
	walk   shelfWalk
	idle   idleWalk

	pendingMu   sync.Mutex
	pendingFrom uint64 // where oldestPending starts
}

// Options are the settings of a Store.
type Options struct {
	Name   string // of the database, for the operator
	Limits delivery.Limits
	// Guard tells the time. Without one nothing can be decided: what is there is only
	// looked at, or repaired, as of the latest time that it has seen.
	Guard *delivery.ClockGuard
	// Kept, if not nil, returns the time that the database has kept last as having come for
	// certain. An engine that several processes may open has it: each learns from it what
	// the others have found out about the clock.
	Kept func() time.Time
	Meta Meta // of the rows
	// ObserveDamage, if not nil, is told of every row that was found damaged, once what
	// ends because of it is durable.
	ObserveDamage func(delivery.DamagedPart)
}

// New returns a store over an engine. The engine calls Start when it can run events.
func New(engine Engine, o Options) *Store {
	return &Store{engine: engine, name: o.Name, limits: o.Limits, guard: o.Guard, kept: o.Kept, meta: o.Meta, observe: o.ObserveDamage}
}

// Meta returns the Meta of the rows.
func (s *Store) Meta() Meta { return s.meta }

// Time implements delivery.Store.
func (s *Store) Time() delivery.ClockReading {
	if s.kept != nil {
		s.guard.Saw(s.kept())
	}
	return s.guard.Look()
}

// run runs an event that has no look.
func (s *Store) run(ctx context.Context, fn func(*Txn) error) error {
	return s.engine.Do(ctx, &Event{Run: fn})
}

// settled returns when everything that was seen until now is durable.
func (s *Store) settled(ctx context.Context) error {
	return s.engine.View(ctx, func(*Txn) error { return nil })
}

// viewCommitted reads what an event of this call has committed. Nothing can undo the commit,
// also if the caller is gone. If the read fails, the outcome is unknown to the caller, who may
// repeat the event.
func (s *Store) viewCommitted(ctx context.Context, fn func(*Txn) error) error {
	err := s.engine.View(context.WithoutCancel(ctx), fn)
	if errors.Is(err, delivery.ErrClosed) {
		return delivery.ErrOutcomeUnknown
	}
	return err
}

// as makes fn refuse a caller whose credentials are from before the removal of its device.
func as(caller delivery.Caller, fn func(*Txn) error) func(*Txn) error {
	return func(t *Txn) error {
		if err := t.permit(caller); err != nil {
			return err
		}
		return fn(t)
	}
}

// permit refuses a caller whose credentials were issued to a device before it was removed.
func (t *Txn) permit(caller delivery.Caller) error {
	if caller.Bound.IsZero() || caller.Device == "" {
		return nil
	}
	id := delivery.DeviceID{User: caller.User, Name: caller.Device}
	t.aheadOfCaller(id)
	removed := t.removedAt(id)
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
func (s *Store) peekAs(ctx context.Context, caller delivery.Caller, fn func(*Txn) error) error {
	if err := caller.Valid(); err != nil {
		return err
	}
	return s.engine.Peek(ctx, as(caller, fn))
}

func (s *Store) viewAs(ctx context.Context, caller delivery.Caller, fn func(*Txn) error) error {
	if err := caller.Valid(); err != nil {
		return err
	}
	return s.engine.View(ctx, as(caller, fn))
}

func (s *Store) doAs(ctx context.Context, caller delivery.Caller, e *Event) error {
	if err := caller.Valid(); err != nil {
		return err
	}
	look := e.Look
	e.Look = func(t *Txn) (changes bool, err error) {
		if err := t.permit(caller); err != nil {
			return false, err
		}
		return look(t)
	}
	e.Run = as(caller, e.Run)
	return s.engine.Do(ctx, e)
}
