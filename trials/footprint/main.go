// Footprint measures what a welcomed binary needs: its size, the time from the
// start of the process until it is ready, and its memory when idle, empty and
// with a number of KeyPackages. It fills a file of its own over HTTP with signed
// KeyPackages and removes it again. Linux only: memory is read from /proc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"welcomed/client"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

func main() { harness.Main("footprint", &footprint{}) }

type footprint struct {
	binary      string
	keyPackages int
}

// Flags implements harness.Trial.
func (f *footprint) Flags(flags *flag.FlagSet) {
	flags.StringVar(&f.binary, "binary", "build/welcomed", "the binary to measure")
	flags.IntVar(&f.keyPackages, "key-packages", 100_000, "how many to publish, 500 per device")
}

// Check implements harness.Trial.
func (f *footprint) Check() error {
	if f.keyPackages < 1 {
		return errors.New("at least one KeyPackage")
	}
	return nil
}

// Run implements harness.Trial.
func (f *footprint) Run(ctx context.Context, out io.Writer) (string, error) {
	dir, err := os.MkdirTemp("", "footprint")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	m := measurement{out, harness.Config{Binary: f.binary, DB: filepath.Join(dir, "welcomed.db"), Show: os.Stderr}}
	nothing := func(context.Context, *harness.Client) error { return nil }
	fill := func(ctx context.Context, c *harness.Client) error { return publish(ctx, c, f.keyPackages) }
	full := fmt.Sprintf("with %d KeyPackages", f.keyPackages)
	for _, step := range []func() error{
		func() error { return m.size("binary", f.binary) },
		func() error { return m.session(ctx, "empty", nothing) },
		func() error { return m.session(ctx, fmt.Sprintf("publishing %d KeyPackages", f.keyPackages), fill) },
		func() error { return m.size("file "+full, m.DB) },
		func() error { return m.session(ctx, full, nothing) },
	} {
		if err := step(); err != nil {
			return "", err
		}
	}
	return "measured", nil
}

type measurement struct {
	out io.Writer
	harness.Config
}

func (m measurement) size(name, file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(m.out, "%-40s %10.1f MB\n", name, mb(info.Size()))
	return err
}

func mb(n int64) float64 { return float64(n) / 1e6 }

// session starts the server, lets use do something with it, prints what it took,
// and stops the server.
func (m measurement) session(ctx context.Context, name string, use func(context.Context, *harness.Client) error) error {
	begun := time.Now()
	s, err := m.Start(ctx)
	if err != nil {
		return err
	}
	defer s.Kill()
	took := time.Since(begun)
	if err := use(ctx, s.Client()); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // idle
	memory, err := harness.MemoryOf(s.PID())
	if err != nil {
		return err
	}
	fmt.Fprintf(m.out, "%-40s %10d ms to ready, %6.1f MB of memory, %6.1f MB of mapped file\n", name, took.Milliseconds(), mb(memory.Own), mb(memory.Mapped))
	return s.Terminate()
}

const (
	publishers = 4
	shelf      = 500 // KeyPackages of a device
	batch      = 100 // in a request
)

// publish fills shelves, from several clients.
func publish(ctx context.Context, c *harness.Client, n int) error {
	var wg sync.WaitGroup
	errs := make(chan error, publishers)
	for first := range publishers {
		wg.Go(func() {
			for device := first; device*shelf < n; device += publishers {
				if err := fill(ctx, c, device, min(shelf, n-device*shelf)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func fill(ctx context.Context, c *harness.Client, device, n int) error {
	signer := mlstest.NewSigner(1, fmt.Sprint(device))
	for ; n > 0; n -= batch {
		keyPackages := make([][]byte, min(n, batch))
		for i := range keyPackages {
			keyPackages[i] = signer.KeyPackage()
		}
		if _, err := c.Publish(ctx, client.DeviceID{User: fmt.Sprint("user", device), Name: "phone"}, "", keyPackages...); err != nil {
			return err
		}
	}
	return nil
}
