// Connections opens thousands of connections to a welcomed binary that do what
// they should not: they are idle, send a header or a body byte by byte, take an
// answer byte by byte, or wait. Beside them a few clients behave. It measures
// the memory of the server and how long the good ones wait, and fails if the
// memory exceeds what the server's flags promise, a good request is not
// answered, a slow client is not cut off, or something is left in the end.
//
// Linux only: what a process takes is read from /proc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"welcomed/trials/harness"
)

func main() { harness.Main("connections", &config{}) }

// A config is what a run is asked to do.
type config struct {
	binary      string
	connections int
	duration    time.Duration
	cutoff      time.Duration
	good        int
	posters     int
	memory      int64
	fits        []int64
	reads       bool
	waiting     bool
	streams     bool
	tls         bool
	measure     bool
}

// Flags implements harness.Trial.
func (c *config) Flags(flags *flag.FlagSet) {
	flags.StringVar(&c.binary, "binary", "build/welcomed", "the server to test")
	flags.IntVar(&c.connections, "connections", 5000, "how many are open at a time")
	flags.DurationVar(&c.duration, "duration", time.Minute, "for how long, once they are open")
	flags.DurationVar(&c.cutoff, "cutoff", 20*time.Second, "how long the server lets a header, a body and an idle connection take")
	flags.IntVar(&c.good, "good", 8, "clients that behave, besides")
	flags.IntVar(&c.posters, "posters", 0, "clients that post Welcomes of 4 MiB, besides")
	flags.Func("memory", "the server has to live with so many `MiB`, in a cgroup (needs root)", func(s string) (err error) {
		c.memory, err = parseMiB(s)
		return err
	})
	flags.Func("fits", "print a table of what fits in each of these `MiB`, separated by commas, instead", func(s string) error {
		for item := range strings.SplitSeq(s, ",") {
			n, err := parseMiB(item)
			if err != nil {
				return err
			}
			c.fits = append(c.fits, n)
		}
		return nil
	})
	flags.BoolVar(&c.reads, "reads", false, "print how long costly reads take on 200 connections, each for the duration, instead")
	flags.BoolVar(&c.waiting, "waiting", false, "all connections are claims that wait")
	flags.BoolVar(&c.streams, "streams", false, "all connections are streams of events on which nothing happens")
	flags.BoolVar(&c.tls, "tls", false, "all of it over TLS; the good ones speak HTTP/2")
	flags.BoolVar(&c.measure, "measure", false, "measure only: check nothing and use no flag that older versions do not have")
}

// Check implements harness.Trial.
func (c *config) Check() error { return nil }

func parseMiB(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	return n << 20, err
}

// settle is how long a server may take to give everything back.
const settle = 30 * time.Second

// Run implements harness.Trial.
func (c *config) Run(ctx context.Context, out io.Writer) (string, error) {
	switch {
	case c.fits != nil:
		return "", table(ctx, c, out)
	case c.reads:
		return "", reads(ctx, c, out)
	}
	s, err := start(ctx, c)
	if err != nil {
		return "", err
	}
	defer s.remove()
	if err := s.fill(ctx); err != nil {
		return "", err
	}
	before, err := s.usage(ctx)
	if err != nil {
		return "", err
	}
	figures := s.overload(ctx, c)
	after, left := s.settled(ctx, before)
	figures.print(out, c, before, after)
	wrong := errors.Join(left, s.Terminate(), figures.check(c, after))
	if c.measure {
		wrong = nil
	}
	return fmt.Sprintf("%d connections at a time, %d good requests", figures.most, len(figures.times)), wrong
}

// opening is how long the connections may take to be open, all at a time.
const opening = time.Minute

// overload opens the connections, keeps them for the duration, and measures meanwhile.
func (s *server) overload(ctx context.Context, c *config) *figures {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := newFigures()
	done := make(chan struct{})
	go func() { defer close(done); f.sample(ctx, s) }()
	misbehaving := s.openAll(ctx, c, f)
	good, posters := s.behave(ctx, c.good, f), s.post(ctx, c.posters, f)
	for began := time.Now(); ctx.Err() == nil && !f.enoughOpen(c) && time.Since(began) < opening; {
		pause(ctx, 100*time.Millisecond)
	}
	pause(ctx, c.duration)
	cancel()
	good.Wait()
	posters.Wait()
	misbehaving.Wait()
	<-done
	slices.Sort(f.times)
	if s.limit != nil {
		f.killed = s.limit.killed()
	}
	return f
}
