package server

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
)

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
