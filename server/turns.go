package server

import (
	"context"
	"sync"
)

// turns let few at a time do the same expensive thing for the same object; the
// others wait. Whoever asks for the same large answer a hundred times at once
// would otherwise have all processors copy it, or find a budget a hundred times
// as it was before the first answer was charged for.
type turns struct {
	mu sync.Mutex
	of map[string]*turn
}

// A turn is of one object.
type turn struct {
	tokens chan struct{}
	users  int // who have a token or want one
}

// atATime is how many have a turn for an object.
const atATime = 2

// take waits for a turn, or until ctx is done.
func (t *turns) take(ctx context.Context, object string) (done func(), err error) {
	of := t.enter(object)
	select {
	case of.tokens <- struct{}{}:
		return func() { <-of.tokens; t.leave(object, of) }, nil
	case <-ctx.Done():
		t.leave(object, of)
		return nil, ctx.Err()
	}
}

func (t *turns) enter(object string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.of[object]
	if of == nil {
		if t.of == nil {
			t.of = make(map[string]*turn)
		}
		of = &turn{tokens: make(chan struct{}, atATime)}
		t.of[object] = of
	}
	of.users++
	return of
}

func (t *turns) leave(object string, of *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if of.users--; of.users == 0 {
		delete(t.of, object)
	}
}
