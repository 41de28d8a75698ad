package bolt

import (
	"cmp"
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/progress"
)

// repairRounds bounds how often a file is repaired and checked again.
const repairRounds = 50

// Repair repairs what Examine calls repairable in the file at path, which nobody
// has open: indices, counts and timers are made what the rows say, and bytes that
// nothing refers to are removed. What is damaged ends as a server ends it that comes
// across it: see delivery.Store. Nothing else is made or removed. A copy of the file is kept first. Each round of repairs is one
// transaction and takes nothing for granted from the one before, so that a crash
// does no harm. The report says what is left.
func Repair(ctx context.Context, path string, opts CheckOptions) (*Report, error) {
	r := &Report{}
	err := r.repairFile(ctx, path, opts)
	if !lost(path, err) {
		return r, err
	}
	kept, err := stepBack(ctx, path, opts.Progress)
	if err != nil {
		return r, openError(path, err)
	}
	*r = Report{Copy: kept, Repaired: 1}
	err = r.repairFile(ctx, path, opts)
	r.LostCommit = true
	return r, err
}

func (r *Report) repairFile(ctx context.Context, path string, opts CheckOptions) error {
	return withFile(path, false, opts.Progress, func(db *bbolt.DB, rows int64) error {
		if err := db.View(func(tx *bbolt.Tx) error { return r.examine(ctx, tx, opts, rows) }); err != nil || r.Repairable == 0 {
			return err
		}
		kept, err := keepCopy(db, path+".before-repair")
		if err != nil {
			return fmt.Errorf("a copy could not be kept, and nothing was repaired: %w", full(err))
		}
		r.Copy = cmp.Or(r.Copy, kept)
		return full(r.repair(ctx, db, opts, rows))
	})
}

func (r *Report) repair(ctx context.Context, db *bbolt.DB, opts CheckOptions, rows int64) error {
	for round := 0; r.Repairable > 0 && round < repairRounds; round++ {
		fixed := 0
		err := db.Update(func(tx *bbolt.Tx) error {
			opts.Progress.Begin("repairing rows", progress.Items, rows)
			var round Report
			fixes, err := checkRows(ctx, tx, &round, opts)
			if err == nil {
				fixed = len(fixes)
				err = recovering(func() error { return applyFixes(tx, fixes) })
			}
			return err
		})
		if err != nil {
			return err
		}
		r.Repaired += fixed
		if err := db.View(func(tx *bbolt.Tx) error { return r.examine(ctx, tx, opts, rows) }); err != nil {
			return err
		}
	}
	return nil
}

// applyFixes writes what repairs a file, in the way of an event: what changes in
// rows goes to the log.
func applyFixes(tx *bbolt.Tx, fixes []func(*txn)) error {
	f, log, err := snapshot(tx, delivery.DefaultLimits())
	if err != nil {
		return err
	}
	for _, fix := range fixes {
		fix(&f.txn)
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
