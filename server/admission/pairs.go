package admission

import (
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// pairs are token buckets for pairs of an owner and a name. Anybody can make up names, so every
// owner has a table, and a full table refuses only its owner. An owner has at most half of the
// room that nobody has, as in a pool. Names that somebody has and made-up names are treated in
// the same way, so that a refusal does not tell one from the other. A nil *pairs limits
// nothing.
type pairs struct {
	refill
	seed maphash.Seed
	size int // buckets, of all owners

	mu    sync.Mutex
	used  int
	of    map[uint64]*names
	swept int64 // when all tables were pruned last
}

// names has the buckets of one owner.
type names struct {
	of   table
	next int64 // no bucket is full before; 0: not known
}

// pairsKept is for how many names all callers together have buckets, of about 40 bytes each.
// One caller alone can have a third of them, four times what the default budget of a caller
// pays for.
const pairsKept = 1 << 18

func newPairs(burst, perHour int, now func() time.Time) *pairs {
	if burst <= 0 {
		return nil
	}
	return &pairs{refill: newRefill(burst, perHour, now), seed: maphash.MakeSeed(), size: pairsKept, of: make(map[uint64]*names)}
}

// takeAll takes the price of each name from its bucket, or nothing at all. In that case err is
// ErrTooManyNames, or refused for a name whose bucket has too little, and wait is how long that
// will last. With owe, a full bucket pays a price that is higher than it can hold, and owes the
// rest.
func (p *pairs) takeAll(owner string, price map[string]int, owe bool) (name string, wait time.Duration, err error) {
	if p == nil || len(price) == 0 {
		return "", 0, nil
	}
	h, now := maphash.String(p.seed, owner), p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.ofOwner(h)
	defer p.forgetEmpty(h, of)
	more := 0
	for key, n := range price {
		full, known := of.of[p.hash(key)]
		if !known {
			more++
		}
		need := n
		if owe {
			need = min(n, p.burst)
		}
		if w := p.missing(full, now, need); w > wait {
			name, wait = key, w
		}
	}
	if wait > 0 {
		return name, wait, ErrPairBudget
	}
	if wait, ok := p.makeRoom(of, more, now); !ok {
		return "", wait, ErrTooManyNames
	}
	for key, n := range price {
		p.move(of, p.hash(key), now, n)
	}
	return "", 0, nil
}

func (p *pairs) hash(name string) uint64 { return maphash.String(p.seed, name) }

func (p *pairs) ofOwner(h uint64) *names {
	of := p.of[h]
	if of == nil {
		of = &names{of: make(table)}
		p.of[h] = of
	}
	return of
}

func (p *pairs) forgetEmpty(h uint64, of *names) {
	if len(of.of) == 0 {
		delete(p.of, h)
	}
}

// makeRoom reports whether an owner may have that many more buckets.
func (p *pairs) makeRoom(of *names, more int, now int64) (wait time.Duration, ok bool) {
	if p.fits(of, more) {
		return 0, true
	}
	if of.next <= now {
		p.prune(of, now)
	}
	if !p.fits(of, more) && now-p.swept >= int64(time.Second) {
		p.swept = now
		for h, other := range p.of {
			p.prune(other, now)
			if other != of {
				p.forgetEmpty(h, other)
			}
		}
	}
	if p.fits(of, more) {
		return 0, true
	}
	if len(of.of) == 0 {
		return time.Minute, false
	}
	return time.Duration(of.next - now), false
}

// fits is the rule of [pool]: an owner who comes later and wants little gets it.
func (p *pairs) fits(of *names, more int) bool {
	free := p.size - p.used - more
	return more == 0 || free >= 0 && len(of.of)+more <= max(1, free/2)
}

func (p *pairs) prune(of *names, now int64) {
	before := len(of.of)
	of.next = of.of.prune(now)
	p.used -= before - len(of.of)
}

func (p *pairs) move(of *names, key uint64, now int64, n int) {
	before := len(of.of)
	of.of.set(key, p.after(of.of[key], now, n), now)
	if full, ok := of.of[key]; ok {
		of.next = min(of.next, full)
	}
	p.used += len(of.of) - before
}

// charge takes n tokens from a bucket. A negative n gives tokens back.
func (p *pairs) charge(owner, name string, n int) {
	if p == nil || n == 0 {
		return
	}
	h, now := maphash.String(p.seed, owner), p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.ofOwner(h)
	defer p.forgetEmpty(h, of)
	p.move(of, p.hash(name), now, n)
}

// left returns how many tokens there are; zero if some are owed.
func (p *pairs) left(owner, name string) int {
	if p == nil {
		return math.MaxInt32
	}
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	var full int64
	if of := p.of[maphash.String(p.seed, owner)]; of != nil {
		full = of.of[p.hash(name)]
	}
	return max(0, int(p.tokens(full, now)))
}
