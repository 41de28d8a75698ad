package client

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	defaultAttempts = 5
	defaultMaxDelay = 30 * time.Second
	firstDelay      = 250 * time.Millisecond // before the second attempt, where the server names none
	longestDelay    = 30 * time.Second
)

func (c *Client) attempts() int { return cmp.Or(c.Attempts, defaultAttempts) }

// repeats returns whether the very same request is sent again, and after which time.
// Nothing that the server has decided is asked a second time.
func (c *Client) repeats(r call, err error, attempt int) (after time.Duration, again bool) {
	if _, ok := errors.AsType[answerError](err); ok || attempt >= c.attempts() {
		return 0, false
	}
	e, answered := errors.AsType[*Error](err)
	switch {
	case !answered: // the connection failed, before or after the server did what was asked
		return backoff(attempt), !r.unsafe
	case !e.Temporary(), r.unsafe && !e.nothingDone():
		return 0, false
	case e.RetryAfter > cmp.Or(c.MaxDelay, defaultMaxDelay):
		return 0, false
	}
	return delay(err, attempt), true
}

// delay returns how long to wait after an error, as it has come for so many times in a row:
// as the server says, and a little longer, or else with backoff.
func delay(err error, times int) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok && e.RetryAfter > 0 {
		return e.RetryAfter + jitter(min(e.RetryAfter/2, 10*time.Second))
	}
	return backoff(times)
}

// backoff is the pause where the server does not name one: it doubles each time, and half
// of it is chance, so that many clients that failed together do not come back together.
func backoff(attempt int) time.Duration {
	d := min(firstDelay<<min(attempt-1, 10), longestDelay)
	return d/2 + jitter(d/2)
}

// jitter returns a time between 0 and d.
func jitter(d time.Duration) time.Duration { return rand.N(d + 1) }

func (c *Client) sleep(ctx context.Context, d time.Duration) error {
	if c.pause != nil {
		return c.pause(ctx, d)
	}
	return sleep(ctx, d)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Temporary reports whether the very same request may succeed later: the server was busy,
// was starting or stopping, or a budget was used up that refills. [Client] has then repeated
// it already, unless RetryAfter is longer than its MaxDelay.
//
// It is false for what the server has decided, and for two codes with which a call should not
// wait: CodePairBudget, because the request may succeed at once without the user whom Detail
// names, and CodeStoreFull, because it lasts until the operator has made room or enough has
// expired. Repeat such a request in some minutes.
func (e *Error) Temporary() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return e.Code != CodePairBudget
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// nothingDone reports whether the server has refused before it did anything.
func (e *Error) nothingDone() bool {
	return e.Code != "" && e.Status != http.StatusInternalServerError && e.Code != CodeOutcomeUnknown
}
