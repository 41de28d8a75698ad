package store

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/delivery/storetest/model"
)

// Every promise holds over rows in memory, for one process and for several.
func TestStore(t *testing.T) {
	for _, processes := range []int{1, 2} {
		t.Run(fmt.Sprintf("processes=%d", processes), func(t *testing.T) { runSuite(t, processes) })
	}
}

func runSuite(t *testing.T, processes int) {
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		m := inspected()
		return storetest.Fixture{
			Open: func(t *testing.T, clock delivery.Clock, limits delivery.Limits) delivery.Store {
				s, err := openProcesses(m, processes, rand.IntN, clock, false, limits)
				must(t, err)
				return s
			},
			Commits:      m.Commits,
			MarkRestored: func(t *testing.T) { m.Change(NoteRestored) },
			Damage:       m.damage,
		}
	})
}

// openProcesses opens a database as processes that start at the same time.
func openProcesses(m *Memory, n int, pick func(n int) int, clock delivery.Clock, trust bool, limits delivery.Limits) (delivery.Store, error) {
	opened, err := m.OpenProcesses(n, clock, trust, Options{Limits: limits})
	if err != nil {
		return nil, err
	}
	all := make([]delivery.Store, n)
	for i, s := range opened {
		all[i] = s
	}
	return storetest.Processes(pick, all...), nil
}

// damage is a storetest.Fixture's.
func (m *Memory) damage(t *testing.T, d storetest.Damage) {
	t.Helper()
	flipIn(t, m, func(t *Txn) ([]byte, int) {
		k, key, at := t.Place(string(d.Part), d.Ref, d.Welcome)
		return t.get(k, key), at
	})
}

// Random sequences of events find the store and the reference in agreement, whichever
// process decides which event.
func TestModel(t *testing.T) {
	model.Check(t, func(rt *rapid.T) model.Fixture {
		m := inspected()
		closed, damaged := 0, false
		processes, pick := rapid.IntRange(1, 2).Draw(rt, "processes"), picker(rapid.Uint64().Draw(rt, "which"))
		var last delivery.Store
		return model.Fixture{
			Open: func(clock delivery.Clock, limits delivery.Limits, trust bool) (_ delivery.Store, err error) {
				last, err = openProcesses(m, processes, pick, clock, trust, limits)
				return last, err
			},
			Commits: func() int { return closed + m.Commits() },
			Damage:  func(d storetest.Damage) { damaged = true; m.damage(t, d) },
			Copy:    func() (any, error) { return m.Copy(), nil },
			Put: func(kept any, restored bool) error {
				commits := m.Commits()
				m = kept.(*Memory).Copy()
				closed += commits - m.Commits()
				if restored {
					m.Change(NoteRestored)
				}
				return nil
			},
			Compact: func() error { r, _ := examine(t, m); return r.Err() },
			Remove: func() {
				_ = last.Close()
				if damaged {
					repair(t, m)
				}
				sound(t, m)
			},
		}
	})
}

// picker returns a function that returns the same indices for the same seed.
func picker(seed uint64) func(n int) int {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 0))
	return func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return r.IntN(n)
	}
}
