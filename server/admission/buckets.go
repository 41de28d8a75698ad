package admission

import (
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// A refill says how many tokens buckets hold, and how fast they fill. A bucket is kept as the
// time when it will be full again; taking tokens moves that time away. Times are nanoseconds
// since the refill was made, and do not change when the clock is set.
type refill struct {
	burst int
	each  float64 // nanoseconds until there is one token more
	now   func() int64
}

// never is when a bucket is full that gains nothing. It is far from where times overflow.
const never = 100 * 365 * 24 * time.Hour

// longestWait is longer than any client waits.
const longestWait = 365 * 24 * time.Hour

func newRefill(burst, perHour int, now func() time.Time) refill {
	begun := now()
	return refill{
		burst: burst,
		each:  float64(time.Hour) / max(float64(perHour), 1e-9),
		now:   func() int64 { return int64(now().Sub(begun)) },
	}
}

// tokens returns how many tokens are in a bucket at a time; less than zero if some are owed.
func (r *refill) tokens(full, now int64) float64 {
	return float64(r.burst) - float64(max(0, full-now))/r.each
}

// missing returns how long it takes until a bucket has n tokens; 0 if it has them. It rounds
// away half a nanosecond of a token.
func (r *refill) missing(full, now int64, n int) time.Duration {
	missing := (float64(n) - r.tokens(full, now)) * r.each
	if missing < 1 {
		return 0
	}
	return time.Duration(min(missing, float64(longestWait)))
}

// after returns the bucket after n more tokens were taken. A negative n gives tokens back.
func (r *refill) after(full, now int64, n int) int64 {
	moved := math.Round(float64(n) * r.each)
	return max(full, now) + int64(max(min(moved, float64(never)), -float64(never)))
}

// A table has the buckets that are not full, by a hash of their names. A bucket that is not
// full is never forgotten. Only time makes room, or giving tokens back.
type table map[uint64]int64

func (t table) set(key uint64, full, now int64) {
	if full <= now {
		delete(t, key)
		return
	}
	t[key] = min(full, now+int64(never))
}

// prune forgets the buckets that are full. It returns when the next one will be full.
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

// buckets are token buckets, one for each key. Each is full at first. Only users with an
// account have keys here, so their number is bounded. A nil *buckets limits nothing.
type buckets struct {
	refill
	seed maphash.Seed

	mu      sync.Mutex
	of      table
	pruneAt int // entries
}

// pruneFrom is how many buckets there have to be before full ones are forgotten.
const pruneFrom = 1 << 10

// newBuckets returns buckets that hold burst tokens and gain perHour of them. It
// returns nil, no limit, for a burst of zero.
func newBuckets(burst, perHour int, now func() time.Time) *buckets {
	if burst <= 0 {
		return nil
	}
	return &buckets{refill: newRefill(burst, perHour, now), seed: maphash.MakeSeed(), of: make(table), pruneAt: pruneFrom}
}

// move takes n tokens, whether or not the bucket has them. The caller holds mu.
func (b *buckets) move(key uint64, now int64, n int) {
	b.of.set(key, b.after(b.of[key], now, n), now)
	if len(b.of) >= b.pruneAt {
		b.of.prune(now)
		b.pruneAt = max(pruneFrom, 2*len(b.of))
	}
}

// take takes n tokens out of a bucket that has them. If the bucket has fewer, it takes nothing,
// and wait is how long it takes until there are enough.
func (b *buckets) take(key string, n int) (wait time.Duration, ok bool) {
	if b == nil {
		return 0, true
	}
	return b.takeIf(key, n, n)
}

// takeOrOwe is take. But if n is more than a bucket can hold, a full bucket pays what it has,
// and owes the rest.
func (b *buckets) takeOrOwe(key string, n int) (wait time.Duration, ok bool) {
	if b == nil {
		return 0, true
	}
	return b.takeIf(key, min(n, b.burst), n)
}

// borrow takes n tokens if none are owed. What the bucket does not have is owed from then on.
// If some are owed, wait is how long it takes until they are paid. If several callers borrow at
// once, the later ones find the debt of the first.
func (b *buckets) borrow(key string, n int) (wait time.Duration, ok bool) {
	if b == nil {
		return 0, true
	}
	return b.takeIf(key, 0, n)
}

// takeIf takes n tokens if there are at least need.
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

// charge takes n tokens, whether or not the bucket has them. What it does not have is owed. A
// negative n gives tokens back.
func (b *buckets) charge(key string, n int) {
	if b == nil || n == 0 {
		return
	}
	h, now := maphash.String(b.seed, key), b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.move(h, now, n)
}

// left returns how many tokens there are; zero if some are owed.
func (b *buckets) left(key string) int {
	if b == nil {
		return math.MaxInt32
	}
	h, now := maphash.String(b.seed, key), b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(0, int(b.tokens(b.of[h], now)))
}
