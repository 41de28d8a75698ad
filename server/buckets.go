package server

import (
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// A refill says what buckets hold and how fast they fill. A bucket is the time
// when it will be full again: whoever takes from it moves that time away. Times are
// nanoseconds that have passed since the refill was made, whatever the clock was set
// to since.
type refill struct {
	burst int
	each  float64 // nanoseconds until there is one token more
	now   func() int64
}

// never is when a bucket is full that gains nothing: far from where times overflow.
const never = 100 * 365 * 24 * time.Hour

// longestWait is more than anybody waits.
const longestWait = 365 * 24 * time.Hour

func newRefill(burst, perHour int, now func() time.Time) refill {
	begun := now()
	return refill{
		burst: burst,
		each:  float64(time.Hour) / max(float64(perHour), 1e-9),
		now:   func() int64 { return int64(now().Sub(begun)) },
	}
}

// tokens is how many there are at a time in a bucket; less than zero if some are
// owed.
func (r *refill) tokens(full, now int64) float64 {
	return float64(r.burst) - float64(max(0, full-now))/r.each
}

// missing is how long it takes until a bucket has n tokens; 0: it has. Half a
// nanosecond of a token is rounding.
func (r *refill) missing(full, now int64, n int) time.Duration {
	missing := (float64(n) - r.tokens(full, now)) * r.each
	if missing < 1 {
		return 0
	}
	return time.Duration(min(missing, float64(longestWait)))
}

// after is the bucket when n more tokens are taken; fewer than none: given back.
func (r *refill) after(full, now int64, n int) int64 {
	moved := math.Round(float64(n) * r.each)
	return max(full, now) + int64(max(min(moved, float64(never)), -float64(never)))
}

// A table has the buckets that are not full, by the hash of their names. A bucket
// that is not full is never forgotten: only time, or who gives back, makes room.
type table map[uint64]int64

func (t table) set(key uint64, full, now int64) {
	if full <= now {
		delete(t, key)
		return
	}
	t[key] = min(full, now+int64(never))
}

// prune forgets the buckets that are full. It returns when the next one will be.
func (t table) prune(now int64) (next int64) {
	next = math.MaxInt64
	for key, full := range t {
		if full <= now {
			delete(t, key)
		} else {
			next = min(next, full)
		}
	}
	return next
}

// buckets are token buckets, one for each key, which is full at first. Who has a
// key has an account here, so there are only so many. A nil *buckets limits
// nothing.
type buckets struct {
	refill
	seed maphash.Seed

	mu      sync.Mutex
	of      table
	pruneAt int // entries
}

// pruneFrom is how many buckets there are before any are looked at again.
const pruneFrom = 1 << 10

// newBuckets returns buckets that hold burst tokens and gain perHour of them. It
// returns nil, no limit, for a burst of zero.
func newBuckets(burst, perHour int, now func() time.Time) *buckets {
	if burst <= 0 {
		return nil
	}
	return &buckets{refill: newRefill(burst, perHour, now), seed: maphash.MakeSeed(), of: make(table), pruneAt: pruneFrom}
}

// move takes n tokens, whether or not there are so many. It is called with mu held.
func (b *buckets) move(key uint64, now int64, n int) {
	b.of.set(key, b.after(b.of[key], now, n), now)
	if len(b.of) >= b.pruneAt {
		b.of.prune(now)
		b.pruneAt = max(pruneFrom, 2*len(b.of))
	}
}

// take takes n tokens out of a bucket that has so many. Else it takes nothing,
// and wait is how long it will be until there would be so many.
func (b *buckets) take(key string, n int) (wait time.Duration, ok bool) {
	if b == nil {
		return 0, true
	}
	return b.takeIf(key, n, n)
}

// takeOrOwe is take, but of more than a bucket holds a full one pays what it has
// and owes the rest.
func (b *buckets) takeOrOwe(key string, n int) (wait time.Duration, ok bool) {
	if b == nil {
		return 0, true
	}
	return b.takeIf(key, min(n, b.burst), n)
}

// borrow takes n tokens if none are owed: what is missing is owed then. Else wait
// is how long it will be until the debt is paid. Of those who borrow at the same
// time the later ones find what the first one owes.
func (b *buckets) borrow(key string, n int) (wait time.Duration, ok bool) {
	if b == nil {
		return 0, true
	}
	return b.takeIf(key, 0, n)
}

// takeIf takes n tokens if there are need.
func (b *buckets) takeIf(key string, need, n int) (wait time.Duration, ok bool) {
	h, now := maphash.String(b.seed, key), b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if wait := b.missing(b.of[h], now, need); wait > 0 {
		return wait, false
	}
	b.move(h, now, n)
	return 0, true
}

// charge takes n tokens whether or not there are so many: what is missing is
// owed. A negative n gives tokens back.
func (b *buckets) charge(key string, n int) {
	if b == nil || n == 0 {
		return
	}
	h, now := maphash.String(b.seed, key), b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.move(h, now, n)
}

// left is how many tokens there are, zero if some are owed.
func (b *buckets) left(key string) int {
	if b == nil {
		return math.MaxInt32
	}
	h, now := maphash.String(b.seed, key), b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(0, int(b.tokens(b.of[h], now)))
}

// pairs are token buckets of one name each for an owner. Anybody can make names
// up, so every owner has a table of their own. An owner has at most half of the
// room that nobody has, as in a pool: a full table refuses its owner and nobody
// else. Names that somebody has and names that nobody has are the same here, so
// that a refusal does not tell one from the other. A nil *pairs limits nothing.
type pairs struct {
	refill
	seed maphash.Seed
	size int // buckets, of all owners

	mu    sync.Mutex
	used  int
	of    map[uint64]*names
	swept int64 // when all tables were pruned last
}

// names are the buckets of an owner.
type names struct {
	of   table
	next int64 // no bucket is full before; 0: not known
}

// pairsKept is how many names all callers together have buckets for: about 40
// bytes each. One caller alone has a third of them, which is four times what the
// default budget of a caller pays for.
const pairsKept = 1 << 18

func newPairs(burst, perHour int, now func() time.Time) *pairs {
	if burst <= 0 {
		return nil
	}
	return &pairs{refill: newRefill(burst, perHour, now), seed: maphash.MakeSeed(), size: pairsKept, of: make(map[uint64]*names)}
}

// errNoRoom: an owner has as many buckets as it may.
var errNoRoom = errTooManyNames

// takeAll takes the price of each name out of its bucket, or nothing at all: then
// err is errNoRoom or refused, which is about a name that has too little, and wait
// is how long that will be so. With owe a full bucket pays a price that is more
// than it holds.
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
		return name, wait, errPairBudget
	}
	if wait, ok := p.makeRoom(of, more, now); !ok {
		return "", wait, errNoRoom
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

// makeRoom reports whether an owner may have so many more buckets.
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

// fits is the rule of [pool]: whoever comes later and wants little gets it.
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

// charge takes n tokens from a bucket, or gives them back if n is negative.
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

// left is how many tokens there are, zero if some are owed.
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
