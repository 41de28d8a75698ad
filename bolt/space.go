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

// A space is the room behind what is used of the file. Its blocks are set aside
// before they are needed: on a disk that others fill too, a claim finds pages
// to make room with. Where that is impossible, what the disk has free counts.
type space struct {
	file      *os.File
	limit     int64 // of the file; 0: none
	allocated int64 // up to here the file has its blocks
}

// behind returns how many bytes behind used are certain to be writable, after
// trying to make them need. The only error is errNotSetAside.
func (s *space) behind(used, need int64) (int64, error) {
	if have := s.allocated - used; have >= need {
		return have, nil
	}
	free, _ := diskSpace(s.file)
	for _, size := range []int64{need + allocateStep, need} {
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

// allocate sets blocks aside and makes the length of the file durable.
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

// headroom is what payloads leave free.
func (s *space) headroom() int64 {
	_, total := diskSpace(s.file)
	room := min(headroom, total/4)
	if s.limit > 0 {
		room = min(room, s.limit/4)
	}
	return room
}

// A payload is admitted while there is room for it twice, and the headroom
// behind it, under the size limit and on the disk. What was admitted before to
// the same transaction comes to admitted bytes.
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

// keepHeadroom sets aside what claims, settlements and sweeps need, if the disk
// has it. An error has ended the store.
func (c *committer) keepHeadroom() error {
	if need := c.headroom - c.store.freeBytes(); need > 0 {
		_, err := c.setAside(need)
		return err
	}
	return nil
}

// setAside returns how much room there is behind the file, after trying to make it
// need. An error has ended the store.
func (c *committer) setAside(need int64) (int64, error) {
	room, err := c.space.behind(c.store.fileSize.Load(), need)
	if err != nil {
		_ = c.fail(fmt.Errorf("%w: %s: %w", delivery.ErrOutcomeUnknown, c.store.path, err))
	}
	return room, err
}

// room is how much more certainly fits under the size limit, in bytes: bbolt
// has the file grow by more than it needs, and refuses if that does not fit.
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

// noRoom reports whether a write was refused because the disk, a quota or the
// size limit is reached. Of what fails when the file grows, bbolt keeps only the
// words.
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

// full calls a disk that is full what it is called elsewhere.
func full(err error) error {
	if err != nil && noRoom(err) {
		return fmt.Errorf("%w: %w", delivery.ErrFull, err)
	}
	return err
}

// unknownSpace is what is assumed of a disk that does not say.
const unknownSpace = math.MaxInt64 / 4
