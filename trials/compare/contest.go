package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
)

// A contest is one run: rounds of operations, each by every engine in turn.
type contest struct {
	config
	scratch  string
	unborn   []*pair // to be published in each round
	shelf    []*pair // published before each round
	waiting  []*pair // posted before each round
	families map[string]family
	results  *results
}

// compare runs the contest in a directory of its own, which it removes.
func compare(ctx context.Context, c config) (_ *results, err error) {
	dir, err := os.MkdirTemp(c.dir, "welcomed-compare-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // PostgreSQL may run as another user
		return nil, err
	}
	t := &contest{config: c, scratch: dir, families: make(map[string]family), results: newResults(c)}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	for round := range c.rounds {
		if err := t.round(ctx, round); err != nil {
			return nil, fmt.Errorf("round %d: %w", round+1, err)
		}
	}
	return t.results, nil
}

// prepare makes the pairs and stores them once per family.
func (t *contest) prepare(ctx context.Context) error {
	for _, k := range t.kinds {
		if err := t.start(ctx, k.family); err != nil {
			return err
		}
	}
	half := t.pairs / 2
	progress("making %d pairs", t.pairs+2*half)
	pairs, err := newPairs(ctx, t.pairs+2*half)
	if err != nil {
		return err
	}
	t.unborn, t.shelf, t.waiting = pairs[:half], pairs[half:2*half], pairs[2*half:]
	for name, f := range t.families {
		progress("filling %s", name)
		if err := f.fill(ctx, t.shelf, t.waiting); err != nil {
			return fmt.Errorf("fill %s: %w", name, err)
		}
	}
	return nil
}

func (t *contest) start(ctx context.Context, name string) error {
	if t.families[name] != nil {
		return nil
	}
	switch name {
	case "welcomed":
		t.families[name] = welcomedFamily{t.scratch, t.binary}
	case "postgres":
		progress("starting PostgreSQL")
		f, err := startPostgres(ctx, t.postgres, t.scratch)
		if err != nil {
			return err
		}
		t.families[name] = f
		t.results.Settings.PostgreSQL, err = f.cluster.Settings(ctx)
		return err
	}
	return nil
}

func (t *contest) close() (err error) {
	for _, f := range t.families {
		err = errors.Join(err, f.close())
	}
	return err
}

// round lets every engine, from the same start, do every operation at every
// level, and has each show what it did.
func (t *contest) round(ctx context.Context, n int) (err error) {
	rates, err := measureDisk(ctx, t.scratch, t.cell)
	if err != nil {
		return err
	}
	t.results.addDisk(rates)
	progress("round %d of %d: copying", n+1, t.rounds)
	var all []*contestant
	defer func() {
		for _, c := range all {
			err = errors.Join(err, c.engine.close())
		}
	}()
	for _, k := range t.kinds {
		e, err := t.families[k.family].open(ctx, k.form)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		all = append(all, newContestant(k, e, t))
	}
	for _, o := range t.operations {
		progress("round %d of %d: %s", n+1, t.rounds, o)
		if err := t.operation(ctx, n, o, all); err != nil {
			return err
		}
	}
	progress("round %d of %d: checking", n+1, t.rounds)
	for _, c := range all {
		if err := c.audit(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.kind.name, err)
		}
	}
	return nil
}

func (t *contest) operation(ctx context.Context, round int, o operation, all []*contestant) error {
	for i, level := range t.levels {
		share := len(t.levels) - i // what is left is for the other levels too
		for j := range all {
			c := all[(j+round)%len(all)]
			if !c.kind.takesPart(o) {
				continue
			}
			runtime.GC()
			rate, err := c.measure(ctx, o, level, share, t.cell)
			if err != nil {
				return fmt.Errorf("%s: %s with %d callers: %w", c.kind.name, o, level, err)
			}
			t.results.add(c.kind, o, level, rate)
			if err := c.engine.rest(ctx); err != nil {
				return fmt.Errorf("%s: %w", c.kind.name, err)
			}
		}
	}
	return nil
}
