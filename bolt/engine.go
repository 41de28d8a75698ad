package bolt

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"welcomed/delivery"
	"welcomed/store"
)

// looks is how often an event looks outside the writer. After that it looks in the writer.
const looks = 3

// Do runs an event, and returns when everything that it saw and did is durable.
func (s *Store) Do(ctx context.Context, e *store.Event) error {
	if e.Look == nil {
		return s.writer.do(ctx, e.Cost, e.Run)
	}
	w := writingDown{store: s}
	for range looks {
		changes := false
		seen, err := s.read(ctx, func(t *store.Txn) (err error) { changes, err = e.Look(t); return err })
		if err != nil || !changes {
			if waitErr := s.writer.wait(seen); waitErr != nil {
				err = waitErr
			}
			return w.end(err)
		}
		if len(e.Revokes) > 0 {
			// What is written down happens, also if its caller is gone by now.
			ctx = context.WithoutCancel(ctx)
			if err := w.write(e.Revokes); err != nil {
				return w.end(err)
			}
		}
		if err := s.writer.do(ctx, e.Cost, e.Run); !errors.Is(err, store.ErrMoved) {
			return w.end(err)
		}
	}
	return w.end(s.writer.do(ctx, e.Cost, func(t *store.Txn) error {
		if changes, err := e.Look(t); err != nil || !changes {
			return err
		}
		if len(e.Revokes) > 0 {
			if err := w.write(e.Revokes); err != nil {
				return err
			}
		}
		return e.Run(t)
	}))
}

// View runs fn on a snapshot, and returns when everything that fn saw is durable.
func (s *Store) View(ctx context.Context, fn func(*store.Txn) error) error {
	seen, err := s.read(ctx, fn)
	if waitErr := s.writer.wait(seen); waitErr != nil {
		return waitErr
	}
	return err
}

// Peek runs fn on a snapshot. It does not wait until what fn saw is durable.
func (s *Store) Peek(ctx context.Context, fn func(*store.Txn) error) error {
	_, err := s.read(ctx, fn)
	return err
}

// read runs fn on a snapshot. It returns the id of the transaction that fn saw, which may not
// be durable yet.
func (s *Store) read(ctx context.Context, fn func(*store.Txn) error) (seen uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if s.writer.isLocked() {
		return 0, delivery.ErrOutcomeUnknown
	}
	if err := s.unchanged(); err != nil {
		return 0, err
	}
	var tx *bbolt.Tx
	var rows *rowMap
	err = s.writer.holding(func() error { tx, rows, err = s.beginRead(); return err })
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return 0, delivery.ErrClosed
	}
	if errors.Is(err, delivery.ErrOutcomeUnknown) {
		return 0, err
	}
	if err != nil {
		return 0, fmt.Errorf("begin a read: %w", err)
	}
	err = s.newTxn(tx, rows).run(s, fn)
	seen = uint64(tx.ID())
	_ = tx.Rollback()
	if changed := s.unchanged(); changed != nil {
		return 0, changed
	}
	return seen, err
}

// run is Run, with an error of its own for a page that cannot be read.
func (f *fileTxn) run(s *Store, fn func(*store.Txn) error) error {
	err := f.Run(fn)
	if errors.Is(err, store.ErrUnreadable) {
		return s.unreadable(err)
	}
	return err
}

// A layer has the changed rows above the buckets of one transaction of the file.
type layer struct {
	id   uint64
	rows *rowMap
}

// beginRead returns a transaction, and the changed rows above its buckets.
func (s *Store) beginRead() (*bbolt.Tx, *rowMap, error) {
	for {
		before := s.layers.Load()
		tx, err := s.db.Begin(false)
		if err != nil {
			return nil, nil, err
		}
		after := s.layers.Load()
		for _, l := range after {
			if l.id == uint64(tx.ID()) {
				return tx, l.rows, nil
			}
		}
		_ = tx.Rollback()
		if before == after { // and not two commits that came between
			return nil, nil, s.overwritten()
		}
	}
}
