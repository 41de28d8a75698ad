package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A fate is what became of a connection that misbehaved.
type fate string

const (
	cut       fate = "cut off"      // without an answer, or in the middle of one
	told      fate = "refused"      // with an answer that says why
	answered  fate = "answered"     // which is what a claim that waited has to be
	unreached fate = "not accepted" // in time
)

// figures are what a run has seen.
type figures struct {
	open atomic.Int64

	mu       sync.Mutex
	fates    map[kind]map[fate]int
	times    []time.Duration // of good requests
	failures []error         // of good requests and of the admin listener
	resident []int64
	most     int64 // connections open at a time
}

func newFigures() *figures {
	f := &figures{fates: map[kind]map[fate]int{}}
	for _, k := range kinds {
		f.fates[k] = map[fate]int{}
	}
	return f
}

// count notes a fate; in the end everybody is cut off, which does not count.
func (f *figures) count(ctx context.Context, k kind, what fate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() == nil {
		f.fates[k][what]++
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

// sample notes the memory of the server, and asks its admin listener.
func (f *figures) sample(ctx context.Context, s *process) {
	for ctx.Err() == nil {
		_, resident, err := s.memory()
		if err == nil {
			_, err = s.goroutines(ctx)
		}
		f.mu.Lock()
		f.resident = append(f.resident, resident)
		f.most = max(f.most, f.open.Load())
		if err != nil && ctx.Err() == nil {
			f.failures = append(f.failures, err)
		}
		f.mu.Unlock()
		pause(ctx, 200*time.Millisecond)
	}
}

func mib(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

func (f *figures) print(c config, before, after usage) {
	fmt.Printf("%d connections for %s", f.most, c.duration)
	if c.tls {
		fmt.Print(" over TLS")
	}
	fmt.Println()
	for _, k := range kinds {
		fmt.Printf("  %-22s", k)
		for _, what := range []fate{cut, told, answered, unreached} {
			fmt.Printf(" %6d %s", f.fates[k][what], what)
		}
		fmt.Println()
	}
	slices.Sort(f.times)
	fmt.Printf("good requests: %d, %d failed, p50 %s, p99 %s, longest %s\n", len(f.times), len(f.failures),
		f.percentile(50), f.percentile(99), f.percentile(100))
	slices.Sort(f.resident)
	fmt.Printf("memory: %s at first, %s peak, %s in the middle of the samples, %s afterwards\n",
		mib(before.resident), mib(after.peak), mib(f.resident[len(f.resident)/2]), mib(after.resident))
	fmt.Printf("goroutines: %d before, %d afterwards; files: %d before, %d afterwards\n",
		before.goroutines, after.goroutines, before.files, after.files)
	for _, err := range f.failures[:min(5, len(f.failures))] {
		fmt.Println("  ", err)
	}
}

func (f *figures) percentile(p int) time.Duration {
	if len(f.times) == 0 {
		return 0
	}
	return f.times[(len(f.times)-1)*p/100].Round(100 * time.Microsecond)
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

func bound(c config) int64 {
	each := int64(perConnection)
	if c.tls {
		each = perSecureConnection
	}
	return aim + 3*bodyMemory + int64(c.connections)*each
}

// enough is how many connections there have to be at a time: those that were
// refused stay away for a while.
func enough(c config) int64 { return int64(c.connections) / 2 }

func (f *figures) gathered(c config) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most >= enough(c)
}

// check says what was not as it should be.
func (f *figures) check(c config, after usage) error {
	var wrong []error
	if most := bound(c); after.peak > most {
		wrong = append(wrong, fmt.Errorf("the server took %s, at most %s are expected", mib(after.peak), mib(most)))
	}
	if len(f.failures) > 0 || len(f.times) == 0 {
		wrong = append(wrong, fmt.Errorf("%d of %d good requests failed", len(f.failures), len(f.times)))
	}
	if f.most < enough(c) {
		wrong = append(wrong, fmt.Errorf("only %d connections were open at a time", f.most))
	}
	for _, k := range []kind{idle, slowHeader, slowBody, slowReader} {
		if f.fates[k][cut]+f.fates[k][told] == 0 {
			wrong = append(wrong, fmt.Errorf("no connection was ended by the server: %s", k))
		}
	}
	return errors.Join(wrong...)
}
