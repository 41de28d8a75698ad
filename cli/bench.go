package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/load"
	"welcomed/mls"
	"welcomed/safefile"
)

// What a bench can measure.
const (
	mixMachine = "machine"
	mixPhases  = "phases"
	mixLife    = "life"
	mixGroup   = "group"
)

// A benchConfig is what the flags of bench say. Where a number is 0 the mix
// decides.
type benchConfig struct {
	url         *url.URL // nil: a server of its own
	token       string
	dir         string
	mix         string
	callers     []int
	suite       mls.CipherSuite
	count       int
	duration    time.Duration
	devices     int
	keyPackages int
	longPolls   int
	keep        bool
	json        bool
}

func defaultBenchConfig() *benchConfig {
	return &benchConfig{
		callers:     []int{1, 16, 64, 256},
		suite:       1,
		duration:    10 * time.Second,
		keyPackages: 20,
	}
}

func benchCommand(env environment) *cli.Command {
	c := defaultBenchConfig()
	return &cli.Command{
		Name:        "bench",
		Usage:       "say how many users this machine can serve, or measure a server",
		Description: benchDescription,
		Flags:       c.flags(),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			c.chooseMix(cmd)
			ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			defer context.AfterFunc(ctx, stop)() // a second signal ends the process at once
			return bench(ctx, env, c)
		},
	}
}

const benchDescription = `Without arguments it takes less than a minute, most of the processors and some
megabytes in the working directory, which should be on the disk that the
database is to be on: see --dir.

It makes KeyPackages with real signatures for users that nobody else has, and every
Welcome it posts has to come back once, byte for byte, or it fails. Objects are
made and connections opened before a clock starts.

machine what the disk and the processors of this machine do, how many users that
        carries, and what ends first
phases  publish, reserve, post, claim, ack: each by itself, for one recipient
group   reserve for 1000 devices, post one Welcome for them, have them join
life    idle devices, long-polls, and bursts of new groups of 1 to 1000`

func (c *benchConfig) flags() []cli.Flag {
	return []cli.Flag{
		valueFlag("url", serverURL(&c.url), "measure the server at `URL`; the bench removes what it makes there"),
		secretFlag("token", &c.token, "the `TOKEN` for the server"),
		textFlag("dir", &c.dir, "measure the disk of `DIR` too; without --url the server's file is there, by default in the working directory"),
		valueFlag("mix", choice(&c.mix, mixMachine, mixPhases, mixGroup, mixLife), "measure `MIX`: machine, phases, group or life; see above. By default machine, and phases with --url, --callers, --count or --devices"),
		valueFlag("callers", callerCounts(&c.callers), "`NUMBERS` of callers, one after the other"),
		valueFlag("suite", oneSuite(&c.suite), "make objects of cipher suite `N`"),
		valueFlag("count", number(&c.count, 0), "`N` objects (phases), groups (group) or bursts (life); 0: 5000, 5, or as many as --duration has"),
		valueFlag("duration", duration(&c.duration, 0), "begin nothing after `DURATION` in a phase, or in a level of group and life; 0: no limit"),
		valueFlag("devices", number(&c.devices, 0), "`N` devices that objects are for (phases), in the group (group) or in all (life); 0: one for each, 1000, 2000"),
		valueFlag("key-packages", number(&c.keyPackages, 1), "`N` KeyPackages of a request that publishes several, and on a shelf in life"),
		valueFlag("long-polls", number(&c.longPolls, 0), "`N` devices wait in long-polls in life; 0: a quarter of them"),
		boolFlag("keep", &c.keep, "leave on the server what the bench made"),
		boolFlag("json", &c.json, "write one JSON document"),
	}
}

