// Compare measures the five events of the store beside other ways to keep the
// same thing: the first design, in PostgreSQL, and the disk itself. All
// engines take turns within one run, each begins every round with the same
// pairs, and at the end of a round each has to show that it did the work: that
// every KeyPackage and every Welcome was given out once, with the right bytes,
// and none was lost.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"welcomed/trials/harness"
	"welcomed/trials/postgres"
)

func main() { harness.Main("compare", &config{}) }

// A config is what a run is asked to do.
type config struct {
	rounds     int
	pairs      int // posted before a round; half as many are on the shelf, and half as many are there to be published
	cell       time.Duration
	levels     []int
	operations []operation
	kinds      []kind
	json       bool
	dir        string
	binary     string
	postgres   string

	given                     *flag.FlagSet
	quick                     bool
	engines, events, atLevels string // as they were asked for
}

// Flags implements harness.Trial.
func (c *config) Flags(flags *flag.FlagSet) {
	c.given = flags
	flags.BoolVar(&c.quick, "quick", false, "one short round that only proves that everything works")
	flags.StringVar(&c.engines, "engines", strings.Join(kindNames(), ","), "who takes part; the ratios are to the first")
	flags.StringVar(&c.events, "operations", "publish,reserve,post,claim,acknowledge", "what is measured")
	flags.StringVar(&c.atLevels, "levels", "1,16,64,256", "callers at a time")
	flags.IntVar(&c.rounds, "rounds", 5, "how often each is measured; the median counts")
	flags.IntVar(&c.pairs, "pairs", 100_000, "Welcomes that wait at the start of each round")
	flags.DurationVar(&c.cell, "time", 600*time.Millisecond, "how long each is measured at each level, at most")
	flags.BoolVar(&c.json, "json", false, "print everything as JSON")
	flags.StringVar(&c.dir, "dir", "/var/tmp", "a directory on the disk to be measured")
	flags.StringVar(&c.binary, "binary", "build/welcomed", "the server, for the engine http")
	flags.StringVar(&c.postgres, "postgres", postgres.DebianBinaries, "where initdb and postgres are")
}

// hurry sets what a quick run is, but for what was asked for besides.
func (c *config) hurry() {
	asked := map[string]bool{}
	c.given.Visit(func(f *flag.Flag) { asked[f.Name] = true })
	for name, set := range map[string]func(){
		"rounds": func() { c.rounds = 1 }, "pairs": func() { c.pairs = 4000 },
		"time": func() { c.cell = 150 * time.Millisecond }, "levels": func() { c.atLevels = "1,64" },
	} {
		if !asked[name] {
			set()
		}
	}
}

// Check implements harness.Trial.
func (c *config) Check() (err error) {
	if c.quick {
		c.hurry()
	}
	if c.levels, err = list(c.atLevels, positive); err != nil {
		return fmt.Errorf("-levels: %w", err)
	}
	if c.operations, err = list(c.events, operationNamed); err != nil {
		return fmt.Errorf("-operations: %w", err)
	}
	if c.kinds, err = list(c.engines, kindNamed); err != nil {
		return fmt.Errorf("-engines: %w", err)
	}
	switch {
	case c.rounds < 1 || c.pairs < 1000:
		return errors.New("at least 1 round of 1000 pairs")
	case inMemory(c.dir):
		return fmt.Errorf("%s is in memory, where nothing is ever synced: name a directory on a disk with -dir", c.dir)
	}
	if slices.ContainsFunc(c.kinds, func(k kind) bool { return k.form == "http" }) {
		if _, err := os.Stat(c.binary); err != nil {
			return fmt.Errorf("%w: make build makes it, or leave http out of -engines", err)
		}
	}
	for i, o := range c.operations {
		if i > 0 && o <= c.operations[i-1] {
			return errors.New("-operations: name them in the order of a life")
		}
		if o == acknowledge && (i == 0 || c.operations[i-1] != claim) {
			return errors.New("-operations: what is acknowledged has to be claimed before")
		}
	}
	return nil
}

// Run implements harness.Trial.
func (c *config) Run(ctx context.Context, out io.Writer) (string, error) {
	r, err := compare(ctx, *c)
	if err != nil {
		return "", err
	}
	write := r.writeTable
	if c.json {
		write = r.writeJSON
	}
	return fmt.Sprintf("%d engines did the work that was measured", len(c.kinds)), write(out)
}

func list[T any](s string, parse func(string) (T, error)) (values []T, err error) {
	for item := range strings.SplitSeq(s, ",") {
		v, err := parse(strings.TrimSpace(item))
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

func positive(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err == nil && n < 1 {
		err = fmt.Errorf("%d is not a number of callers", n)
	}
	return n, err
}
