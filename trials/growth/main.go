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
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"welcomed/trials/harness"
)

func main() { harness.Main("growth", &config{}) }

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

	sizeList, callerList string // as they were asked for
}

// Flags implements harness.Trial.
func (c *config) Flags(flags *flag.FlagSet) {
	flags.StringVar(&c.sizeList, "sizes", "10000,1000000,10000000", "KeyPackages, 100 on each device")
	flags.StringVar(&c.callerList, "callers", "1,64", "callers at a time")
	flags.IntVar(&c.rounds, "rounds", 5, "how often each is measured; the median counts")
	flags.IntVar(&c.count, "count", 20_000, "events of each kind in a cell; a lone caller makes a tenth of them")
	flags.StringVar(&c.dir, "dir", "", "where the files are, on the disk to be measured; default: a new temporary directory")
	flags.Int64Var(&c.copyUpTo, "copy-up-to", 2<<30, "a file of at most so many bytes is copied for each round; a larger one is changed in place")
	flags.BoolVar(&c.json, "json", false, "print everything as JSON")
	flags.BoolVar(&c.keep, "keep", false, "leave the filled files in -dir, and use those that are there")
	flags.StringVar(&c.child, "child", "", "internal: what a process that was started to be measured does")
	flags.StringVar(&c.childFile, "file", "", "internal: with which file")
}

// Check implements harness.Trial.
func (c *config) Check() error {
	var err1, err2 error
	c.sizes, err1 = numbers(c.sizeList)
	c.callers, err2 = numbers(c.callerList)
	return errors.Join(err1, err2)
}

// Run implements harness.Trial.
func (c *config) Run(ctx context.Context, out io.Writer) (string, error) {
	if c.child != "" {
		return "", child(ctx, *c)
	}
	if c.dir == "" {
		dir, err := os.MkdirTemp("", "growth")
		if err != nil {
			return "", err
		}
		c.dir = dir
		defer os.Remove(dir)
	}
	r, err := measure(ctx, *c)
	if err != nil {
		return "", err
	}
	write := r.writeTable
	if c.json {
		write = r.writeJSON
	}
	return "measured", write(out)
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
