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
	"io"
	"os"
	"runtime/debug"
	"time"

	"welcomed/trials/harness"
)

func main() {
	debug.SetGCPercent(400) // the ledger is large and lives long
	harness.Main("year", &config{})
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

// serverLog is the size of the log of a server that is not told otherwise.
const serverLog = 16 << 20

// Flags implements harness.Trial.
func (c *config) Flags(flags *flag.FlagSet) {
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
}

// Check implements harness.Trial.
func (c *config) Check() error {
	if c.users < 1 || c.scale < 1 || c.users/c.scale < 10 || c.days < 1 || c.callers < 1 {
		return errors.New("at least ten users, one day, one caller")
	}
	if c.step < time.Minute || c.step > day {
		return errors.New("a step is a minute to a day")
	}
	if c.logSize == 0 {
		c.logSize = max(1<<20, serverLog/int64(c.scale))
	}
	return nil
}

// Run implements harness.Trial.
func (c *config) Run(ctx context.Context, out io.Writer) (string, error) {
	dir, err := os.MkdirTemp(c.dir, "year")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	y, err := newYear(*c, dir, out)
	if err != nil {
		return "", err
	}
	defer y.close()
	if err := y.live(ctx, c.days); err != nil {
		return "", err
	}
	return "the store and the ledger agreed all the time", y.finish(ctx)
}
