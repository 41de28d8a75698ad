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

// Repair repairs what Examine calls repairable in the file at path, which no process may have
// open. It corrects indices, counters and timers by the rows, and removes bytes to which no row
// refers. It ends what is damaged, as a server does that finds it: see delivery.Store. It makes
// and removes nothing else. It keeps a copy of the file first. Each round is one transaction,
// which checks everything anew, so a crash does no harm. The report says what is left.
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

// applyFixes runs the functions that repair a file, as an event would: changes of rows go to
// the log.
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

// withFile calls do with a file that no other process has open, after it has checked that its
// pages are consistent. rows is how many rows the file has.
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
