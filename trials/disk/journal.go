package disk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"syscall"
)

// A Kind is what a program can do to a disk.
type Kind uint8

const (
	Write Kind = iota
	Sync
	Truncate
	Allocate
	Create
	Rename
	Remove
	SyncDirectory
)

func (k Kind) String() string {
	return [...]string{"write", "sync", "truncate", "allocate", "create", "rename", "remove", "sync of the directory"}[k]
}

// An Op is one operation of a program. With an Err it was refused.
type Op struct {
	Kind     Kind
	File     uint64
	Off, Len int64  // Truncate: Off is the new size
	Data     []byte // of Write: as much as was taken
	Name, To string // of the operations on the directory
	Err      syscall.Errno
}

func (o Op) String() string {
	return fmt.Sprintf("%s of file %d at %d, %d bytes, %s%s: %d", o.Kind, o.File, o.Off, o.Len, o.Name, o.To, o.Err)
}

// sector is what a disk writes as a whole.
const sector = 512

// A Platter is what a disk holds: as the program sees it, and what is certain to
// be there after a power cut.
type Platter struct {
	random  *rand.Rand
	files   map[uint64]*contents
	names   map[string]uint64
	durable map[string]uint64
	pending []Op // on the directory, not synced
}

type contents struct {
	seen, durable []byte
	pending       []Op
}

// NewPlatter returns an empty one. What a power cut leaves depends on random.
func NewPlatter(random *rand.Rand) *Platter {
	return &Platter{random: random, files: make(map[uint64]*contents), names: make(map[string]uint64), durable: make(map[string]uint64)}
}

// Apply does what op did. What a sync that failed was to bring to the disk may
// be there or not, and no later sync brings it: the system believes that it is
// done with it.
func (p *Platter) Apply(op Op) {
	switch op.Kind {
	case Create, Rename, Remove:
		if op.Err == 0 {
			applyName(p.names, op)
			p.pending = append(p.pending, op)
		}
	case SyncDirectory:
		if op.Err == 0 {
			for _, o := range p.pending {
				applyName(p.durable, o)
			}
			p.pending = nil
		}
	default:
		p.file(op.File).apply(op, p.random)
	}
}

func applyName(names map[string]uint64, op Op) {
	switch op.Kind {
	case Create:
		names[op.Name] = op.File
	case Rename:
		names[op.To] = names[op.Name]
		delete(names, op.Name)
	case Remove:
		delete(names, op.Name)
	}
}

func (p *Platter) file(ino uint64) *contents {
	if p.files[ino] == nil {
		p.files[ino] = &contents{}
	}
	return p.files[ino]
}

func (c *contents) apply(op Op, random *rand.Rand) {
	if op.Kind == Sync {
		if op.Err == 0 {
			c.durable = bytes.Clone(c.seen)
		} else {
			c.durable = c.cut(random)
		}
		c.pending = nil
		return
	}
	if op.Err != 0 {
		return
	}
	c.seen = applyTo(c.seen, op, nil)
	c.pending = append(c.pending, op)
}

// applyTo applies op to b, of a write only the sectors that keep says.
func applyTo(b []byte, op Op, keep func() bool) []byte {
	switch op.Kind {
	case Truncate:
		return resize(b, op.Off)
	case Allocate:
		return resize(b, max(int64(len(b)), op.Off+op.Len))
	}
	b = resize(b, max(int64(len(b)), op.Off+int64(len(op.Data))))
	for i := 0; i < len(op.Data); i += sector {
		if keep == nil || keep() {
			copy(b[op.Off+int64(i):], op.Data[i:min(i+sector, len(op.Data))])
		}
	}
	return b
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

// cut returns what is left of the file after a power cut: none, all or the first
// of what is not synced, any of it, or any sectors of it.
func (c *contents) cut(random *rand.Rand) []byte {
	b := bytes.Clone(c.durable)
	half := func() bool { return random.IntN(2) == 0 }
	manner, first := random.IntN(5), random.IntN(len(c.pending)+1)
	for i, op := range c.pending {
		switch {
		case manner == 0, manner == 2 && i >= first, manner == 3 && half():
		case manner == 4 && op.Kind == Write:
			b = applyTo(b, op, half)
		default:
			b = applyTo(b, op, nil)
		}
	}
	return b
}

// Seen returns the file as the program left it, nil if there is none.
func (p *Platter) Seen(name string) []byte {
	ino, ok := p.names[name]
	if !ok {
		return nil
	}
	return bytes.Clone(p.file(ino).seen)
}

// PowerCut returns what may be in the file after a power cut now, nil if it may
// not be there. A directory loses the last of what was not synced.
func (p *Platter) PowerCut(name string) []byte {
	names := make(map[string]uint64, len(p.durable))
	for n, ino := range p.durable {
		names[n] = ino
	}
	for _, op := range p.pending[:p.random.IntN(len(p.pending)+1)] {
		applyName(names, op)
	}
	ino, ok := names[name]
	if !ok {
		return nil
	}
	return p.file(ino).cut(p.random)
}
