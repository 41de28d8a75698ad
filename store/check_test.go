package store

import (
	"bytes"
	"strings"
	"testing"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
)

// makeSample fills a store in memory, and notes its answers.
func makeSample(t *testing.T) (*Memory, storetest.Sample) {
	t.Helper()
	clock, m := storetest.NewClock(), NewMemory()
	v := storetest.MakeSample(t, openMemory(t, m, clock), clock)
	v.Answers = askSample(t, m.Copy(), v)
	return m, v
}

// withoutSums takes the checksums away, which formats before 5 did not have.
func withoutSums(t *testing.T, m *Memory) {
	t.Helper()
	const never = 1 << 40
	must(t, m.change(func(t *Txn) {
		var write []func()
		for key, row := range t.scan(kindWelcomes, nil, nil) {
			key, row, number := bytes.Clone(key), bytes.Clone(row), readNumber(key)
			switch key[numberBytes] {
			case partHeader:
				w := t.header(number)
				write = append(write, func() { t.putHeader(w) })
			case partRecipient:
				of := readRecipientKey(append(key[:numberBytes:numberBytes], key[numberBytes+1:]...))
				r := t.postedRecipient(of)
				write = append(write, func() { t.putPostedRecipient(of, r) })
			default:
				write = append(write, func() { t.put(kindWelcomes, key, row[:len(row)-sumBytes]) })
			}
		}
		t.store.meta.summedFrom = never
		t.put(KindMeta, keySummedFrom, encodeSummedFrom(never))
		for _, write := range write {
			write()
		}
	}))
}

func openMemory(t *testing.T, m *Memory, clock delivery.Clock) *MemoryStore {
	t.Helper()
	s, err := m.Open(clock, false, Options{Limits: delivery.DefaultLimits()})
	must(t, err)
	return s
}

// askSample asks a copy or a repaired store. Some questions change the store.
func askSample(t *testing.T, m *Memory, v storetest.Sample) []string {
	t.Helper()
	clock := storetest.NewClock()
	clock.Advance(clock.Now().AddDate(0, 0, v.Days).Sub(clock.Now()))
	return v.Ask(t, openMemory(t, m, clock))
}

// Everything that can be wrong is found, and nothing else; what can be repaired is,
// and then the database answers as it did before.
func TestHarmIsFoundAndRepaired(t *testing.T) {
	m, v := makeSample(t)
	sound(t, m)
	older := m.Copy()
	withoutSums(t, older)
	sound(t, older)
	for _, h := range harms {
		t.Run(h.name, func(t *testing.T) { findAndRepair(t, m.Copy(), v, h) })
		if says := saysOlder[h.name]; says != "" {
			h.says = says
			t.Run(h.name+" without checksums", func(t *testing.T) { findAndRepair(t, older.Copy(), v, h) })
		}
	}
}

func findAndRepair(t *testing.T, m *Memory, v storetest.Sample, h harm) {
	must(t, m.change(h.do))
	found, _ := examine(t, m)
	requireFinding(t, found, h)
	if err := found.Err(); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("the report says %v", err)
	}
	repaired := repair(t, m)
	if !h.repairable {
		if repaired.Sound() || repaired.Repairable > 0 {
			t.Errorf("after a repair: %+v", repaired)
		}
		return
	}
	if !repaired.Sound() {
		t.Fatalf("after a repair: %+v", repaired)
	}
	if !h.differs {
		storetest.SameAnswers(t, askSample(t, m, v), v.Answers)
	}
}

func requireFinding(t *testing.T, r *Report, h harm) {
	t.Helper()
	for _, f := range r.Findings {
		if strings.Contains(f.Text, "\n") {
			t.Errorf("a finding is %q", f.Text)
		}
		if strings.Contains(f.Text, h.says) && f.Repairable == h.repairable {
			return
		}
	}
	t.Fatalf("not found: %+v", r.Findings)
}
