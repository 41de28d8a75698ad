package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// A contestant is an engine in a round, and where every pair has to be in it.
type contestant struct {
	kind   kind
	engine engine
	at     [6][]*pair // by stage
	least  int        // events that are measured at a time, so that enough is left for the next operation
}

// newContestant starts a round. Pairs are reserved and claimed in another order
// than they were stored in; they are posted in the order in which they were
// reserved, and acknowledged in the order in which they were claimed.
func newContestant(k kind, e engine, t *contest) *contestant {
	c := &contestant{kind: k, engine: e, least: auditSample}
	if len(t.levels) > 0 {
		c.least += slices.Max(t.levels)
	}
	c.at[unborn] = slices.Clone(t.unborn)
	c.at[onShelf] = shuffled(t.shelf)
	c.at[posted] = shuffled(t.waiting)
	return c
}

func shuffled(pairs []*pair) []*pair {
	pairs = slices.Clone(pairs)
	rand.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
	return pairs
}

// measure returns how many events there were per second. It uses at most a
// part of the pairs that wait for the operation: one of parts.
func (c *contestant) measure(ctx context.Context, o operation, callers, parts int, d time.Duration) (float64, error) {
	from := stage(o)
	if o == post && len(c.at[reserved]) == 0 {
		from = onShelf // nothing was reserved: a Welcome may come for any
	}
	pairs := c.at[from]
	n := (len(pairs) - auditSample) / parts
	if n < callers {
		return 0, fmt.Errorf("only %d pairs are left for it: run with more -pairs or less -time", n)
	}
	if e, ok := c.engine.(interface{ admit(callers int) error }); ok {
		if err := e.admit(callers); err != nil {
			return 0, err
		}
	}
	made, took, err := drive(ctx, callers, n, c.least, d, func(i int) error { return do(ctx, c.engine, o, pairs[i]) })
	c.move(from, made, stage(o)+1)
	return perSecond(made, took), err
}

func (c *contestant) move(from stage, n int, to stage) {
	c.at[to] = append(c.at[to], c.at[from][:n]...)
	c.at[from] = c.at[from][n:]
}

const (
	auditSample   = 100 // pairs
	auditCallers  = 64
	auditAttempts = 3 // for each pair
)

// audit fails unless the engine has done what it was measured at: each
// KeyPackage and each Welcome is given to one of several who ask at once, none
// is given again, and every pair is stored where the operations have left it.
func (c *contestant) audit(ctx context.Context) error {
	for _, o := range []operation{reserve, claim} {
		if !c.kind.takesPart(o) {
			continue
		}
		if err := c.race(ctx, o); err != nil {
			return err
		}
	}
	for _, s := range []stage{claimed, acknowledged} {
		if err := c.again(ctx, s); err != nil {
			return err
		}
	}
	return c.count(ctx)
}

// race has several callers ask for the same pairs.
func (c *contestant) race(ctx context.Context, o operation) error {
	pairs := c.at[o][:min(auditSample, len(c.at[o]))]
	given := make([]atomic.Int32, len(pairs))
	_, _, err := drive(ctx, auditCallers, auditAttempts*len(pairs), 0, math.MaxInt64, func(i int) error {
		i /= auditAttempts
		err := do(ctx, c.engine, o, pairs[i])
		if errors.Is(err, errRefused) {
			return nil
		}
		given[i].Add(1)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s by several: %w", o, err)
	}
	for i := range given {
		if n := given[i].Load(); n != 1 {
			return fmt.Errorf("%s by %d callers at once: given out %d times: %s", o, auditAttempts, n, pairs[i].ref)
		}
	}
	c.move(stage(o), len(pairs), stage(o)+1)
	return nil
}

// again asks for Welcomes that have been claimed.
func (c *contestant) again(ctx context.Context, s stage) error {
	pairs := shuffled(c.at[s])
	pairs = pairs[:min(auditSample, len(pairs))]
	_, _, err := drive(ctx, auditCallers, len(pairs), 0, math.MaxInt64, func(i int) error {
		err := do(ctx, c.engine, claim, pairs[i])
		if errors.Is(err, errRefused) {
			return nil
		}
		return errors.Join(fmt.Errorf("claim of one that is %s: not refused: %s", s, pairs[i].ref), err)
	})
	return err
}

// count compares what is stored with what was done.
func (c *contestant) count(ctx context.Context) error {
	found, err := c.engine.census(ctx)
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	for s := onShelf; s <= acknowledged; s++ {
		if found[s] != len(c.at[s]) {
			return fmt.Errorf("%d pairs are stored as %s, it should be %d", found[s], s, len(c.at[s]))
		}
	}
	return nil
}
