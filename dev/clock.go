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

// advance has the clock be further ahead from now on.
func (c *clock) advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += by
}
