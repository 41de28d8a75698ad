package admission

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
