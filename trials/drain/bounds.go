package main

import (
	"math"
	"time"
)

// A budget is a number of KeyPackages that may be taken at once, and how many
// more in each hour.
type budget struct{ burst, perHour int }

// What the documents promise. It is not read from the server: a default that
// changes is to be noticed.
var (
	callerBudget = budget{20_000, 20_000}
	pairBudget   = budget{100, 20}
	targetBudget = budget{1_000, 200}
)

// within is what may be taken in a time.
func (b budget) within(d time.Duration) int {
	return b.burst + int(math.Ceil(float64(b.perHour)*d.Hours()))
}

// most is what may be gone of the one user and of all after a time: all that is
// taken is charged before it is handed out, so no budget is ever exceeded.
func (a attack) most(d time.Duration) (one, all int) {
	one = min(a.attackers*pairBudget.within(d), targetBudget.within(d))
	return one, a.attackers * callerBudget.within(d)
}
