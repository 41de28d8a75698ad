package bolt

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/store"
)

// A History is a file that no server serves, opened to be read. It implements
// delivery.Histories. It writes nothing, and nothing ends because its time has come.
type History struct {
	path    string
	opts    Options
	db      *bbolt.DB
	changed *rowMap // above the rows bucket
	state   state
	of      *store.Store
	// Restored: the file is a copy that no server has opened, so its shelves will
	// be retired by the first that does.
	Restored bool
}

var _ delivery.Histories = (*History)(nil)

// OpenHistory opens the file for reading. While it is open, no server can open it.
func OpenHistory(path string, opts Options) (_ *History, err error) {
	if err := present(path); err != nil {
		return nil, err
	}
	if opts.Clock == nil {
		opts.Clock = delivery.SystemClock()
	}
	db, err := openToRead(path)
	if err != nil {
		return nil, openError(path, err)
	}
	h := &History{path: path, opts: opts, db: db}
	if err := store.Recovering(h.load); err != nil {
		db.Close()
		return nil, openError(path, err)
	}
	return h, nil
}

func openToRead(path string) (db *bbolt.DB, err error) {
	if err := checkWhole(path); err != nil {
		return nil, err
	}
	defer refusing(&err)
	return bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PageSize: pageSize, Timeout: time.Second})
}

// load reads the log and the rows that are needed to read others.
func (h *History) load() error {
	return h.db.View(func(tx *bbolt.Tx) error {
		f, _, err := snapshot(tx, h.opts.Limits)
		if err != nil {
			return err
		}
		h.state, h.changed, h.Restored = f.file.state, f.file.changed, f.meta.Restored
		guard := delivery.NewClockGuard(h.opts.Clock, h.state.seen, h.opts.TrustClock)
		h.of = store.New(readOnly{h}, store.Options{Limits: h.opts.Limits, Guard: guard, Meta: f.meta.Meta})
		return nil
	})
}

// Close closes the file.
func (h *History) Close() error { return h.db.Close() }

// readOnly is the engine of a History.
type readOnly struct{ *History }

// Do implements store.Engine.
func (readOnly) Do(context.Context, *store.Event) error { return delivery.ErrClosed }

// Peek implements store.Engine.
func (h readOnly) Peek(ctx context.Context, fn func(*store.Txn) error) error { return h.View(ctx, fn) }

// View implements store.Engine.
func (h readOnly) View(ctx context.Context, fn func(*store.Txn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := store.Recovering(func() error {
		return h.db.View(func(tx *bbolt.Tx) error {
			f := &fileTxn{file: fileRows{tx: tx, changed: h.changed, state: h.state}}
			h.of.Begin(&f.Txn, &f.file, h.state.seen)
			return fn(&f.Txn)
		})
	})
	if err != nil && err != delivery.ErrNotFound {
		err = fmt.Errorf("read database %s: %w", h.path, err)
	}
	return err
}

// Tokens returns the tokens of an owner, like Store.Tokens.
func (h *History) Tokens(ctx context.Context, within delivery.TokenOwner) ([]delivery.Token, error) {
	return h.of.Tokens(ctx, within)
}

// RestoredAt returns when shelves were last retired because the file was a copy; zero if never.
func (h *History) RestoredAt(ctx context.Context) (time.Time, error) { return h.of.RestoredAt(ctx) }

// UserHistory implements delivery.Histories.
func (h *History) UserHistory(ctx context.Context, user delivery.UserID, most int) (delivery.UserHistory, error) {
	return h.of.UserHistory(ctx, user, most)
}

// DeviceHistory implements delivery.Histories.
func (h *History) DeviceHistory(ctx context.Context, id delivery.DeviceID, most int) (delivery.DeviceHistory, error) {
	return h.of.DeviceHistory(ctx, id, most)
}

// KeyPackageHistory implements delivery.Histories.
func (h *History) KeyPackageHistory(ctx context.Context, ref mls.KeyPackageRef, most int) (delivery.KeyPackageHistory, error) {
	return h.of.KeyPackageHistory(ctx, ref, most)
}

// WelcomeHistory implements delivery.Histories.
func (h *History) WelcomeHistory(ctx context.Context, id delivery.WelcomeID, most int) (delivery.WelcomeHistory, error) {
	return h.of.WelcomeHistory(ctx, id, most)
}
