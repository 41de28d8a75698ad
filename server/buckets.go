package server

import (
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// bucketsKept is how many callers, users or pairs of them are remembered: about
// 300 bytes each. Whoever wants their bucket forgotten, so that it is full again,
// has to be charged for that many others first.
const bucketsKept = 1 << 16

// buckets are token buckets, one for each key, which is full at first. A nil
// *buckets limits nothing.
type buckets struct {
	burst int
	limit rate.Limit
	now   func() time.Time

	borrowing sync.Mutex

	mu    sync.Mutex
	byKey *simplelru.LRU[string, *rate.Limiter]
}

// newBuckets returns buckets that hold burst tokens and gain perHour of them. It
// returns nil, no limit, for a burst of zero.
func newBuckets(burst, perHour int, now func() time.Time) *buckets {
	if burst <= 0 {
		return nil
	}
	kept, _ := simplelru.NewLRU[string, *rate.Limiter](bucketsKept, nil) // it refuses only sizes below 1
	return &buckets{burst: burst, limit: rate.Limit(float64(perHour) / time.Hour.Seconds()), now: now, byKey: kept}
}

func (b *buckets) of(key string) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.byKey.Get(key)
	if !ok {
		l = rate.NewLimiter(b.limit, b.burst)
		b.byKey.Add(key, l)
	}
	return l
}

// take takes n tokens out of a bucket that has so many. Else it takes nothing,
// and wait is how long it will be until there would be so many.
func (b *buckets) take(key string, n int) (wait time.Duration, ok bool) {
	if b == nil {
		return 0, true
	}
	l, now := b.of(key), b.now()
	if l.AllowN(now, n) {
		return 0, true
	}
	missing := float64(n) - l.TokensAt(now)
	return time.Duration(min(missing/float64(b.limit), longestWait.Seconds()) * float64(time.Second)), false
}

// borrow takes n tokens if none are owed: what is missing is owed then. Else wait
// is how long it will be until the debt is paid. Of those who borrow at the same
// time the later ones find what the first one owes.
func (b *buckets) borrow(key string, n int) (wait time.Duration, ok bool) {
	if b == nil {
		return 0, true
	}
	b.borrowing.Lock()
	defer b.borrowing.Unlock()
	if wait, ok = b.take(key, 0); ok {
		b.charge(key, n)
	}
	return wait, ok
}

// longestWait is more than anybody waits, and far from where times overflow.
const longestWait = 365 * 24 * time.Hour

// charge takes n tokens whether or not there are so many: what is missing is
// owed. A limiter reserves no more at a time than a bucket holds. A negative n
// gives tokens back.
func (b *buckets) charge(key string, n int) {
	if b == nil {
		return
	}
	l, now := b.of(key), b.now()
	for ; n > b.burst; n -= b.burst {
		l.ReserveN(now, b.burst)
	}
	l.ReserveN(now, n)
}

// left is how many tokens there are, zero if some are owed.
func (b *buckets) left(key string) int {
	if b == nil {
		return math.MaxInt32
	}
	return max(0, int(b.of(key).TokensAt(b.now())))
}
