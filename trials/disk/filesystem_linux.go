//go:build linux && (amd64 || arm64)

package disk

import (
	"bytes"
	"context"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	block = 4096
	// capacity is what the disk says it has, in blocks.
	capacity = 1 << 30 / block
)

// A filesystem is one directory of files.
type filesystem struct {
	fs.Inode

	mu      sync.Mutex
	fault   Fault
	ops     int
	journal []Op
	inodes  uint64
}

var _ = interface {
	fs.NodeCreater
	fs.NodeFsyncer
	fs.NodeGetattrer
	fs.NodeRenamer
	fs.NodeStatfser
	fs.NodeUnlinker
}((*filesystem)(nil))

// do counts op, lets the fault decide, and keeps op in the journal. change makes
// it happen.
func (s *filesystem) do(op Op, fresh bool, change func(Op)) (Op, syscall.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ops++
	errno, short := s.fault.strike(s.ops, op.Kind, fresh)
	if short {
		op.Data = op.Data[:len(op.Data)/2/sector*sector]
	}
	op.Err = errno
	s.journal = append(s.journal, op)
	if errno == 0 {
		change(op)
	}
	return op, errno
}

func (s *filesystem) dead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault.Failure == Dies && s.ops >= s.fault.At
}

func (s *filesystem) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode = 0o700
	return 0
}

func (s *filesystem) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	f := &file{disk: s, mode: mode & 0o777, blocks: make(map[int64]bool)}
	_, errno := s.do(Op{Kind: Create, Name: name, File: s.inodes + 1}, true, func(op Op) {
		s.inodes = op.File
		f.number = op.File
	})
	if errno != 0 {
		return nil, nil, 0, errno
	}
	out.Mode = f.mode
	return s.NewPersistentInode(ctx, f, fs.StableAttr{Mode: syscall.S_IFREG}), nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (s *filesystem) Unlink(_ context.Context, name string) syscall.Errno {
	_, errno := s.do(Op{Kind: Remove, Name: name}, false, func(Op) {})
	return errno
}

func (s *filesystem) Rename(_ context.Context, name string, _ fs.InodeEmbedder, to string, _ uint32) syscall.Errno {
	_, errno := s.do(Op{Kind: Rename, Name: name, To: to}, false, func(Op) {})
	return errno
}

func (s *filesystem) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	_, errno := s.do(Op{Kind: SyncDirectory}, false, func(Op) {})
	return errno
}

func (s *filesystem) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Bsize, out.Frsize, out.Blocks, out.NameLen = block, block, capacity, 255
	out.Bfree, out.Bavail = capacity, capacity
	if (s.fault.Failure == NoSpace || s.fault.Failure == Full) && s.ops >= s.fault.At {
		out.Bfree, out.Bavail = 0, 0
	}
	return 0
}

// A file is in memory, with a note of the blocks that it has.
type file struct {
	fs.Inode
	disk   *filesystem
	number uint64

	mu     sync.Mutex
	mode   uint32
	data   []byte
	blocks map[int64]bool
}

var _ = interface {
	fs.NodeOpener
	fs.NodeReader
	fs.NodeWriter
	fs.NodeFsyncer
	fs.NodeSetattrer
	fs.NodeGetattrer
	fs.NodeAllocater
}((*file)(nil))

func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attributes(&out.Attr)
	return 0
}

func (f *file) attributes(out *fuse.Attr) {
	out.Mode, out.Size, out.Blocks = f.mode, uint64(len(f.data)), uint64(len(f.blocks))*block/sector
}

func (f *file) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if size, ok := in.GetSize(); ok {
		op := Op{Kind: Truncate, File: f.number, Off: int64(size)}
		if _, errno := f.disk.do(op, false, f.change); errno != 0 {
			return errno
		}
	}
	if mode, ok := in.GetMode(); ok {
		f.mode = mode & 0o777
	}
	f.attributes(&out.Attr)
	return 0
}

func (f *file) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.disk.dead() {
		return nil, syscall.EIO
	}
	n := 0
	if off < int64(len(f.data)) {
		n = copy(dest, f.data[off:])
	}
	return fuse.ReadResultData(dest[:n]), 0
}

func (f *file) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	op := Op{Kind: Write, File: f.number, Off: off, Len: int64(len(data)), Data: bytes.Clone(data)}
	op, errno := f.disk.do(op, f.fresh(off, op.Len), f.change)
	return uint32(len(op.Data)), errno
}

func (f *file) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	_, errno := f.disk.do(Op{Kind: Sync, File: f.number}, false, func(Op) {})
	return errno
}

func (f *file) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if mode != 0 {
		return syscall.EOPNOTSUPP
	}
	op := Op{Kind: Allocate, File: f.number, Off: int64(off), Len: int64(size)}
	_, errno := f.disk.do(op, f.fresh(op.Off, op.Len), f.change)
	return errno
}

// fresh reports whether a write there needs new blocks.
func (f *file) fresh(off, size int64) bool {
	for b := off / block; b*block < off+size; b++ {
		if !f.blocks[b] {
			return true
		}
	}
	return false
}

func (f *file) change(op Op) {
	f.data = applyTo(f.data, op, nil)
	size := op.Len
	switch op.Kind {
	case Truncate:
		return
	case Write:
		size = int64(len(op.Data))
	}
	for b := op.Off / block; b*block < op.Off+size; b++ {
		f.blocks[b] = true
	}
}
