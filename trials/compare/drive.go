package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// drive spreads call(0), call(1), … call(n-1) over callers, for as long as d at
// most, but until least of them are made, and returns how many it made and how long
// they took. The first error ends it.
func drive(ctx context.Context, callers, n, least int, d time.Duration, call func(int) error) (made int, took time.Duration, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	start := time.Now()
	for range callers {
		all.Go(func() {
			for ctx.Err() == nil && (time.Since(start) < d || next.Load() < int64(least)) {
				i := int(next.Add(1) - 1)
				if i >= n {
					return
				}
				if err := call(i); err != nil {
					fail(err)
				}
			}
		})
	}
	all.Wait()
	return min(int(next.Load()), n), time.Since(start), context.Cause(ctx)
}
