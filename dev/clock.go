package dev

import (
	"sync"
	"time"

	"welcomed/delivery"
)

// A clock is that of the machine, or ahead of it.
type clock struct {
	system delivery.Clock
	mu     sync.Mutex
	ahead  time.Duration
}

// Now implements delivery.Clock.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.system.Now().Add(c.ahead)
}

// Elapsed implements delivery.Clock.
func (c *clock) Elapsed() time.Duration { return c.system.Elapsed() }

// mostAhead is as far as the clock can be ahead of the machine's, in all: 100 years. Times
// of the store, and those that are a while later, can still be written then.
const mostAhead = 100 * 365 * 24 * time.Hour

// advance has the clock be further ahead from now on, unless that is too far.
func (c *clock) advance(by time.Duration) (done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if by > mostAhead-c.ahead {
		return false
	}
	c.ahead += by
	return true
}
