package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"welcomed/trials/harness"
)

// An ending says how a connection that misbehaved ended.
type ending string

const (
	cut       ending = "cut off"      // without an answer, or in the middle of one
	refused   ending = "refused"      // with an answer that says why
	answered  ending = "answered"     // which is what a claim that waited has to be
	unreached ending = "not accepted" // in time
)

// figures are what a run has seen.
type figures struct {
	open atomic.Int64

	mu       sync.Mutex
	endings  map[kind]map[ending]int
	times    []time.Duration // of good requests
	failures []error         // of good requests and of the admin listener
	resident []int64
	own      int64           // the most of it that is no mapped file
	most     int64           // connections open at a time
	large    []time.Duration // until a Welcome of the largest size was posted
	retries  map[int]int     // of those, by the status before
	killed   int             // processes, for their memory
}

func newFigures() *figures {
	f := &figures{endings: map[kind]map[ending]int{}, retries: map[int]int{}}
	for _, k := range kinds {
		f.endings[k] = map[ending]int{}
	}
	return f
}

// count counts an ending. At the end of a run the trial cuts all connections, which
// does not count.
func (f *figures) count(ctx context.Context, k kind, what ending) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() == nil {
		f.endings[k][what]++
	}
}

func (f *figures) asked(took time.Duration, what string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.times = append(f.times, took)
	if err != nil {
		f.failures = append(f.failures, fmt.Errorf("%s, after %s: %w", what, took.Round(time.Millisecond), err))
	}
}

// posted notes how long it took until a Welcome of the largest size was posted,
// claimed and acknowledged.
func (f *figures) posted(took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.large = append(f.large, took)
}

// again notes that a poster has to ask again; without any answer the status is zero.
func (f *figures) again(ctx context.Context, path string, status int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	f.retries[status]++
	switch {
	case err != nil:
		f.failures = append(f.failures, fmt.Errorf("a poster: %s: %w", path, err))
	case status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests:
		f.failures = append(f.failures, fmt.Errorf("a poster: %s answered %d", path, status))
	}
}

// sample notes the memory of the server, and asks its admin listener.
func (f *figures) sample(ctx context.Context, s *server) {
	for ctx.Err() == nil {
		m, err := harness.MemoryOf(s.PID())
		if err == nil {
			_, err = s.goroutines(ctx)
		}
		f.mu.Lock()
		f.resident, f.own = append(f.resident, m.Resident), max(f.own, m.Own)
		f.most = max(f.most, f.open.Load())
		if err != nil && ctx.Err() == nil {
			f.failures = append(f.failures, err)
		}
		f.mu.Unlock()
		pause(ctx, 200*time.Millisecond)
	}
}

func mib(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

func (f *figures) print(out io.Writer, c *config, before, after usage) {
	fmt.Fprintf(out, "%d connections for %s", f.most, c.duration)
	if c.tls {
		fmt.Fprint(out, " over TLS")
	}
	fmt.Fprintln(out)
	for _, k := range kinds {
		fmt.Fprintf(out, "  %-22s", k)
		for _, what := range []ending{cut, refused, answered, unreached} {
			fmt.Fprintf(out, " %6d %s", f.endings[k][what], what)
		}
		fmt.Fprintln(out)
	}
	slices.Sort(f.times)
	fmt.Fprintf(out, "good requests: %d, %d failed, p50 %s, p99 %s, longest %s\n", len(f.times), len(f.failures),
		percentile(f.times, 50), percentile(f.times, 99), percentile(f.times, 100))
	if c.posters > 0 {
		slices.Sort(f.large)
		fmt.Fprintf(out, "Welcomes of 4 MiB: %d posted and claimed, p50 %s, longest %s; asked again by status: %v\n", len(f.large),
			percentile(f.large, 50), percentile(f.large, 100), f.retries)
	}
	slices.Sort(f.resident)
	fmt.Fprintf(out, "memory: %s at first, %s peak, %s in the middle of the samples, %s afterwards; at most %s besides mapped files\n",
		mib(before.Resident), mib(after.Peak), mib(f.resident[len(f.resident)/2]), mib(after.Resident), mib(f.own))
	fmt.Fprintf(out, "goroutines: %d before, %d afterwards; files: %d before, %d afterwards\n",
		before.goroutines, after.goroutines, before.files, after.files)
	if c.memory > 0 {
		fmt.Fprintf(out, "limit: %s; processes killed for their memory: %d\n", mib(c.memory), f.killed)
	}
	for _, err := range f.failures[:min(5, len(f.failures))] {
		fmt.Fprintln(out, "  ", err)
	}
}

// percentile is of times that are sorted.
func percentile(times []time.Duration, p int) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return times[(len(times)-1)*p/100].Round(100 * time.Microsecond)
}

// What a server promises to need at most: what the store and the Go runtime aim
// at, what clients may have of bodies and answers, which is on its way in three
// forms at the worst, and what each connection takes.
const (
	aim                 = 128 << 20
	bodyMemory          = 64 << 20
	perConnection       = 32 << 10
	perSecureConnection = 96 << 10
)

func bound(c *config) int64 {
	if c.memory > 0 {
		return math.MaxInt64 // the kernel sees to it
	}
	each := int64(perConnection)
	if c.tls {
		each = perSecureConnection
	}
	return aim + 3*bodyMemory + int64(c.connections)*each
}

// enough is how many connections there have to be at a time: those that were
// refused stay away for a while.
func enough(c *config) int64 { return int64(c.connections) / 2 }

func (f *figures) enoughOpen(c *config) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most >= enough(c)
}

// check says what was not as it should be.
func (f *figures) check(c *config, after usage) error {
	var wrong []error
	if most := bound(c); after.Peak > most {
		wrong = append(wrong, fmt.Errorf("the server took %s, at most %s are expected", mib(after.Peak), mib(most)))
	}
	if f.killed > 0 {
		wrong = append(wrong, fmt.Errorf("the kernel killed the server, which took more than %s", mib(c.memory)))
	}
	if len(f.failures) > 0 || len(f.times) == 0 {
		wrong = append(wrong, fmt.Errorf("%d of %d good requests failed", len(f.failures), len(f.times)))
	}
	if f.most < enough(c) {
		wrong = append(wrong, fmt.Errorf("only %d connections were open at a time", f.most))
	}
	for _, k := range []kind{idle, slowHeader, slowBody, slowReader} {
		if f.endings[k][cut]+f.endings[k][refused] == 0 {
			wrong = append(wrong, fmt.Errorf("no connection was ended by the server: %s", k))
		}
	}
	return errors.Join(wrong...)
}
