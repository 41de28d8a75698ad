// Year lives a year of a messenger's life on a clock of its own: devices come and
// go, shelves are replenished, groups are made, Welcomes are posted, held,
// released, cancelled, claimed, acknowledged, rejected, and forgotten about. It
// keeps a ledger of what the store has promised, compares every answer with it,
// and fails at the first one that differs. It prints what one month after the
// other needs of the disk, and what a user does in a day, which docs/scale.md
// calculates with.
//
// The full thing has a million users; -scale 1000 is a thousandth of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

func main() {
	debug.SetGCPercent(400) // the ledger is large and lives long
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "year:", err)
		os.Exit(1)
	}
}

// A config is what a run is asked to do.
type config struct {
	users     int
	scale     int
	days      int
	step      time.Duration
	seed      uint64
	callers   int
	dir       string
	logSize   int64
	json      bool
	ratio     float64
	compacted float64
}

func run(ctx context.Context, args []string) error {
	c, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(c.dir, "year")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	y, err := newYear(c, dir)
	if err != nil {
		return err
	}
	defer y.close()
	if err := y.live(ctx, c.days); err != nil {
		return err
	}
	return y.finish(ctx)
}

// serverLog is the size of the log of a server that is not told otherwise.
const serverLog = 16 << 20

func parse(args []string) (config, error) {
	var c config
	flags := flag.NewFlagSet("year", flag.ContinueOnError)
	flags.IntVar(&c.users, "users", 1_000_000, "how many the full thing has")
	flags.IntVar(&c.scale, "scale", 1, "so many times fewer users are simulated")
	flags.IntVar(&c.days, "days", 365, "how long")
	flags.DurationVar(&c.step, "step", time.Hour, "what happens within it happens at the same time; after it there is a sweep")
	flags.Uint64Var(&c.seed, "seed", 1, "the same seed gives the same year; with several callers, who of two adders is first may differ")
	flags.IntVar(&c.callers, "callers", 32, "how many act at the same time")
	flags.StringVar(&c.dir, "dir", "", "where the file is; default: the system's directory for temporary files")
	flags.Int64Var(&c.logSize, "log-size", 0, "bytes of the store's log of changes; 0: as much of the server's as there are of its users, at least 1 MiB")
	flags.BoolVar(&c.json, "json", false, "print a JSON object per week")
	flags.Float64Var(&c.ratio, "ratio", 2.5, "fail if the pages of the file ever are more than this times the payload, once it has settled")
	flags.Float64Var(&c.compacted, "compacted", 1.6, "fail if after a compaction the file is larger than this times the payload")
	err := flags.Parse(args)
	if err == nil && (c.users < 1 || c.scale < 1 || c.users/c.scale < 10 || c.days < 1 || c.callers < 1) {
		err = errors.New("at least ten users, one day, one caller")
	}
	if c.logSize == 0 {
		c.logSize = max(1<<20, serverLog/int64(max(1, c.scale)))
	}
	if err == nil && (c.step < time.Minute || c.step > day) {
		err = errors.New("a step is a minute to a day")
	}
	return c, err
}
