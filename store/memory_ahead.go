package store

import (
	"slices"

	"github.com/tidwall/btree"
)

// A memoryKnown is what another machine would have told a transaction so far, if it were
// that which had the rows. It counts how often it would have been asked.
type memoryKnown struct {
	rounds int
	given  uint64 // the last number that was given before
	spans  map[*Kind]*btree.BTreeG[memorySpan]
}

// A memorySpan is keys of which all is known: from one on, up to and without another.
type memorySpan struct{ from, to string }

// endOfKind is behind all keys.
const endOfKind = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"

func newMemoryKnown(given uint64) *memoryKnown {
	return &memoryKnown{given: given, spans: make(map[*Kind]*btree.BTreeG[memorySpan])}
}

// made reports whether a row is of something that got its number in this transaction, or
// one that is not asked for.
func (m *memoryKnown) made(k *Kind, key string) bool {
	switch k {
	case KindMeta:
		return true
	case kindDevices, kindPosted, kindWelcomes, kindKeyPackages:
		return len(key) >= numberBytes && readNumber([]byte(key)) > m.given
	}
	return false
}

// has reports whether all between two keys is known.
func (m *memoryKnown) has(k *Kind, from, to string) (known bool) {
	if m.made(k, from) {
		return true
	}
	if spans := m.spans[k]; spans != nil {
		spans.Descend(memorySpan{from: from}, func(s memorySpan) bool {
			known = s.to >= to
			return false
		})
	}
	return known
}

// learn notes that all between two keys is known.
func (m *memoryKnown) learn(k *Kind, from, to string) {
	spans := m.spans[k]
	if spans == nil {
		spans = btree.NewBTreeGOptions(func(a, b memorySpan) bool { return a.from < b.from }, btree.Options{NoLocks: true})
		m.spans[k] = spans
	}
	var within []memorySpan
	spans.Descend(memorySpan{from: to}, func(s memorySpan) bool {
		if s.to < from {
			return false
		}
		within = append(within, s)
		from, to = min(from, s.from), max(to, s.to)
		return true
	})
	for _, s := range within {
		spans.Delete(s)
	}
	spans.Set(memorySpan{from, to})
}

// ask counts a question, unless all between from and to is known. learned is up to where
// the answer goes.
func (m *memoryKnown) ask(k *Kind, from, to, learned string) {
	if m != nil && !m.has(k, from, to) {
		m.rounds++
		m.learn(k, from, learned)
	}
}

// wrote notes that a row is known.
func (m *memoryKnown) wrote(k *Kind, key []byte) {
	if m != nil {
		m.learn(k, string(key), string(key)+"\x00")
	}
}

// Ahead implements AskedRows.
func (r *memoryRows) Ahead(w *Wanted) {
	m := r.known
	if m == nil {
		return
	}
	ranges := slices.Clone(w.Ranges)
	for _, p := range w.Places {
		ranges = append(ranges, Range{Kind: p.Kind, From: p.Key, To: p.Key + "\x00"})
	}
	asks := false
	for _, g := range ranges {
		if g.To == "" {
			g.To = endOfKind
		}
		if g.Most > 0 {
			left := g.Most
			r.was[g.Kind].Ascend(memoryRow{key: g.From}, func(row memoryRow) bool {
				if row.key >= g.To {
					return false
				}
				if left--; left == 0 {
					g.To = row.key + "\x00"
				}
				return left > 0
			})
		}
		if !m.has(g.Kind, g.From, g.To) {
			asks = true
			m.learn(g.Kind, g.From, g.To)
		}
	}
	if asks {
		m.rounds++
	}
}
