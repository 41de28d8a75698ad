package admission

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A handClock is moved by hand.
type handClock struct{ now atomic.Int64 }

func (c *handClock) Now() time.Time           { return time.Unix(0, c.now.Load()) }
func (c *handClock) advance(by time.Duration) { c.now.Add(int64(by)) }

func newTestBuckets(burst, perHour int) (*buckets, *handClock) {
	clock := new(handClock)
	return newBuckets(burst, perHour, clock.Now), clock
}

func TestBuckets(t *testing.T) {
	type step struct {
		after  time.Duration
		take   int
		borrow int // instead
		charge int // instead
		wait   time.Duration
		ok     bool
	}
	const s = time.Second
	for sentence, steps := range map[string][]step{
		"a bucket begins full and is empty after its burst": {
			{take: 6, ok: true}, {take: 4, ok: true}, {take: 1, wait: s / 2},
		},
		"it gains its rate, and no more than its burst": {
			{take: 10, ok: true}, {after: s, take: 2, ok: true}, {take: 1, wait: s / 2},
			{after: 3600 * s, take: 10, ok: true}, {take: 1, wait: s / 2},
		},
		"what is refused takes nothing": {
			{take: 8, ok: true}, {take: 3, wait: s / 2}, {take: 3, wait: s / 2}, {take: 2, ok: true},
		},
		"more than the burst is never there": {
			{take: 11, wait: s / 2}, {after: 3600 * s, take: 11, wait: s / 2}, {take: 10, ok: true},
		},
		"a charge is never refused, and its debt keeps the next one out until it is paid": {
			{take: 0, ok: true}, {charge: 14}, {take: 0, wait: 2 * s}, {after: s, take: 0, wait: s},
			{after: s, take: 0, ok: true}, {after: s / 2, take: 1, ok: true},
		},
		"a debt may be larger than what a bucket holds": {
			{charge: 45}, {take: 0, wait: 35 * s / 2}, {after: 35 * s / 2, take: 0, ok: true}, {take: 1, wait: s / 2},
		},
		"who has no debt can borrow, and nobody else": {
			{borrow: 14, ok: true}, {borrow: 1, wait: 2 * s}, {after: 2 * s, borrow: 1, ok: true}, {borrow: 1, wait: s / 2},
		},
		"what is given back is there again, up to the burst": {
			{take: 10, ok: true}, {charge: -4}, {take: 4, ok: true}, {take: 1, wait: s / 2},
			{charge: -99}, {after: 1, take: 10, ok: true}, {take: 1, wait: s / 2},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			b, clock := newTestBuckets(10, 7200)
			for i, step := range steps {
				clock.advance(step.after)
				if step.charge != 0 {
					b.charge("alice", step.charge)
					continue
				}
				pay, n := b.take, step.take
				if step.borrow != 0 {
					pay, n = b.borrow, step.borrow
				}
				if wait, ok := pay("alice", n); wait.Round(time.Millisecond) != step.wait || ok != step.ok {
					t.Fatalf("step %d: wait %v, ok %v; want %v, %v", i, wait, ok, step.wait, step.ok)
				}
				if _, ok := b.take("bob", 0); !ok {
					t.Fatalf("step %d: another key pays for it", i)
				}
			}
		})
	}
}

func TestNoBurstIsNoLimit(t *testing.T) {
	b := newBuckets(0, 0, time.Now)
	b.charge("alice", 1e9)
	if wait, ok := b.take("alice", 1e9); wait != 0 || !ok || b.left("alice") == 0 {
		t.Errorf("wait %v, ok %v", wait, ok)
	}
}

// TestABucketThatIsNotFullIsNeverForgotten: many others are charged, and only those
// that are full again are forgotten.
func TestABucketThatIsNotFullIsNeverForgotten(t *testing.T) {
	b, clock := newTestBuckets(10, 3600)
	b.take("alice", 10)
	const others = 200_000
	before := heapInUse()
	for i := range others {
		b.take(fmt.Sprint("caller", i), 1)
	}
	if n := b.left("alice"); n != 0 {
		t.Errorf("%d are left for alice", n)
	}
	if n := len(b.of); n != others+1 {
		t.Errorf("%d buckets, want %d", n, others+1)
	}
	if grown := heapInUse() - before; grown > others*80 {
		t.Errorf("%d bytes for a key", grown/others)
	}
	clock.advance(2 * time.Second)
	for i := range others {
		b.take(fmt.Sprint("later", i), 1)
	}
	if n := len(b.of); n > others+pruneFrom || n < others {
		t.Errorf("%d buckets, want those of the last two seconds", n)
	}
	if n := b.left("alice"); n != 2 {
		t.Errorf("%d are left for alice, want 2", n)
	}
	runtime.KeepAlive(b)
}

