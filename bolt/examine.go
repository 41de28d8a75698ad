package bolt

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"welcomed/delivery"
	"welcomed/progress"
	"welcomed/store"
)

// Examine checks every page and every row of the file at path, which no process may have open.
// It checks that each row can be read and lies where it should, that each index agrees with the
// rows, that the counters are right, and that states do not contradict each other. It changes
// nothing. It returns an error if it could not check the file.
func Examine(ctx context.Context, path string, opts store.CheckOptions) (*store.Report, error) {
	r := &store.Report{}
	err := withFile(path, true, opts.Progress, func(db *bbolt.DB, rows int64) error {
		return db.View(func(tx *bbolt.Tx) error { return examine(ctx, tx, r, opts, rows) })
	})
	if lost(path, err) {
		r, err = lostReport(err), nil
	}
	return r, err
}

// lost reports whether err means that the last commit is not on the disk as a whole, and that
// the one before is.
func lost(path string, err error) bool {
	damaged := errors.Is(err, errLostCommit) || errors.Is(err, berrors.ErrInvalid) || errors.Is(err, store.ErrCorrupt)
	return damaged && soundBehind(path)
}

func lostReport(why error) *store.Report {
	text := fmt.Sprintf("%v: the state before the last commit is there", cmp.Or(errors.Unwrap(why), why))
	return &store.Report{Found: 1, Repairable: 1, LostCommit: true, Findings: []store.Finding{{Text: text, Repairable: true}}}
}

// examine is Examine in a transaction. rows is how many rows the file has.
func examine(ctx context.Context, tx *bbolt.Tx, r *store.Report, opts store.CheckOptions, rows int64) error {
	*r = store.Report{Repaired: r.Repaired, Copy: r.Copy}
	if err := store.Recovering(func() error { _, err := readMeta(tx); return err }); err != nil {
		return err
	}
	if err := wholeCommit(tx); err != nil {
		return err
	}
	opts.Progress.Begin("looking at pages", progress.Items, 0)
	for err := range tx.Check() {
		r.Add(opts, store.Finding{Text: fmt.Sprintf("%v: welcomed compact writes a file without it if all rows can be read", err)})
	}
	opts.Progress.Begin("checking rows", progress.Items, rows)
	_, err := checkRows(ctx, tx, r, opts)
	return err
}

// checkRows checks all rows of a file, and returns the functions that repair them.
func checkRows(ctx context.Context, tx *bbolt.Tx, r *store.Report, opts store.CheckOptions) (fixes []func(*store.Txn), err error) {
	f, log, err := snapshot(tx, delivery.DefaultLimits())
	if err != nil {
		return nil, err
	}
	if !wholeLog(tx, log) {
		return nil, errLostCommit
	}
	f.file.strays(func(key []byte) {
		r.Add(opts, store.Finding{Text: fmt.Sprintf("row %x is of no kind that there is", key)})
	})
	return f.Check(ctx, r, opts)
}
