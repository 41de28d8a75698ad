package auth

import (
	"context"
	"errors"
	"time"
)

// A clock is the machine's, or a test's.
type clock struct {
	now   func() time.Time
	after func(time.Duration) <-chan time.Time
}

var realClock = clock{now: time.Now, after: time.After}

var errTooSlow = errors.New("no answer in time")

// within is context.WithTimeout by this clock.
func (c clock) within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	after := c.after(d)
	go func() {
		select {
		case <-after:
			cancel(errTooSlow)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}
