package server

import (
	"container/heap"
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// bucketsKept is how many callers, users or pairs of them are remembered: about
// 100 bytes each.
const bucketsKept = 1 << 16

// buckets are token buckets, one for each key: each holds up to burst tokens and
// gains rate of them in a second. A nil *buckets limits nothing.
//
// They know one number of a bucket, the time at which it will be full; one that
// is full is not kept at all. If there are more keys than can be kept, the
// fullest bucket is forgotten first, so whoever wants theirs forgotten has to
// empty that many others further. golang.org/x/time/rate has neither debts
// beyond the burst nor fractions of a token, and takes more room for a key than
// all this.
type buckets struct {
	burst, rate float64
	most        int
	now         func() time.Time
	started     time.Time
	seed        maphash.Seed

	mu    sync.Mutex
	byKey map[uint64]*bucket
	order fullestFirst
}

// A bucket is one that is not full.
type bucket struct {
	key   uint64        // hashed: keys are long, and a secret seed keeps them apart
	full  time.Duration // when it will be, after the start
	index int           // in order
}

// newBuckets returns full ones. They go by a clock that no one sets, if now has
// one (time.Now does). It returns nil, no limit, for a burst of zero.
func newBuckets(burst, perSecond float64, now func() time.Time) *buckets {
	if burst <= 0 {
		return nil
	}
	return &buckets{burst: burst, rate: perSecond, most: bucketsKept, now: now, started: now(),
		seed: maphash.MakeSeed(), byKey: make(map[uint64]*bucket)}
}

// take takes n tokens out of key's bucket if there are so many, or if it is full
// because n is more than one holds; the rest is then a debt. Else nothing is
// taken, and wait is how long it will be until there are enough.
//
// With n = 0 it takes nothing and says whether the bucket is free of debt.
func (b *buckets) take(key string, n float64) (wait time.Duration, ok bool) {
	if b == nil {
		return 0, true
	}
	return b.pay(key, n, min(n, b.burst))
}

// borrow takes n tokens if the bucket is free of debt: what it does not have is
// a debt then. Else wait is how long it will be until the debt is paid.
func (b *buckets) borrow(key string, n float64) (wait time.Duration, ok bool) {
	if b == nil {
		return 0, true
	}
	return b.pay(key, n, 0)
}

// pay takes n tokens if there are as many as needed.
func (b *buckets) pay(key string, n, needed float64) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.look()
	k := maphash.String(b.seed, key)
	missing := time.Duration(0) // until it is full
	if have := b.byKey[k]; have != nil {
		missing = have.full - now
	}
	if wait = missing - b.time(b.burst-needed); wait > 0 {
		return wait, false
	}
	b.owe(k, now, n)
	return 0, true
}

// charge takes n tokens whether or not there are so many: what is missing is a
// debt. A negative n gives tokens back.
func (b *buckets) charge(key string, n float64) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owe(maphash.String(b.seed, key), b.look(), n)
}

// look returns the time and forgets the buckets that are full.
func (b *buckets) look() time.Duration {
	now := b.now().Sub(b.started)
	for len(b.order) > 0 && b.order[0].full <= now {
		b.forgetFullest()
	}
	return now
}

// owe puts off the time at which a bucket is full.
func (b *buckets) owe(key uint64, now time.Duration, n float64) {
	if n == 0 {
		return
	}
	have := b.byKey[key]
	switch {
	case have != nil:
		have.full = min(have.full+b.time(n), now+longestDebt)
		heap.Fix(&b.order, have.index)
	case n > 0:
		have = &bucket{key: key, full: now + b.time(n)}
		b.byKey[key] = have
		heap.Push(&b.order, have)
	}
	if len(b.order) > b.most {
		b.forgetFullest()
	}
}

func (b *buckets) forgetFullest() {
	delete(b.byKey, heap.Pop(&b.order).(*bucket).key)
}

// longestDebt keeps times far from where they overflow.
const longestDebt = 10 * 365 * 24 * time.Hour

// time is how long it takes to gain n tokens.
func (b *buckets) time(n float64) time.Duration {
	if n == 0 {
		return 0
	}
	seconds := math.Min(n/b.rate, longestDebt.Seconds())
	return time.Duration(seconds * float64(time.Second))
}

// fullestFirst is a heap of those that will be full first.
type fullestFirst []*bucket

func (f fullestFirst) Len() int           { return len(f) }
func (f fullestFirst) Less(i, j int) bool { return f[i].full < f[j].full }

func (f fullestFirst) Swap(i, j int) {
	f[i], f[j] = f[j], f[i]
	f[i].index, f[j].index = i, j
}

func (f *fullestFirst) Push(x any) {
	b := x.(*bucket)
	b.index = len(*f)
	*f = append(*f, b)
}

func (f *fullestFirst) Pop() any {
	old := *f
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*f = old[:len(old)-1]
	return last
}
