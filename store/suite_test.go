package store

import (
	"fmt"
	"math/rand/v2"
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
		m := NewMemory()
		return storetest.Fixture{
			Open: func(t *testing.T, clock delivery.Clock, limits delivery.Limits) delivery.Store {
				var all []delivery.Store
				for range processes {
					s, err := m.Open(clock, false, Options{Limits: limits})
					must(t, err)
					all = append(all, s)
				}
				return storetest.Processes(rand.IntN, all...)
			},
			Commits:      m.Commits,
			MarkRestored: func(t *testing.T) { m.Change(NoteRestored) },
			Damage:       m.damage,
		}
	})
}

// damage is a storetest.Fixture's.
func (m *Memory) damage(t *testing.T, d storetest.Damage) {
	t.Helper()
	flipIn(t, m, func(t *Txn) ([]byte, int) {
		k, key, at := t.Place(string(d.Part), d.Ref, d.Welcome)
		return t.get(k, key), at
	})
}

// Random sequences of events find the store and the reference in agreement.
func TestModel(t *testing.T) {
	model.Check(t, func(*rapid.T) model.Fixture {
		m := NewMemory()
		closed, damaged := 0, false
		var last *MemoryStore
		return model.Fixture{
			Open: func(clock delivery.Clock, limits delivery.Limits, trust bool) (delivery.Store, error) {
				s, err := m.Open(clock, trust, Options{Limits: limits})
				last = s
				return s, err
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
