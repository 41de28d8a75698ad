package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"welcomed/mls"
	"welcomed/mls/mlstest"
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
func reads(ctx context.Context, c config) error {
	s, err := start(ctx, c)
	if err != nil {
		return err
	}
	defer s.kill()
	welcome, err := s.furnish(ctx)
	if err != nil {
		return err
	}
	fmt.Println("| read on 200 connections | answer | p50 | p99 | longest | others wait, p50 / p99 |")
	fmt.Println("|---|---|---|---|---|---|")
	var wrong []error
	for _, read := range []struct{ name, path string }{
		{"a user's 50 devices", "/v1/users/owner/devices"},
		{"the inventory of 500 KeyPackages", "/v1/users/owner/devices/0/key-packages"},
		{"the outcome for 4,910 recipients", "/v1/welcomes/" + welcome},
	} {
		wrong = append(wrong, s.read(ctx, c, read.name, read.path))
	}
	return errors.Join(append(wrong, s.stop())...)
}

func (s *process) read(ctx context.Context, c config, name, path string) error {
	ctx, cancel := context.WithTimeout(ctx, c.duration)
	defer cancel()
	f := newFigures()
	var mu sync.Mutex
	var times []time.Duration
	var failures []error
	size := 0
	good := s.behave(ctx, c.good, f)
	var all sync.WaitGroup
	for range readers {
		all.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				n, err := s.get(ctx, path)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				times, size = append(times, time.Since(began)), max(size, n)
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
	fmt.Printf("| %s | %d KiB | %s | %s | %s | %s / %s |\n", name, size>>10, percentile(times, 50), percentile(times, 99), percentile(times, 100),
		percentile(f.times, 50), percentile(f.times, 99))
	return errors.Join(append(failures, f.failures...)...)
}

func (s *process) get(ctx context.Context, path string) (n int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.scheme+"://"+s.api+path, nil)
	if err != nil {
		return 0, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	size, err := io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %d", path, resp.StatusCode)
	}
	return int(size), err
}

// furnish publishes what is read, and returns the id of a Welcome for all of it.
func (s *process) furnish(ctx context.Context) (welcome string, err error) {
	signer := mlstest.NewSigner(1, "owner")
	var refs []mls.KeyPackageRef
	for i := range ownerDevices {
		device := fmt.Sprintf("/v1/users/owner/devices/%d/key-packages", i)
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
			body, err := json.Marshal(map[string]any{"key_packages": items})
			if err != nil {
				return "", err
			}
			if _, err := s.callAs(ctx, "application/json", device, body, http.StatusCreated); err != nil {
				return "", err
			}
		}
	}
	return s.postFor(ctx, refs)
}

// postFor posts a Welcome for refs, and returns its id.
func (s *process) postFor(ctx context.Context, refs []mls.KeyPackageRef) (id string, err error) {
	answer, err := s.call(ctx, "/v1/welcomes", mlstest.Welcome(1, refs...), http.StatusCreated)
	if err != nil {
		return "", err
	}
	var posted struct{ ID string }
	return posted.ID, json.Unmarshal(answer, &posted)
}
