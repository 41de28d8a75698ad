// Compare measures the five events of the store beside other ways to keep the
// same thing: the bare bbolt prototype, PostgreSQL, and the disk itself. All
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
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"welcomed/trials/postgres"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// A config is what a run is asked to do.
type config struct {
	rounds     int
	pairs      int // posted before a round; half as many are on the shelf, and half as many are there to be published
	cell       time.Duration
	levels     []int
	operations []operation
	kinds      []kind
	all        bool
	json       bool
	dir        string
	binary     string
	postgres   string
}

func run(ctx context.Context, args []string) error {
	c, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	r, err := compare(ctx, c)
	if err != nil {
		return err
	}
	if c.json {
		return r.writeJSON(os.Stdout)
	}
	return r.writeTable(os.Stdout)
}

func parse(args []string) (config, error) {
	var c config
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "one short round that only proves that everything works")
	engines := flags.String("engines", strings.Join(kindNames(), ","), "who takes part; the ratios are to the first")
	operations := flags.String("operations", "publish,reserve,post,claim,acknowledge", "what is measured")
	levels := flags.String("levels", "1,16,64,256", "callers at a time")
	flags.IntVar(&c.rounds, "rounds", 5, "how often each is measured; the median counts")
	flags.IntVar(&c.pairs, "pairs", 100_000, "Welcomes that wait at the start of each round")
	flags.DurationVar(&c.cell, "time", 600*time.Millisecond, "how long each is measured at each level, at most")
	flags.BoolVar(&c.all, "all", false, "measure every engine in every operation, also where it has nothing of its own to show")
	flags.BoolVar(&c.json, "json", false, "print everything as JSON")
	flags.StringVar(&c.dir, "dir", "/var/tmp", "a directory on the disk to be measured")
	flags.StringVar(&c.binary, "binary", "build/welcomed", "the server, for the engine http")
	flags.StringVar(&c.postgres, "postgres", postgres.DebianBinaries, "where initdb and postgres are")
	err := flags.Parse(args)
	if *quick && err == nil {
		c.rounds, c.pairs, c.cell, *levels = 1, 4000, 150*time.Millisecond, "1,64"
		err = flags.Parse(args) // what is said beside it counts
	}
	if err != nil {
		return c, err
	}
	if c.levels, err = list(*levels, positive); err != nil {
		return c, fmt.Errorf("-levels: %w", err)
	}
	if c.operations, err = list(*operations, operationNamed); err != nil {
		return c, fmt.Errorf("-operations: %w", err)
	}
	if c.kinds, err = list(*engines, kindNamed); err != nil {
		return c, fmt.Errorf("-engines: %w", err)
	}
	return c, c.check()
}

func (c config) check() error {
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
