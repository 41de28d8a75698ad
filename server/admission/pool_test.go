package admission

import (
	"errors"
	"fmt"
	"testing"
)

// newPool returns one of that size.
func newPool(size, most int64) *pool {
	return &pool{size: size, most: most, all: CapRequests, each: CapRequestsPerCaller, refusal: ErrTooManyRequests, refused: func(Cap) {}}
}

func TestWhatAPartyHoldsOfAPool(t *testing.T) {
	taken := func(p *pool, party string, step int64) (n int64, err error) {
		for ; err == nil; n += step {
			err = p.take(party, step)
		}
		return n - step, err
	}
	t.Run("a party that wants everything gets a third", func(t *testing.T) {
		n, err := taken(newPool(3000, 0), "a", 1)
		if n != 1000 || !errors.Is(err, ErrTooManyRequests) {
			t.Errorf("it holds %d, then %v", n, err)
		}
	})
	t.Run("it gets no more than is allowed", func(t *testing.T) {
		if n, _ := taken(newPool(3000, 10), "a", 1); n != 10 {
			t.Errorf("it holds %d", n)
		}
	})
	t.Run("nobody in particular gets everything", func(t *testing.T) {
		n, err := taken(newPool(3000, 10), "", 1)
		if n != 3000 || !errors.Is(err, ErrOverloaded) {
			t.Errorf("it holds %d, then %v", n, err)
		}
	})
	t.Run("who comes behind ten greedy ones gets a share too", func(t *testing.T) {
		p := newPool(3000, 0)
		for i := range 10 {
			taken(p, fmt.Sprint(i), 1)
		}
		if n, _ := taken(p, "late", 1); n < 10 {
			t.Errorf("it holds %d", n)
		}
	})
	t.Run("the smallest pool is not closed", func(t *testing.T) {
		p := newPool(1, 0)
		if err := p.take("a", 1); err != nil {
			t.Error(err)
		}
		p.add("a", -1)
		if err := p.take("b", 1); err != nil {
			t.Error(err)
		}
	})
}
