package bolt

import (
	"cmp"
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/progress"
	"welcomed/store"
)

// repairRounds bounds how often a file is repaired and checked again.
const repairRounds = 50

// Repair repairs what Examine calls repairable in the file at path, which nobody
// has open: indices, counts and timers are made what the rows say, and bytes that
// nothing refers to are removed. What is damaged ends as a server ends it that comes
// across it: see delivery.Store. Nothing else is made or removed. A copy of the file is kept first. Each round of repairs is one
// transaction and takes nothing for granted from the one before, so that a crash
// does no harm. The report says what is left.
func Repair(ctx context.Context, path string, opts store.CheckOptions) (*store.Report, error) {
	r := &store.Report{}
	err := repairFile(ctx, path, r, opts)
	if !lost(path, err) {
		return r, err
	}
	kept, err := stepBack(ctx, path, opts.Progress)
	if err != nil {
		return r, openError(path, err)
	}
	*r = store.Report{Copy: kept, Repaired: 1}
	err = repairFile(ctx, path, r, opts)
	r.LostCommit = true
	return r, err
}

func repairFile(ctx context.Context, path string, r *store.Report, opts store.CheckOptions) error {
	return withFile(path, false, opts.Progress, func(db *bbolt.DB, rows int64) error {
		if err := db.View(func(tx *bbolt.Tx) error { return examine(ctx, tx, r, opts, rows) }); err != nil || r.Repairable == 0 {
			return err
		}
		kept, err := keepCopy(db, path+".before-repair")
		if err != nil {
			return fmt.Errorf("a copy could not be kept, and nothing was repaired: %w", full(err))
		}
		r.Copy = cmp.Or(r.Copy, kept)
		return full(repair(ctx, db, r, opts, rows))
	})
}

func repair(ctx context.Context, db *bbolt.DB, r *store.Report, opts store.CheckOptions, rows int64) error {
	for round := 0; r.Repairable > 0 && round < repairRounds; round++ {
		fixed := 0
		err := db.Update(func(tx *bbolt.Tx) error {
			opts.Progress.Begin("repairing rows", progress.Items, rows)
			var round store.Report
			fixes, err := checkRows(ctx, tx, &round, opts)
			if err == nil {
				fixed = len(fixes)
				err = store.Recovering(func() error { return applyFixes(tx, fixes) })
			}
			return err
		})
		if err != nil {
			return err
		}
		r.Repaired += fixed
		if err := db.View(func(tx *bbolt.Tx) error { return examine(ctx, tx, r, opts, rows) }); err != nil {
			return err
		}
	}
	return nil
}

// applyFixes writes what repairs a file, in the way of an event: what changes in
// rows goes to the log.
func applyFixes(tx *bbolt.Tx, fixes []func(*store.Txn)) error {
	f, log, err := snapshot(tx, delivery.DefaultLimits())
	if err != nil {
		return err
	}
	for _, fix := range fixes {
		fix(&f.Txn)
	}
	return f.flush(log, func() int { return 0 })
}

// withFile has do look at a file that nobody else has open and whose pages hang
// together. rows is how many it has.
func withFile(path string, readOnly bool, p *progress.Progress, do func(db *bbolt.DB, rows int64) error) error {
	if err := present(path); err != nil {
		return err
	}
	rows, err := checkTree(path, p)
	if err != nil {
		return openError(path, err)
	}
	db, err := openFile(path, Options{LockTimeout: lockTimeout, readOnly: readOnly})
	if err != nil {
		return openError(path, err)
	}
	defer db.Close()
	if err := do(db, rows); err != nil {
		return openError(path, err)
	}
	return db.Close()
}
