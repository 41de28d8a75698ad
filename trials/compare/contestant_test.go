package main

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory is an engine without a disk, which can be made to cheat.
type memory struct {
	mu     sync.Mutex
	stages map[*pair]stage
	cheat  string
}

func (m *memory) step(o operation, p *pair) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stages[p] > stage(o) {
		return errRefused
	}
	if m.cheat != "forget to "+o.String() {
		m.stages[p] = stage(o) + 1
	}
	return nil
}

func (m *memory) publish(_ context.Context, p *pair) error { return m.step(publish, p) }

func (m *memory) reserve(_ context.Context, p *pair) ([]byte, error) {
	return p.keyPackage, m.step(reserve, p)
}

func (m *memory) post(_ context.Context, p *pair) error { return m.step(post, p) }

func (m *memory) claim(_ context.Context, p *pair) ([]byte, error) {
	err := m.step(claim, p)
	switch m.cheat {
	case "wrong bytes":
		return p.keyPackage, err
	case "deliver again":
		return p.welcome, nil
	}
	return p.welcome, err
}

func (m *memory) acknowledge(_ context.Context, p *pair) error { return m.step(acknowledge, p) }

func (m *memory) rest(context.Context) error { return nil }

func (m *memory) census(context.Context) (c census, err error) {
	for _, s := range m.stages {
		c[s]++
	}
	return c, nil
}

func (m *memory) close() error { return nil }

// round does every operation and the audit after it.
func (m *memory) round(ctx context.Context) error {
	const n = 1000
	pairs, err := newPairs(ctx, 4*n)
	if err != nil {
		return err
	}
	t := &contest{unborn: pairs[:n], shelf: pairs[n : 2*n], waiting: pairs[2*n:]}
	m.stages = make(map[*pair]stage)
	for _, p := range t.shelf {
		m.stages[p] = onShelf
	}
	for _, p := range t.waiting {
		m.stages[p] = posted
	}
	c := newContestant(kinds[0], m, t)
	for o := publish; o <= acknowledge; o++ {
		if _, err := c.measure(ctx, o, 16, 2, time.Second); err != nil {
			return err
		}
	}
	return c.audit(ctx)
}

func TestAnEngineThatDoesTheWorkPasses(t *testing.T) {
	if err := new(memory).round(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAnEngineThatCheatsFails(t *testing.T) {
	for cheat, complaint := range map[string]string{
		"forget to publish":     "stored as shelf",
		"forget to reserve":     "given out 3 times",
		"forget to post":        "stored as reserved",
		"forget to claim":       "given out 3 times",
		"forget to acknowledge": "stored as claimed",
		"wrong bytes":           "that are not the",
		"deliver again":         "given out 3 times",
	} {
		t.Run(cheat, func(t *testing.T) {
			err := (&memory{cheat: cheat}).round(t.Context())
			if err == nil || !strings.Contains(err.Error(), complaint) {
				t.Errorf("got %v, want a complaint: %s", err, complaint)
			}
		})
	}
}
