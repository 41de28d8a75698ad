// Kill runs the real server on a real file under many concurrent clients, kills
// it with SIGKILL at random moments, hundreds of times, starts it again on the
// same file, and proves from what the clients were told that nothing that was
// acknowledged is missing. In between it keeps backups and puts them back: what came
// after a backup is lost then, and nothing may be handed out that was before.
//
// Clients publish, replace, sync, withdraw, list, reserve, post, release, cancel,
// claim, acknowledge and reject, over HTTP, as docs/lifecycle.md tells them to: a
// request whose answer was lost is sent again, byte for byte, until it is
// answered. Each attempt is recorded with its place in time.
//
// The checker takes each object by itself: a KeyPackage with the Welcomes for it,
// a Welcome as a whole, a device. It looks for an order of what was done to it,
// each attempt somewhere between its beginning and its end, those without an
// answer perhaps not at all, in which every answer is right by the life cycles of
// package delivery. If there is none, the server has lost something, done
// something twice, or done half of it. What the objects are in by the records is
// compared with the metrics, and with the file after the server has ended.
//
// Some servers are asked to stop with SIGTERM instead. Then no answer may be
// lost: a request that was sent over a connection on which the server has
// answered before gets its whole answer, or was refused before anything was sent.
// A connection that was not accepted yet may be reset, and counts as refused.
//
// It knows the server by its API alone, and the file by package bolt.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"welcomed/trials/harness"
)

func main() { harness.Main("kill", &config{}) }

// A config is what a run is asked to do.
type config struct {
	binary  string
	kills   int
	stops   int // in a hundred
	every   int
	seed    uint64
	users   int
	devices int
	adders  int
	up      time.Duration
	pause   time.Duration
	opens   time.Duration
	dir     string
	keep    bool
	quiet   bool
	out     io.Writer
}

// Flags implements harness.Trial.
func (c *config) Flags(flags *flag.FlagSet) {
	flags.StringVar(&c.binary, "binary", "", "the server; built from this module if it is not given")
	flags.IntVar(&c.kills, "kills", 300, "how often the server is killed")
	flags.IntVar(&c.stops, "stops", 14, "so many in a hundred servers are asked to stop, with SIGTERM, and not counted as kills")
	flags.IntVar(&c.every, "every", 10, "everything is checked after this many kills, and at the end; in between, a backup is kept or restored then")
	flags.Uint64Var(&c.seed, "seed", uint64(time.Now().UnixNano()%1_000_000), "of all that is decided by chance; who of several is first still differs")
	flags.IntVar(&c.users, "users", 10, "how many there are")
	flags.IntVar(&c.devices, "devices", 2, "how many each user has")
	flags.IntVar(&c.adders, "adders", 24, "how many reserve and post")
	flags.DurationVar(&c.up, "up", 500*time.Millisecond, "a server that is killed at any time serves for at most this long")
	flags.DurationVar(&c.pause, "pause", 12*time.Millisecond, "a client waits at most this long between two requests")
	flags.DurationVar(&c.opens, "opens", 5*time.Second, "the file has to open this soon after a server has ended; on an idle machine 1s will do")
	flags.StringVar(&c.dir, "dir", "", "where the file is; default: the system's directory for temporary files")
	flags.BoolVar(&c.keep, "keep", false, "leave the file there")
	flags.BoolVar(&c.quiet, "quiet", false, "print nothing but the last line")
}

// Check implements harness.Trial.
func (c *config) Check() error {
	if c.kills < 1 || c.every < 1 || c.users < 2 || c.devices < 1 || c.adders < 1 || c.pause < 0 || c.up < 0 || c.stops < 0 || c.stops > 99 {
		return errors.New("at least one kill, two users, one device, one adder")
	}
	return nil
}

// Run implements harness.Trial.
func (c *config) Run(ctx context.Context, out io.Writer) (string, error) {
	c.out = out
	dir, err := os.MkdirTemp(c.dir, "kill")
	if err != nil {
		return "", err
	}
	if !c.keep {
		defer os.RemoveAll(dir)
	}
	if c.binary == "" {
		if c.binary, err = harness.Build(ctx, dir); err != nil {
			return "", err
		}
	}
	r, err := newRun(ctx, *c, dir)
	if err != nil {
		return "", err
	}
	defer r.host.close()
	if err := r.live(); err != nil {
		return "", err
	}
	return r.summary(), nil
}

// summary says what was done and found in one line.
func (r *run) summary() string {
	var by, done []string
	for _, moment := range moments {
		by = append(by, fmt.Sprintf("%d %s", r.kills[moment].Load(), moment))
	}
	for _, kind := range changing {
		done = append(done, fmt.Sprintf("%d %s", r.done[kind].Load(), kind))
	}
	return strings.Join([]string{
		fmt.Sprintf("%d kills survived (%s), and %d restores", r.config.kills, strings.Join(by, ", "), r.restores),
		fmt.Sprintf("%d requests answered", r.requests.Load()),
		"acknowledged: " + strings.Join(done, ", "),
		fmt.Sprintf("%d answers lost and asked for again, %d requests repeated after their answer, %d refused before they were sent",
			r.lost.Load(), r.repeats.Load(), r.refused.Load()),
		fmt.Sprintf("after SIGTERM %d came over a new connection that was not accepted, %d over an idle one that was closed", r.unaccepted.Load(), r.tooLate.Load()),
		fmt.Sprintf("%d Welcomes claimed by the checker, %d checks", r.claimed.Load(), r.checker.checks),
		fmt.Sprintf("the file opened within %s, and %s after SIGTERM at the latest", r.opened.Round(time.Millisecond), r.stopped.Round(time.Millisecond)),
	}, "; ")
}
