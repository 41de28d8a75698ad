package admission

import (
	"context"
	"sync"
)

// A PerKey lets two at a time do the same expensive thing for the same key; the
// others wait. Whoever asks for the same large answer a hundred times at once
// would otherwise have all processors copy it, or find a budget a hundred times
// as it was before the first answer was charged for. The zero PerKey is ready.
type PerKey struct {
	mu sync.Mutex
	of map[string]*slots
}

// The slots are those of one key.
type slots struct {
	taken chan struct{}
	users int // who have a slot or want one
}

// atATime is how many have a slot of a key.
const atATime = 2

// Acquire waits for a slot of the key, or until ctx is done. The caller of release, which
// may be called once, gives it back.
func (p *PerKey) Acquire(ctx context.Context, key string) (release func(), err error) {
	of := p.enter(key)
	select {
	case of.taken <- struct{}{}:
		return func() { <-of.taken; p.leave(key, of) }, nil
	case <-ctx.Done():
		p.leave(key, of)
		return nil, ctx.Err()
	}
}

func (p *PerKey) enter(key string) *slots {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.of[key]
	if of == nil {
		if p.of == nil {
			p.of = make(map[string]*slots)
		}
		of = &slots{taken: make(chan struct{}, atATime)}
		p.of[key] = of
	}
	of.users++
	return of
}

func (p *PerKey) leave(key string, of *slots) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if of.users--; of.users == 0 {
		delete(p.of, key)
	}
}
