package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
)

// An operation is one of the five events, in the order of a life.
type operation int

const (
	publish operation = iota
	reserve
	post
	claim
	acknowledge
)

var operationNames = []string{"publish", "reserve", "post", "claim", "acknowledge"}

func (o operation) String() string { return operationNames[o] }

func operationNamed(name string) (operation, error) {
	i := slices.Index(operationNames, name)
	if i < 0 {
		return 0, fmt.Errorf("no operation is called %q", name)
	}
	return operation(i), nil
}

// A stage is where a pair is in its life. Operation n takes it from stage n to
// the next.
type stage int

const (
	unborn stage = iota
	onShelf
	reserved
	posted
	claimed
	acknowledged
)

var stageNames = []string{"unborn", "shelf", "reserved", "posted", "claimed", "acknowledged"}

func (s stage) String() string { return stageNames[s] }

// A census counts pairs by stage. Nobody counts the unborn.
type census [6]int

// errRefused is what an engine returns when the event's turn has not come or is
// over: the KeyPackage or the Welcome has been given to another.
var errRefused = errors.New("refused")

// An engine is one way to keep pairs. Every method is one event, and durable
// when it returns.
type engine interface {
	publish(context.Context, *pair) error
	reserve(context.Context, *pair) (keyPackage []byte, err error)
	post(context.Context, *pair) error
	claim(context.Context, *pair) (welcome []byte, err error)
	acknowledge(context.Context, *pair) error
	// rest returns when the engine has done what it put off, so that the next
	// one does not pay for it.
	rest(context.Context) error
	// census counts what is stored. No event follows it.
	census(context.Context) (census, error)
	close() error
}

// A family holds the pairs that each round begins with, for engines that keep
// them in the same way.
type family interface {
	// fill stores the pairs: of the shelf as published, the others as posted.
	fill(ctx context.Context, shelf, waiting []*pair) error
	// open makes a copy of what is stored, for the engine of that name.
	open(ctx context.Context, name string) (engine, error)
	close() error
}

// A kind is an engine as it is named on the command line.
type kind struct {
	name   string
	title  string
	family string
	form   string
	only   []operation // those that it can be asked for; none: all
}

var kinds = []kind{
	{name: "welcomed", title: "welcomed, bolt.Store", family: "welcomed", form: "store"},
	{name: "postgres", title: "PostgreSQL, the first design", family: "postgres"},
	{name: "http", title: "welcomed, over HTTP", family: "welcomed", form: "http", only: []operation{claim, acknowledge}},
}

func kindNames() (names []string) {
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

func kindNamed(name string) (kind, error) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, fmt.Errorf("no engine is called %q", name)
	}
	return kinds[i], nil
}

func (k kind) takesPart(o operation) bool { return len(k.only) == 0 || slices.Contains(k.only, o) }

// do runs one event and checks what it gives.
func do(ctx context.Context, e engine, o operation, p *pair) error {
	var got, want []byte
	var err error
	switch o {
	case publish:
		err = e.publish(ctx, p)
	case reserve:
		want = p.keyPackage
		got, err = e.reserve(ctx, p)
	case post:
		err = e.post(ctx, p)
	case claim:
		want = p.welcome
		got, err = e.claim(ctx, p)
	case acknowledge:
		err = e.acknowledge(ctx, p)
	}
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("gave %d bytes that are not the %d bytes of %s", len(got), len(want), p.ref)
	}
	return err
}
