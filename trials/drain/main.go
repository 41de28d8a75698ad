// Drain measures the largest stock that somebody with one token can drain, with
// the budgets that a server has by itself and without any: it starts the real
// binary with the shelves of many users full, and takes all that it can get over
// many connections, in each way that there is. What is gone is read from the
// inventories of the owners. A user whose shelf is drained goes on meanwhile.
//
// It fails if more is gone than the documents say, if the user who is drained
// has to wait, or if nobody could add that user to a group afterwards.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"welcomed/trials/harness"
)

func main() { harness.Main("drain", &config{}) }

// A config is what a run is asked to do.
type config struct {
	binary      string
	duration    time.Duration
	connections int
	attackers   int
	devices     int
	stock       int
	users       int
	each        int
	patience    time.Duration
}

// Flags implements harness.Trial.
func (c *config) Flags(flags *flag.FlagSet) {
	flags.StringVar(&c.binary, "binary", "build/welcomed", "the server to test")
	flags.DurationVar(&c.duration, "duration", time.Minute, "how long each attack lasts")
	flags.IntVar(&c.connections, "connections", 64, "how many there are, of all attackers together")
	flags.IntVar(&c.attackers, "attackers", 20, "how many attack one user together, in the last attack")
	flags.IntVar(&c.devices, "devices", 5, "devices of that user")
	flags.IntVar(&c.stock, "stock", 500, "KeyPackages of each of them, besides the last resort")
	flags.IntVar(&c.users, "users", 250, "users besides, with one device")
	flags.IntVar(&c.each, "each", 100, "KeyPackages of each of them, besides the last resort")
	flags.DurationVar(&c.patience, "patience", 2*time.Second, "the user who is drained has every answer by then")
}

// Check implements harness.Trial.
func (c *config) Check() error {
	switch {
	case c.attackers < 1 || c.devices < 1 || c.stock < 1 || c.users < 1 || c.each < 1:
		return errors.New("there has to be one of everything")
	case c.connections < c.attackers:
		return errors.New("each attacker needs a connection")
	}
	return nil
}

// Run implements harness.Trial: it prints a table of what each attack has taken.
func (c *config) Run(ctx context.Context, out io.Writer) (string, error) {
	people, err := newPopulation(c)
	if err != nil {
		return "", err
	}
	var results []result
	for _, a := range attacks(c) {
		r, err := measure(ctx, c, people, a)
		if err != nil {
			return "", fmt.Errorf("%s: %w", a, err)
		}
		results = append(results, r)
	}
	printTable(out, c, people, results)
	var wrong []error
	for _, r := range results {
		wrong = append(wrong, r.check(c))
	}
	return fmt.Sprintf("%d attacks took no more than they may", len(results)), errors.Join(wrong...)
}

// attacks are those of a run.
func attacks(c *config) (list []attack) {
	for _, w := range ways {
		for _, budgets := range []bool{false, true} {
			list = append(list, attack{way: w, budgets: budgets, attackers: 1, connections: c.connections, devices: c.devices})
		}
	}
	return append(list, attack{way: reserveOne, budgets: true, attackers: c.attackers,
		connections: c.connections / c.attackers, devices: c.devices})
}

// measure starts a new server, attacks it, and counts what is gone.
func measure(ctx context.Context, c *config, people *population, a attack) (r result, err error) {
	s, err := start(ctx, c, a.flags())
	if err != nil {
		return r, err
	}
	defer s.remove()
	if err := people.move(ctx, s); err != nil {
		return r, fmt.Errorf("sign everybody up: %w", err)
	}
	before, err := people.stock(ctx, s)
	if err != nil {
		return r, err
	}
	if r, err = s.runAttack(ctx, c, people, a); err != nil {
		return r, err
	}
	after, err := people.stock(ctx, s)
	if err != nil {
		return r, err
	}
	r.one, r.all = before.one-after.one, before.all-after.all
	if a.budgets && a.attackers > 1 {
		r.afterwards = s.addAfterwards(ctx, c)
	}
	return r, s.Terminate()
}
