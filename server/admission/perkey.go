package admission

import (
	"context"
	"sync"
)

// A PerKey allows two callers at a time to do the same expensive thing for the same key; others
// wait. Without it, a client that asks for the same large answer a hundred times at once would
// keep all processors busy with copying it, or would find a budget a hundred times as it was
// before the first answer was charged. The zero PerKey is ready to use.
type PerKey struct {
	mu sync.Mutex
	of map[string]*slots
}

// slots are the slots of one key.
type slots struct {
	taken chan struct{}
	users int // who have a slot or want one
}

// atATime is how many slots a key has.
const atATime = 2

// Acquire waits for a slot of the key, or until ctx is done. release gives the slot back; it
// may be called once.
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
