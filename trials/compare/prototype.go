package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"welcomed/trials/prototype"
)

// A prototypeFamily keeps pairs in the file of the bare bbolt prototype.
type prototypeFamily struct{ dir string }

func (f prototypeFamily) template() string { return filepath.Join(f.dir, "prototype.db") }

func (f prototypeFamily) fill(_ context.Context, shelf, waiting []*pair) error {
	s, err := prototype.Open(f.template())
	if err != nil {
		return err
	}
	defer s.Close()
	var rows []prototype.Row
	for _, p := range shelf {
		rows = append(rows, prototype.Row{Ref: p.key(), KeyPackage: p.keyPackage})
	}
	for _, p := range waiting {
		rows = append(rows, prototype.Row{Ref: p.key(), KeyPackage: p.keyPackage, Welcome: p.welcome})
	}
	return s.Load(rows)
}

func (f prototypeFamily) open(_ context.Context, form string) (engine, error) {
	path := filepath.Join(f.dir, "prototype-"+form+".db")
	if err := copyFile(path, f.template()); err != nil {
		return nil, err
	}
	open := map[string]func(string) (*prototype.Store, error){
		"group": prototype.Open, "update": prototype.OpenUpdate, "batch": prototype.OpenBatch,
	}[form]
	s, err := open(path)
	return prototypeEngine{s, path}, err
}

func (f prototypeFamily) close() error { return nil }

type prototypeEngine struct {
	store *prototype.Store
	path  string
}

func (e prototypeEngine) publish(_ context.Context, p *pair) error {
	return prototypeError(e.store.Publish(p.key(), p.keyPackage))
}

func (e prototypeEngine) reserve(_ context.Context, p *pair) ([]byte, error) {
	b, err := e.store.Reserve(p.key())
	return b, prototypeError(err)
}

func (e prototypeEngine) post(_ context.Context, p *pair) error {
	return prototypeError(e.store.Post(p.key(), p.welcome))
}

func (e prototypeEngine) claim(_ context.Context, p *pair) ([]byte, error) {
	b, err := e.store.Claim(p.key())
	return b, prototypeError(err)
}

func (e prototypeEngine) acknowledge(_ context.Context, p *pair) error {
	return prototypeError(e.store.Acknowledge(p.key()))
}

func (e prototypeEngine) rest(context.Context) error { return nil }

func prototypeError(err error) error {
	if errors.Is(err, prototype.ErrRefused) {
		return errRefused
	}
	return err
}

func (e prototypeEngine) census(context.Context) (census, error) {
	c, err := e.store.Census()
	return census{onShelf: c.Shelf, reserved: c.Reserved, posted: c.Posted, claimed: c.Claimed, acknowledged: c.Acknowledged}, err
}

func (e prototypeEngine) close() error { return errors.Join(e.store.Close(), os.Remove(e.path)) }