// chooseMix chooses what to measure if the flags do not say it. Flags about how to measure mean
// that the user wants to see the measurements.
func (c *benchConfig) chooseMix(cmd *cli.Command) {
	if c.mix == "" {
		c.mix = mixMachine
		if slices.ContainsFunc([]string{"url", "callers", "count", "devices"}, cmd.IsSet) {
			c.mix = mixPhases
		}
	}
	if c.mix == mixMachine && !cmd.IsSet("callers") {
		c.callers = []int{1, machineCallers}
	}
}

// serverURL is the URL of a server; none is nil.
func serverURL(p **url.URL) cli.Value {
	return value[*url.URL]{p, func(s string) (*url.URL, error) {
		if s == "" {
			return nil, nil
		}
		return load.ParseURL(s)
	}, func(u *url.URL) string {
		if u == nil {
			return ""
		}
		return u.String()
	}}
}

// mostCallers bounds the number of callers, so that a typing error does not use up the machine.
const mostCallers = 10_000

// callerCounts is a list of numbers of callers.
func callerCounts(p *[]int) cli.Value {
	return value[[]int]{p, func(s string) (counts []int, err error) {
		for item := range strings.SplitSeq(s, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(item))
			if err != nil || n < 1 || n > mostCallers || slices.Contains(counts, n) {
				return nil, fmt.Errorf("not a list of different numbers from 1 to %d, like 1,16,64,256", mostCallers)
			}
			counts = append(counts, n)
		}
		return counts, nil
	}, func(counts []int) string { return strings.Trim(strings.ReplaceAll(fmt.Sprint(counts), " ", ","), "[]") }}
}

// oneSuite is the number of a suite.
func oneSuite(p *mls.CipherSuite) cli.Value {
	return value[mls.CipherSuite]{p, func(s string) (mls.CipherSuite, error) {
		suites, err := parseSuites(s)
		if err != nil || len(suites) != 1 {
			return 0, errors.New("not a suite from 1 to 7")
		}
		return suites[0], nil
	}, func(s mls.CipherSuite) string { return strconv.Itoa(int(s)) }}
}

// bench measures. It prints what was measured also if it ended early.
func bench(ctx context.Context, env environment, c *benchConfig) (err error) {
	if c.mix == mixMachine && c.url != nil {
		return errors.New("--mix machine is about this machine, and --url names a server: leave one of them out")
	}
	target, stop, err := c.open(ctx, env)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if !slices.Contains(target.About.CipherSuites, c.suite) {
		return fmt.Errorf("the server does not accept cipher suite %d", c.suite)
	}
	b := &benchRun{benchConfig: c, driver: load.NewDriver(target, c.suite), limits: target.About.Limits, report: newBenchReport(c, target)}
	hide := showProgress(&b.driver.Progress, env.stderr)
	err = b.run(ctx)
	if c.url != nil && !c.keep {
		err = errors.Join(err, b.remove(ctx))
	}
	hide()
	if err != nil {
		b.report.Error = sentence(err)
	}
	return errors.Join(b.report.write(env.stdout, c.json), err)
}

// open finds the server, or starts one, which stop ends.
func (c *benchConfig) open(ctx context.Context, env environment) (t *load.Target, stop func() error, err error) {
	if c.url != nil {
		t, err = load.Find(ctx, c.url, c.token)
		return t, func() error { return nil }, err
	}
	if c.dir == "" {
		c.dir = filepath.Dir(defaultDB(env))
	}
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return nil, nil, fmt.Errorf("--dir: %w", err)
	}
	dir, err := safefile.TemporaryDirectory(c.dir, "welcomed-bench-")
	if err != nil {
		return nil, nil, fmt.Errorf("--dir: %w", err)
	}
	// The server does not end with ctx: requests under way are answered.
	end, base, err := startDemo(context.WithoutCancel(ctx), env, filepath.Join(dir, "welcomed.db"))
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop = func() error { return errors.Join(end(), os.RemoveAll(dir)) }
	u, err := load.ParseURL(base)
	if err == nil {
		t, err = load.Find(ctx, u, "")
	}
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return t, stop, nil
}
