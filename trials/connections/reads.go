package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	api "welcomed/client"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

// readers is how many connections ask for the same large answer at the same time.
const readers = 200

// What is asked for is as large as the caps allow, but for what is off the shelf.
const (
	ownerDevices  = 50
	keyPackagesOf = 90  // of each device but the first, so that a user may have them all
	full          = 500 // of the first one: a full shelf
	atOnce        = 100 // in a request
)

// reads measures how long costly reads take on many connections at a time, and how
// long others wait meanwhile, and prints a table.
func reads(ctx context.Context, c *config, out io.Writer) error {
	s, err := start(ctx, c)
	if err != nil {
		return err
	}
	defer s.remove()
	welcome, err := s.furnish(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "| read on 200 connections | answer | p50 | p99 | longest | others wait, p50 / p99 |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|")
	var wrong []error
	for _, read := range []struct{ name, path string }{
		{"a user's 50 devices", harness.UserPath("owner") + "/devices"},
		{"the inventory of 500 KeyPackages", ownerDevice(0).Shelf()},
		{"the outcome for 4,910 recipients", harness.WelcomePath(welcome)},
	} {
		wrong = append(wrong, s.read(ctx, c, out, read.name, read.path))
	}
	return errors.Join(append(wrong, s.Terminate())...)
}

func (s *server) read(ctx context.Context, c *config, out io.Writer, name, path string) error {
	ctx, cancel := context.WithTimeout(ctx, c.duration)
	defer cancel()
	f := newFigures()
	var mu sync.Mutex
	var times []time.Duration
	var failures []error
	largest := 0
	good := s.behave(ctx, c.good, f)
	var all sync.WaitGroup
	for range readers {
		all.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				n, err := size(ctx, s.Client(), path)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				times, largest = append(times, time.Since(began)), max(largest, n)
				if err != nil {
					failures = append(failures, err)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	good.Wait()
	slices.Sort(times)
	slices.Sort(f.times)
	fmt.Fprintf(out, "| %s | %d KiB | %s | %s | %s | %s / %s |\n", name, largest>>10, percentile(times, 50), percentile(times, 99), percentile(times, 100),
		percentile(f.times, 50), percentile(f.times, 99))
	return errors.Join(append(failures, f.failures...)...)
}

// size is how much a good answer has.
func size(ctx context.Context, c *harness.Client, path string) (int, error) {
	a, err := c.Ask(ctx, "GET", path, nil)
	if err == nil && !a.Good() {
		err = a.Refusal("GET", path)
	}
	return len(a.Body), err
}

func ownerDevice(i int) harness.Device { return harness.Device{User: "owner", Name: fmt.Sprint(i)} }

// furnish publishes what is read, and returns the id of a Welcome for all of it.
func (s *server) furnish(ctx context.Context) (welcome string, err error) {
	signer, client := mlstest.NewSigner(1, "owner"), s.Client()
	var refs []mls.KeyPackageRef
	for i := range ownerDevices {
		left := keyPackagesOf
		if i == 0 {
			left = full
		}
		for ; left > 0; left -= atOnce {
			items := make([][]byte, min(left, atOnce))
			for n := range items {
				items[n] = signer.KeyPackage()
				kp, err := mls.ReadKeyPackage(items[n])
				if err != nil {
					return "", err
				}
				refs = append(refs, kp.Ref())
			}
			if _, err := client.Publish(ctx, ownerDevice(i).ID(), "", items...); err != nil {
				return "", err
			}
		}
	}
	posted, err := client.Post(ctx, api.Posting{Welcome: mlstest.Welcome(1, refs...)})
	return posted.ID, err
}
