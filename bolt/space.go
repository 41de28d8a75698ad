package bolt

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"syscall"

	berrors "go.etcd.io/bbolt/errors"

	"welcomed/delivery"
)

const (
	// headroom is what payloads leave free, in bytes, or a quarter of the size
	// limit or of the disk: what claims, settlements and sweeps need to go on.
	headroom = 8 << 20
	// allocateStep is how much more the file is given at a time than is needed.
	allocateStep = 4 << 20
)

var (
	// errNoAllocation: this file system cannot be told to set blocks aside.
	errNoAllocation = errors.New("blocks cannot be set aside")
	// errNotSetAside: the disk failed to. How long the file is on it is not known, and
	// no later sync makes sure of that: what is committed to the end of the file may be
	// gone after a power cut.
	errNotSetAside = errors.New("the disk failed when blocks were set aside")
)

// A space is the room behind the used part of the file. Its blocks are allocated before they
// are needed. So a claim finds room for its pages although other programs fill the disk; a
// claim makes room again. If the file system cannot allocate blocks, the free space of the disk
// counts instead.
type space struct {
	file      *os.File
	limit     int64 // of the file; 0: none
	step      int64 // how much more is set aside than is needed
	allocated int64 // up to here the file has its blocks
}

// behind returns how many bytes behind used can certainly be written. Before that it tries to
// make them need. The only error is errNotSetAside.
func (s *space) behind(used, need int64) (int64, error) {
	if have := s.allocated - used; have >= need {
		return have, nil
	}
	free, _ := diskSpace(s.file)
	for _, size := range []int64{need + s.step, need} {
		if s.limit > 0 {
			size = min(size, s.limit-used)
		}
		// A disk that has not so much is not asked: it would look for it.
		if more := used + size - max(s.allocated, used); more <= 0 || more > free {
			continue
		}
		switch err := s.allocate(used, size); {
		case err == nil:
			s.allocated = used + size
			return size, nil
		case errors.Is(err, errNoAllocation):
			return free, nil
		case errors.Is(err, errNotSetAside):
			return 0, err
		}
	}
	return max(0, s.allocated-used), nil
}

// allocate allocates blocks, and makes the new length of the file durable.
func (s *space) allocate(from, size int64) error {
	err := allocate(s.file, from, size)
	failed := errors.Is(err, syscall.EIO)
	if err == nil {
		err = s.file.Sync()
		failed = err != nil && !noRoom(err)
	}
	if failed {
		return fmt.Errorf("%w: %v", errNotSetAside, err)
	}
	return err
}

// headroom is how much room payloads have to leave free.
func (s *space) headroom() int64 {
	_, total := diskSpace(s.file)
	room := min(headroom, total/4)
	if s.limit > 0 {
		room = min(room, s.limit/4)
	}
	return room
}

// hasRoom returns nil if a payload is admitted. Under the size limit and on the disk, there
// has to be room for the payload twice, and for the headroom. admitted has the bytes that were
// admitted to the same transaction before.
func (c *committer) hasRoom(admitted, cost int) error {
	if limit := c.store.opts.MaxSize; limit > 0 && c.store.room() < int64(2*(admitted+cost))+c.headroom {
		return fmt.Errorf("%w: little is left of its %d bytes", delivery.ErrSizeLimit, limit)
	}
	if free := c.store.freeBytes(); free < int64(2*(admitted+cost))+c.headroom {
		need := int64(2*(admitted+cost)) + c.headroom - free
		room, err := c.setAside(need)
		if err != nil {
			return delivery.ErrOutcomeUnknown
		}
		if room < need {
			return fmt.Errorf("%w: it is the disk of %s", delivery.ErrDiskFull, c.store.path)
		}
	}
	return nil
}

// keepHeadroom allocates what claims, settlements and sweeps need, if the disk has it. If it
// returns an error, the store has ended.
func (c *committer) keepHeadroom() error {
	if need := c.headroom - c.store.freeBytes(); need > 0 {
		_, err := c.setAside(need)
		return err
	}
	return nil
}

// setAside returns how much room there is behind the file. Before that it tries to make it
// need. If it returns an error, the store has ended.
func (c *committer) setAside(need int64) (int64, error) {
	room, err := c.space.behind(c.store.fileSize.Load(), need)
	if err != nil {
		_ = c.fail(fmt.Errorf("%w: %s: %w", delivery.ErrOutcomeUnknown, c.store.path, err))
	}
	return room, err
}

// room returns how many bytes more certainly fit under the size limit. bbolt makes the file
// grow by more than it needs, and refuses if that does not fit.
func (s *Store) room() int64 {
	return s.opts.MaxSize - int64(s.db.AllocSize) - s.fileSize.Load() + s.freeBytes()
}

func (s *Store) freeBytes() int64 { return int64(s.db.Stats().FreePageN) * pageSize }

// Stats implements delivery.Store.
func (s *Store) Stats(ctx context.Context) (stats delivery.Stats, err error) {
	stats, err = s.Store.Stats(ctx)
	file := s.db.Stats()
	stats.FreeBytes = int64(file.FreePageN+file.PendingPageN) * pageSize
	stats.UsedBytes = s.fileSize.Load() - stats.FreeBytes
	stats.LimitBytes = s.opts.MaxSize
	stats.OpenReads = file.OpenTxN
	if stats.DiskFreeBytes, _ = diskSpace(s.file); stats.DiskFreeBytes == unknownSpace {
		stats.DiskFreeBytes = -1
	}
	return stats, err
}

// noRoom reports whether a write failed because the disk, a quota or the size limit is reached.
// If the file could not grow, bbolt keeps only the text of the error.
func noRoom(err error) bool {
	if errors.Is(err, berrors.ErrMaxSizeReached) {
		return true
	}
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, errno) || strings.HasSuffix(err.Error(), errno.Error()) {
			return true
		}
	}
	return false
}

// full turns the error of a full disk into the one that other layers know.
func full(err error) error {
	if err != nil && noRoom(err) {
		return fmt.Errorf("%w: %w", delivery.ErrFull, err)
	}
	return err
}

// unknownSpace is assumed of a file system that does not say how much is free.
const unknownSpace = math.MaxInt64 / 4