// TestNamesArePaidInATableOfTheirOwner: whoever makes up names is refused when
// their own table is full, and nobody else is. What they have taken of one is not
// forgotten.
func TestNamesArePaidInATableOfTheirOwner(t *testing.T) {
	clock := new(handClock)
	p := newPairs(10, 3600, clock.Now)
	p.size = 3000
	take := func(owner, name string, n int) error {
		_, _, err := p.takeAll(owner, map[string]int{name: n}, false)
		return err
	}
	if err := take("mallory", "alice", 10); err != nil {
		t.Fatal(err)
	}
	made := 1
	for ; made < 5000 && take("mallory", fmt.Sprint("nobody", made), 1) == nil; made++ {
	}
	if made < 900 || made > 1000 {
		t.Errorf("mallory has %d buckets, want a third of all", made)
	}
	if err := take("mallory", "alice", 1); !errors.Is(err, ErrPairBudget) {
		t.Errorf("of alice, of whom enough was taken: %v", err)
	}
	if _, wait, err := p.takeAll("mallory", map[string]int{"another": 1}, false); !errors.Is(err, ErrTooManyNames) || wait != time.Second {
		t.Errorf("one more name: %v, wait %v", err, wait)
	}
	for i := range 500 {
		if err := take("bob", fmt.Sprint("friend", i), 1); err != nil {
			t.Fatalf("bob's friend %d: %v", i, err)
		}
	}
	clock.advance(2 * time.Second)
	if err := take("mallory", "another", 1); err != nil {
		t.Errorf("when the names are full again: %v", err)
	}
	if p.used > 502 {
		t.Errorf("%d buckets, want those that are not full", p.used)
	}
	if n := p.left("mallory", "alice"); n != 2 {
		t.Errorf("mallory may take %d of alice, want 2", n)
	}
}

func TestAllOfManyNamesArePaidOrNone(t *testing.T) {
	clock := new(handClock)
	p := newPairs(10, 3600, clock.Now)
	_, _, _ = p.takeAll("bob", map[string]int{"alice": 8}, false)
	name, wait, err := p.takeAll("bob", map[string]int{"alice": 4, "carol": 4}, false)
	if name != "alice" || wait != 2*time.Second || !errors.Is(err, ErrPairBudget) {
		t.Errorf("got %q, %v, %v", name, wait, err)
	}
	if n := p.left("bob", "carol"); n != 10 {
		t.Errorf("%d are left of carol", n)
	}
	if _, _, err := p.takeAll("bob", map[string]int{"carol": 11}, false); err == nil {
		t.Error("more than a bucket holds was taken")
	}
	if _, _, err := p.takeAll("bob", map[string]int{"carol": 11}, true); err != nil {
		t.Errorf("owed: %v", err)
	}
	if _, wait, _ := p.takeAll("bob", map[string]int{"carol": 1}, false); wait != 2*time.Second {
		t.Errorf("after the debt: %v", wait)
	}
	p.charge("bob", "carol", -11)
	p.charge("bob", "alice", -8)
	if p.used != 0 || len(p.of) != 0 {
		t.Errorf("%d buckets of %d owners are kept", p.used, len(p.of))
	}
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestBucketsAreSharedByManyAtOnce: of what is there nobody gets more.
func TestBucketsAreSharedByManyAtOnce(t *testing.T) {
	b, _ := newTestBuckets(1000, 3600)
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := range 1000 {
				if _, ok := b.take("alice", 1); ok {
					taken.Add(1)
				}
				b.take(fmt.Sprint("caller", i), 1)
			}
		})
	}
	all.Wait()
	if n := taken.Load(); n != 1000 {
		t.Errorf("%d were taken, want 1000", n)
	}
}

// TestOnlyOneBorrowsTheLast: of many who borrow at once, none finds tokens that
// another is about to owe.
func TestOnlyOneBorrowsTheLast(t *testing.T) {
	for round := range 200 {
		b, _ := newTestBuckets(10, 1)
		now := b.now
		b.now = func() int64 { runtime.Gosched(); return now() } // let others in between
		var lent atomic.Int64
		var borrowing sync.WaitGroup
		start := make(chan struct{})
		for range 64 {
			borrowing.Go(func() {
				<-start
				if _, ok := b.borrow("alice", 11); ok {
					lent.Add(1)
				}
			})
		}
		close(start)
		borrowing.Wait()
		if n := lent.Load(); n != 1 {
			t.Fatalf("round %d: %d borrowed the last", round, n)
		}
	}
}
