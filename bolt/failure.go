package bolt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"syscall"

	berrors "go.etcd.io/bbolt/errors"

	"welcomed/delivery"
	"welcomed/store"
)

// holding calls fn, in which bbolt takes locks. If fn panics, bbolt keeps these locks for ever.
// Then the store fails, and bbolt may not be called again.
func (c *committer) holding(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if _, fault := p.(interface{ Addr() uintptr }); fault {
				p = store.ErrUnreadable
			}
			c.lock()
			err = c.fail(fmt.Errorf("%w: %s: %v", delivery.ErrOutcomeUnknown, c.store.path, p))
		}
	}()
	return fn()
}

// unreadable returns the error that a caller gets for a page that cannot be read.
func (s *Store) unreadable(err error) error {
	if s.writer.broken() {
		return delivery.ErrOutcomeUnknown
	}
	return cmp.Or(s.checkPlace(), fmt.Errorf("read %s: %w", s.path, err))
}

// lock notes that bbolt may not be called any more.
func (c *committer) lock() { c.lockedOnce.Do(func() { close(c.locked) }) }

// isLocked reports whether bbolt may not be called any more.
func (c *committer) isLocked() bool {
	select {
	case <-c.locked:
		return true
	default:
		return false
	}
}

// fail ends the store because of cause.
func (c *committer) fail(cause error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil {
		c.failure = cause
		c.durableCond.Broadcast()
		close(c.failed)
	}
	return delivery.ErrOutcomeUnknown
}

// commitFailed decides whether a transaction may be in the file although its commit failed. The
// meta page is written last. If there was no room, and the file still shows the transaction
// before, nothing of this one is visible, and the callers may try again. After any other error
// nobody knows what a later sync will write to the disk, so the store ends.
func (c *committer) commitFailed(id uint64, cause error) error {
	if noRoom(cause) && c.visible() < id {
		if errors.Is(cause, berrors.ErrMaxSizeReached) {
			return fmt.Errorf("%w: %v", delivery.ErrSizeLimit, cause)
		}
		return fmt.Errorf("%w: %v", delivery.ErrDiskFull, cause)
	}
	return c.fail(fmt.Errorf("%w: the last commit to %s failed (%v); start again to see what is in it", delivery.ErrOutcomeUnknown, c.store.path, cause))
}

// notWitnessed ends the store because the file does not have its last commit. If the meta page
// could only not be read, no other program has written to the file, and the next start finds
// what was committed.
func (c *committer) notWitnessed(cause error) error {
	if errors.Is(cause, errNotLast) {
		return c.store.overwritten()
	}
	if c.store.checkPlace() != nil && c.broken() { // it was cut short
		return delivery.ErrOutcomeUnknown
	}
	return c.fail(fmt.Errorf("%w: the last commit to %s cannot be read again (%v); start again to see what is in it", delivery.ErrOutcomeUnknown, c.store.path, cause))
}

// visible returns the id of the transaction that a reader sees now.
func (c *committer) visible() (id uint64) {
	if _, err := c.store.readHead(); err != nil {
		return ^uint64(0)
	}
	tx, err := c.store.db.Begin(false)
	if err != nil {
		return ^uint64(0)
	}
	defer tx.Rollback()
	return uint64(tx.ID())
}

// checkPlace checks that the file is where it was opened, and whole. If the file was removed or
// replaced, nothing is written to it any more, because it would be gone after the next start.
// While the process lives, somebody can put it back or copy it.
func (s *Store) checkPlace() error {
	err := s.place()
	s.looker.misplaced(s, err)
	return err
}

// Sweep implements delivery.Store.
func (s *Store) Sweep(ctx context.Context) (delivery.SweepResult, error) {
	if err := s.checkPlace(); err != nil {
		return delivery.SweepResult{}, err
	}
	result, err := s.Store.Sweep(ctx)
	if reading := s.guard.Look(); reading.Doubt() == nil {
		err = errors.Join(err, s.revoked.shorten(reading.Sure))
	}
	return result, err
}

func (s *Store) place() error {
	info, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: %s was removed or renamed; while process %d runs, /proc/%d/fd/%d is the file", delivery.ErrFileGone,
			s.path, os.Getpid(), os.Getpid(), s.file.Fd())
	case err != nil:
		return nil // whoever starts the server again will be told
	case !os.SameFile(info, s.info):
		return fmt.Errorf("%w: %s was replaced by another file; while process %d runs, /proc/%d/fd/%d is the one in use", delivery.ErrFileGone,
			s.path, os.Getpid(), os.Getpid(), s.file.Fd())
	case info.Size() < s.fileSize.Load():
		return s.overwritten()
	}
	return nil
}
