package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/mls"
)

// A welcomedFamily keeps pairs in the file of the product.
type welcomedFamily struct{ dir, binary string }

func (f welcomedFamily) template() string { return filepath.Join(f.dir, "welcomed.db") }

// fillCallers is how many events are on their way while a file is filled.
const fillCallers = 1024

func (f welcomedFamily) fill(ctx context.Context, shelf, waiting []*pair) error {
	e, err := openWelcomed(f.template())
	if err != nil {
		return err
	}
	defer e.store.Close()
	all := func(o operation, pairs []*pair) error {
		_, _, err := drive(ctx, fillCallers, len(pairs), 0, math.MaxInt64, func(i int) error { return do(ctx, e, o, pairs[i]) })
		return err
	}
	for _, step := range []struct {
		operation
		pairs []*pair
	}{{publish, shelf}, {publish, waiting}, {post, waiting}} {
		if err := all(step.operation, step.pairs); err != nil {
			return fmt.Errorf("%s: %w", step.operation, err)
		}
	}
	return e.store.Close()
}

func (f welcomedFamily) open(ctx context.Context, form string) (engine, error) {
	path := filepath.Join(f.dir, "welcomed-"+form+".db")
	if err := copyFile(path, f.template()); err != nil {
		return nil, err
	}
	if form == "http" {
		return startServer(ctx, f.binary, path)
	}
	return openWelcomed(path)
}

func (f welcomedFamily) close() error { return nil }

// A welcomedEngine is the store of the product, called as the server calls it.
type welcomedEngine struct {
	store *bolt.Store
	path  string
}

func openWelcomed(path string) (welcomedEngine, error) {
	s, err := bolt.Open(path, bolt.Options{Limits: delivery.DefaultLimits()})
	return welcomedEngine{s, path}, err
}

func (e welcomedEngine) publish(ctx context.Context, p *pair) error {
	got, err := e.store.Publish(ctx, delivery.Unauthenticated(), p.device, []delivery.NewKeyPackage{{
		Ref: p.ref, Suite: 1, Lifetime: mls.Lifetime{NotAfter: math.MaxUint64}, InitKey: p.initKey, Bytes: p.keyPackage,
	}})
	if err == nil && got.Items[0].Status != delivery.Stored {
		err = errRefused
	}
	return err
}

func (e welcomedEngine) reserve(ctx context.Context, p *pair) ([]byte, error) {
	got, err := e.store.Reserve(ctx, delivery.Unauthenticated(), delivery.ReserveRequest{Devices: []delivery.DeviceID{p.device}})
	if err != nil {
		return nil, err
	}
	kp := got.Users[0].Devices[0].KeyPackage
	if kp == nil {
		return nil, errRefused
	}
	return kp.Bytes, nil
}

func (e welcomedEngine) post(ctx context.Context, p *pair) error {
	w, err := mls.ParseWelcome(p.welcome)
	if err != nil {
		return err
	}
	got, err := e.store.Post(ctx, delivery.Unauthenticated(), delivery.Posting{Welcome: w})
	if err == nil && got.Repeated || errors.Is(err, delivery.ErrNoMatchingKeyPackage) {
		err = errRefused
	}
	return err
}

func (e welcomedEngine) claim(ctx context.Context, p *pair) ([]byte, error) {
	got, err := e.store.Claim(ctx, delivery.Unauthenticated(), p.device, delivery.ClaimOptions{Max: 10})
	if err != nil {
		return nil, err
	}
	if !got.New() {
		return nil, errRefused
	}
	return got.Deliveries[0].Welcome, nil
}

func (e welcomedEngine) acknowledge(ctx context.Context, p *pair) error {
	return e.store.Acknowledge(ctx, delivery.Unauthenticated(), p.device, p.id, "")
}

func (e welcomedEngine) rest(ctx context.Context) error { return quiet(ctx, e.store.Commits) }

// quiet returns when what counts has stood still for a while.
func quiet(ctx context.Context, count func() int) error {
	const (
		while = 500 * time.Millisecond
		most  = 30 * time.Second
	)
	start, since, last := time.Now(), time.Now(), count()
	for time.Since(since) < while && time.Since(start) < most {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(while / 10):
		}
		if n := count(); n != last {
			since, last = time.Now(), n
		}
	}
	return nil
}

func (e welcomedEngine) census(ctx context.Context) (census, error) {
	s, err := e.store.Stats(ctx)
	return census{
		onShelf:      s.KeyPackages[delivery.Available],
		reserved:     s.KeyPackages[delivery.Reserved],
		posted:       s.Welcomes[delivery.Pending],
		claimed:      s.Welcomes[delivery.Delivered],
		acknowledged: s.Welcomes[delivery.Acknowledged],
	}, err
}

func (e welcomedEngine) close() error { return errors.Join(e.store.Close(), os.Remove(e.path)) }
