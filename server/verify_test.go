package server

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestChecksAreSpread: a request alone uses every token.
func TestChecksAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := make(verifiers, 3)
		var running atomic.Int64
		end := make(chan struct{})
		go v.each(t.Context(), 100, func(int) {
			running.Add(1)
			<-end
		})
		synctest.Wait()
		if n := running.Load(); n != 3 {
			t.Errorf("%d checks are under way, want 3", n)
		}
		close(end)
	})
}

// TestChecksAreBounded: of two requests together no more run than there are
// tokens, and with one token one after the other.
func TestChecksAreBounded(t *testing.T) {
	v := make(verifiers, 2)
	var running, most, calls atomic.Int64
	check := func(int) {
		calls.Add(1)
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer running.Add(-1)
		for range 1000 {
			running.Load()
		}
	}
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- v.each(t.Context(), 500, check) }()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if calls.Load() != 1000 || most.Load() > 2 {
		t.Errorf("%d calls, %d at once", calls.Load(), most.Load())
	}
}

// TestChecksTakeTurns: two requests with a hundred checks each are under way
// when one with a single check comes. It waits for one check of each goroutine
// that came before it, not for four hundred.
func TestChecksTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := make(verifiers, 2)
		end := make(chan struct{}) // of a check that is under way
		var small atomic.Bool
		var ended sync.WaitGroup
		request := func(n int, check func(int)) {
			ended.Go(func() {
				if err := v.each(t.Context(), n, check); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // until all that it can do is wait
		}
		large := func(int) { <-end }
		request(100, large)
		request(100, large)
		request(1, func(int) { small.Store(true) })
		for range 4 {
			end <- struct{}{}
			synctest.Wait()
		}
		if !small.Load() {
			t.Error("the single check still waits")
		}
		close(end)
		ended.Wait()
	})
}

func TestNoChecksAreNoError(t *testing.T) {
	v := make(verifiers, 2)
	if err := v.each(t.Context(), 0, func(int) { t.Error("it was called") }); err != nil {
		t.Error(err)
	}
}

func TestAPanicOfACheckIsAnError(t *testing.T) {
	v := make(verifiers, 1)
	err := v.each(t.Context(), 3, func(i int) {
		if i == 1 {
			panic("broken")
		}
	})
	if err == nil || !strings.Contains(err.Error(), "panic: broken") {
		t.Errorf("got %v", err)
	}
}

func TestChecksAreGivenUpWithTheRequest(t *testing.T) {
	v := make(verifiers, 1)
	v <- struct{}{} // another request has the only token
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.each(ctx, 1, func(int) { t.Error("it was called") }); err != context.Canceled {
		t.Errorf("got %v", err)
	}
}
