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

// atATime is how many reservations of one caller a server has under way; the
// others wait.
const atATime = 2

// overshoot is by how much one attacker may be beyond a budget. A Store may
// overshoot a limit by its concurrent callers, and so may a budget: a reservation
// is charged for one KeyPackage of each user before, and for those of the user's
// other devices when it is known how many there are, so that what is under way may
// be owed. What a Welcome names is all charged before.
func (a attack) overshoot() int {
	if a.way == listAndPost {
		return 0
	}
	return min(a.connections, atATime) * (a.devices - 1)
}

// most is what may be gone of the one user and of all after a time.
func (a attack) most(d time.Duration) (one, all int) {
	n, beyond := a.attackers, a.overshoot()
	one = min(n*(pairBudget.within(d)+beyond), targetBudget.within(d)+n*beyond)
	return one, n * (callerBudget.within(d) + beyond)
}
