package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// A result is what an attack has done.
type result struct {
	attack
	took              time.Duration
	one, all          int // KeyPackages that left the shelves of the one user, and of all
	lastTaken         time.Duration
	requests, refused int64
	joined            int           // how often the one user went through everything
	longest           time.Duration // one answer to that user
	slowest           string        // and to what
	afterwards        error         // why that user cannot be added to a group
}

// check says what was not as it should be. Without budgets there is no promise.
func (r result) check(c *config) error {
	if !r.budgets {
		return nil
	}
	var wrong []error
	one, all := r.most(r.took)
	if r.one > one {
		wrong = append(wrong, fmt.Errorf("%d KeyPackages of one user are gone, at most %d may be", r.one, one))
	}
	if r.all > all {
		wrong = append(wrong, fmt.Errorf("%d KeyPackages are gone, at most %d may be", r.all, all))
	}
	if r.longest > c.patience {
		wrong = append(wrong, fmt.Errorf("the user who was drained waited %s for %s", milliseconds(r.longest), r.slowest))
	}
	if r.one == 0 {
		wrong = append(wrong, errors.New("nothing was taken of the one user, so this was no attack"))
	}
	if err := errors.Join(append(wrong, r.afterwards)...); err != nil {
		return fmt.Errorf("%s: %w", r.attack, err)
	}
	return nil
}

func milliseconds(d time.Duration) string { return d.Round(time.Millisecond).String() }

func printTable(out io.Writer, c *config, p *population, results []result) {
	one := c.devices * c.stock
	fmt.Fprintf(out, "%s of each attack over %d connections; the one user has %d KeyPackages on %d devices, all %d users have %d\n",
		c.duration, c.connections, one, c.devices, len(p.users), one+c.users*c.each)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "way\tbudgets\tattackers\tgone of one\tmay be\tgone of all\tmay be\tthe last after\trequests\trefused\tthe one user joined\tlongest answer\t")
	for _, r := range results {
		mostOne, mostAll := "", ""
		if r.budgets {
			one, all := r.most(r.took)
			mostOne, mostAll = fmt.Sprint(one), fmt.Sprint(all)
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%d\t%s\t%s\t%d\t%d\t%d\t%s\t\n", r.way, r.budgetsText(), r.attackers, r.one, mostOne, r.all, mostAll,
			milliseconds(r.lastTaken), r.requests, r.refused, r.joined, milliseconds(r.longest))
	}
	t.Flush()
	fmt.Fprintf(out, "may be gone: %d+%d/h of one user by one attacker, %d+%d/h by all, %d+%d/h of all users by one attacker\n",
		pairBudget.burst, pairBudget.perHour, targetBudget.burst, targetBudget.perHour, callerBudget.burst, callerBudget.perHour)
}
