package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/progress"
	"welcomed/safefile"
	"welcomed/store"
)

// compactBytes is how much one transaction of a compaction writes.
const compactBytes = 8 << 20

// Compact writes the rows of the file from into a new file to, without the room that deletions
// have left. It only reads from, which no process may have open. If it returns nil, the new
// file is on the disk and was checked. Only the bytes of KeyPackages are copied without a
// check. After an error there is no file to. p may be nil.
func Compact(ctx context.Context, from, to string, p *progress.Progress) (err error) {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("compact to %s: %w", to, errors.Join(err, fs.ErrExist))
	}
	return compactTo(ctx, from, to, store.CheckOptions{Progress: p, Copied: true})
}

// CompactInPlace replaces the file by a compacted one. The old file stays until the new one is
// on the disk and was checked, and stays after an error. A server that is started meanwhile
// finds the file in use.
func CompactInPlace(ctx context.Context, path string, p *progress.Progress) error {
	return compactTo(ctx, path, path, store.CheckOptions{Progress: p})
}

// compactTo keeps the source locked until the new file has its name.
func compactTo(ctx context.Context, from, to string, check store.CheckOptions) (err error) {
	p := check.Progress
	if err := present(from); err != nil {
		return err
	}
	rows, err := checkTree(from, p)
	if err != nil {
		return openError(from, err)
	}
	source, err := openFile(from, Options{LockTimeout: lockTimeout, readOnly: from != to})
	if err != nil {
		return openError(from, err)
	}
	defer source.Close()
	part := to + ".compact" + safefile.PartSuffix
	defer os.Remove(part)
	p.Begin("copying rows", progress.Items, rows)
	if err := compactInto(ctx, source, part, p); err != nil {
		return fmt.Errorf("compact %s to %s: %w", from, to, full(err))
	}
	check.Most = 1
	report, err := Examine(ctx, part, check)
	if err == nil {
		err = report.Err()
	}
	if err != nil {
		return fmt.Errorf("what was made of %s is not used: %w", from, err)
	}
	return safefile.Rename(part, to)
}

// compactInto makes a file with the mode of the old one.
func compactInto(ctx context.Context, source *bbolt.DB, path string, p *progress.Progress) error {
	info, err := os.Stat(source.Path())
	if err != nil {
		return err
	}
	target, err := makeFile(path, info.Mode().Perm(), Options{LockTimeout: lockTimeout})
	if err != nil {
		return err
	}
	target.NoSync = true     // one sync at the end is enough
	target.NoGrowSync = true // and the file is to be no larger than it has to be
	err = source.View(func(tx *bbolt.Tx) error { return copyRows(ctx, tx, target, p) })
	return errors.Join(err, target.Sync(), target.Close())
}

// copyRows copies all rows in the order of their keys, so that every page is full. It copies
// changed rows as they are now, and leaves the log behind.
func copyRows(ctx context.Context, source *bbolt.Tx, target *bbolt.DB, p *progress.Progress) error {
	from, log, err := snapshot(source, delivery.DefaultLimits())
	if err != nil {
		return err
	}
	return store.Recovering(func() error {
		state := from.file.state
		state.merged = log.next()
		for _, b := range buckets {
			c := &copier{ctx: ctx, target: target, bucket: b, progress: p}
			if err := c.copy(&from.file); err != nil {
				return err
			}
		}
		return target.Update(func(tx *bbolt.Tx) error {
			meta := tx.Bucket(bucketMeta.name)
			return errors.Join(meta.Put(keyState, state.encode()), meta.Put(keyCommit, encodeCommit(tx, state.merged)))
		})
	})
}

// A copier fills one bucket of a new file.
type copier struct {
	ctx      context.Context
	target   *bbolt.DB
	bucket   *bucket
	progress *progress.Progress
	rows     [][2][]byte // not written yet
	bytes    int
}

func (c *copier) copy(from *fileRows) error {
	rows := from.cursor(c.bucket)
	defer rows.Close()
	for c.bucket != bucketLog {
		k, v := rows.Next()
		if k == nil {
			break
		}
		c.rows = append(c.rows, [2][]byte{k, v})
		if c.bytes += len(k) + len(v); c.bytes >= compactBytes {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return c.flush()
}

func (c *copier) flush() error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	err := c.target.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(c.bucket.name)
		if err != nil {
			return err
		}
		b.FillPercent = 1
		for _, row := range c.rows {
			if err := b.Put(row[0], row[1]); err != nil {
				return err
			}
		}
		return nil
	})
	c.progress.Add(int64(len(c.rows)))
	c.rows, c.bytes = c.rows[:0], 0
	return err
}
