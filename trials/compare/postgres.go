package main

import (
	"context"
	"errors"
	"path/filepath"

	"welcomed/trials/postgres"
)

// A postgresFamily keeps pairs in databases of a cluster of its own.
type postgresFamily struct{ cluster *postgres.Cluster }

func startPostgres(ctx context.Context, binaries, dir string) (postgresFamily, error) {
	cluster, err := postgres.Start(ctx, binaries, filepath.Join(dir, "postgres"))
	return postgresFamily{cluster}, err
}

func (f postgresFamily) fill(ctx context.Context, shelf, waiting []*pair) error {
	var rows []postgres.Row
	for _, p := range shelf {
		rows = append(rows, postgres.Row{Ref: p.key(), Device: p.device.String(), KeyPackage: p.keyPackage})
	}
	for _, p := range waiting {
		rows = append(rows, postgres.Row{Ref: p.key(), Device: p.device.String(), KeyPackage: p.keyPackage, Welcome: p.welcome})
	}
	return f.cluster.Fill(ctx, rows)
}

func (f postgresFamily) open(ctx context.Context, _ string) (engine, error) {
	d, err := f.cluster.Open(ctx)
	if err != nil {
		return nil, err
	}
	return postgresEngine{f.cluster, d}, nil
}

func (f postgresFamily) close() error { return f.cluster.Close() }

type postgresEngine struct {
	cluster *postgres.Cluster
	db      *postgres.Database
}

func (e postgresEngine) publish(ctx context.Context, p *pair) error {
	return postgresError(e.db.Publish(ctx, p.key(), p.device.String(), p.keyPackage))
}

func (e postgresEngine) reserve(ctx context.Context, p *pair) ([]byte, error) {
	b, err := e.db.Reserve(ctx, p.device.String())
	return b, postgresError(err)
}

func (e postgresEngine) post(ctx context.Context, p *pair) error {
	return postgresError(e.db.Post(ctx, p.key(), p.welcome))
}

func (e postgresEngine) claim(ctx context.Context, p *pair) ([]byte, error) {
	b, err := e.db.Claim(ctx, p.key())
	return b, postgresError(err)
}

func (e postgresEngine) acknowledge(ctx context.Context, p *pair) error {
	return postgresError(e.db.Acknowledge(ctx, p.key()))
}

func (e postgresEngine) rest(ctx context.Context) error { return e.cluster.Checkpoint(ctx) }

func postgresError(err error) error {
	if errors.Is(err, postgres.ErrRefused) {
		return errRefused
	}
	return err
}

func (e postgresEngine) census(ctx context.Context) (c census, err error) {
	found, err := e.db.Census(ctx)
	for s, name := range stageNames {
		c[s] = found[name]
	}
	return c, err
}

func (e postgresEngine) close() error { return e.db.Close() }
