// Growth measures what the store does with ten thousand, a million and ten
// million KeyPackages: the rate, latency and bytes written of each event, the
// size of the file, memory, and how long it takes to start.
//
// It fills one file per size, and then opens them in turn, round after round, so
// that the sizes are compared under the same conditions; the medians count. It
// uses the store as a server would, without HTTP. Linux only: what is written and
// what is resident is read from /proc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

// A config is what a run is asked to do.
type config struct {
	sizes     []int
	callers   []int
	rounds    int
	count     int
	dir       string
	copyUpTo  int64
	json      bool
	keep      bool
	child     string
	childFile string
}

func run(ctx context.Context, args []string) error {
	c, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if c.child != "" {
		return child(ctx, c)
	}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "growth"); err != nil {
			return err
		}
		defer os.Remove(c.dir)
	}
	r, err := measure(ctx, c)
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
	flags := flag.NewFlagSet("growth", flag.ContinueOnError)
	sizes := flags.String("sizes", "10000,1000000,10000000", "KeyPackages, 100 on each device")
	callers := flags.String("callers", "1,64", "callers at a time")
	flags.IntVar(&c.rounds, "rounds", 5, "how often each is measured; the median counts")
	flags.IntVar(&c.count, "count", 20_000, "events of each kind in a cell; a lone caller makes a tenth of them")
	flags.StringVar(&c.dir, "dir", "", "where the files are, on the disk to be measured; default: a new temporary directory")
	flags.Int64Var(&c.copyUpTo, "copy-up-to", 2<<30, "a file of at most so many bytes is copied for each round; a larger one is changed in place")
	flags.BoolVar(&c.json, "json", false, "print everything as JSON")
	flags.BoolVar(&c.keep, "keep", false, "leave the filled files in -dir, and use those that are there")
	flags.StringVar(&c.child, "child", "", "internal: what a process that was started to be measured does")
	flags.StringVar(&c.childFile, "file", "", "internal: with which file")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	var err1, err2 error
	c.sizes, err1 = numbers(*sizes)
	c.callers, err2 = numbers(*callers)
	return c, errors.Join(err1, err2)
}

func numbers(list string) ([]int, error) {
	var all []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a number of something", s)
		}
		all = append(all, n)
	}
	return all, nil
}

// measure fills the files and goes through them round after round.
func measure(ctx context.Context, c config) (*results, error) {
	r := newResults(c)
	for _, size := range c.sizes {
		path := filepath.Join(c.dir, fmt.Sprintf("growth-%d.db", size))
		if !c.keep {
			_ = os.Remove(path)
			defer os.Remove(path)
			defer os.Remove(path + ".part")
		}
		if err := fill(ctx, path, size, r.of(size)); err != nil {
			return nil, err
		}
	}
	for round := range c.rounds {
		for _, size := range c.sizes {
			fmt.Fprintf(os.Stderr, "round %d of %d: %d KeyPackages\n", round+1, c.rounds, size)
			if err := measureSize(ctx, c, size, r.of(size)); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// measureSize is one round with one file.
func measureSize(ctx context.Context, c config, size int, out *column) error {
	path := filepath.Join(c.dir, fmt.Sprintf("growth-%d.db", size))
	path, done, err := workingCopy(path, c.copyUpTo)
	if err != nil {
		return err
	}
	defer done()
	if err := measureStarts(ctx, path, out); err != nil {
		return err
	}
	if err := readAll(path); err != nil {
		return err
	}
	return measureLoad(ctx, c, path, size, out)
}

// readAll has the system hold the file in memory, as far as there is room: what
// is measured next is the store and not the disk's answer to the first question.
func readAll(path string) error {
	if err := forget(path); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := readSingly(f); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	const page, readers = 4096, 16
	return spread(readers, int(info.Size()/page), func(_ *maker, i int) error {
		_, err := f.ReadAt(make([]byte, page), int64(i)*page)
		return err
	})
}
