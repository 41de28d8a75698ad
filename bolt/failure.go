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

// holding calls fn, which has bbolt take locks. If that panics, they are held
// for ever: the store has failed, and nobody may ask bbolt for anything again.
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

// unreadable is what a caller is told of a fault.
func (s *Store) unreadable(err error) error {
	if s.writer.broken() {
		return delivery.ErrOutcomeUnknown
	}
	return cmp.Or(s.checkPlace(), fmt.Errorf("read %s: %w", s.path, err))
}

// lock has nobody ask bbolt for anything any more.
func (c *committer) lock() { c.lockedOnce.Do(func() { close(c.locked) }) }

// isLocked reports whether bbolt may not be asked any more.
func (c *committer) isLocked() bool {
	select {
	case <-c.locked:
		return true
	default:
		return false
	}
}

// fail has the store end because of cause.
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

// commitFailed tells a transaction that certainly is not in the file from one
// that may be. The meta page is written last: if there was no room and the file
// still shows the one before, nothing of the transaction is visible and the
// callers may try again. After any other error nobody can say what a later sync
// would bring to the disk.
func (c *committer) commitFailed(id uint64, cause error) error {
	if noRoom(cause) && c.visible() < id {
		if errors.Is(cause, berrors.ErrMaxSizeReached) {
			return fmt.Errorf("%w: %v", delivery.ErrSizeLimit, cause)
		}
		return fmt.Errorf("%w: %v", delivery.ErrDiskFull, cause)
	}
	return c.fail(fmt.Errorf("%w: the last commit to %s failed (%v); start again to see what is in it", delivery.ErrOutcomeUnknown, c.store.path, cause))
}

// notWitnessed ends the store because its last commit is not to be found in the file. If
// only the meta page cannot be read, nobody else has written to it, and what the next
// start finds is what was committed.
func (c *committer) notWitnessed(cause error) error {
	if errors.Is(cause, errNotLast) {
		return c.store.overwritten()
	}
	if c.store.checkPlace() != nil && c.broken() { // it was cut short
		return delivery.ErrOutcomeUnknown
	}
	return c.fail(fmt.Errorf("%w: the last commit to %s cannot be read again (%v); start again to see what is in it", delivery.ErrOutcomeUnknown, c.store.path, cause))
}

// visible returns the transaction that a reader sees now.
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

// checkPlace looks whether the file is where it was opened, and whole. In one
// that was removed or replaced nothing is written any more: it would be gone
// after the next start. It can be put back, or copied while the process lives.
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
