// Package dev is a server for who writes an application, and for that application's CI.
//
// It promises the API as serve has it, with the same decisions, kept in memory and gone
// with the process. It shows each request and answer, and can be told to do at once what
// happens to a real server on a bad day: see Control. It refuses to know the network: only
// requests that began on this machine are served.
package dev

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"welcomed/auth"
	"welcomed/delivery"
	"welcomed/server"
	"welcomed/store"
)

// Service is the service that the token of a Server is of.
const Service = "backend"

// Options are what a Server is made with.
type Options struct {
	Version string
	// Token is that of the service; empty: a new one.
	Token string
	// Out gets a line for each request. Nil: nobody looks.
	Out io.Writer
	// Whole has headers and bodies shown, too.
	Whole bool
}

// A Server is the API over a store in memory, and what controls it.
type Server struct {
	options Options
	token   string
	clock   *clock
	memory  *store.Memory
	store   delivery.Store
	// A request with a token is served as by a server that wants tokens, one without as
	// by one that has no authentication.
	withToken, without http.Handler
	control            http.Handler
	show               *show

	mu   sync.Mutex
	lose *Loss // nil: nothing is to be lost
	full bool
}

// New returns a Server with nothing in it.
func New(o Options) (*Server, error) {
	if o.Out == nil {
		o.Out = io.Discard
	}
	s := &Server{options: o, clock: &clock{system: delivery.SystemClock()}, memory: store.NewMemory(), show: &show{out: o.Out, whole: o.Whole}}
	limits := delivery.DefaultLimits()
	opened, err := s.memory.Open(s.clock, true, store.Options{Limits: limits})
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	s.store = opened
	var tokens auth.Authenticator = auth.Tokens(s.store)
	if s.token = o.Token; s.token == "" {
		made, text := auth.NewToken(delivery.TokenOwner{Service: Service})
		if _, err := s.store.AddToken(context.Background(), made); err != nil {
			return nil, fmt.Errorf("make a token: %w", err)
		}
		s.token = text
	} else {
		tokens = auth.OfService(o.Token, Service, tokens)
	}
	options := server.Options{
		Store: s.store, Limits: limits, Version: o.Version, Auth: tokens,
		BudgetClock: s.clock.Now, Origins: []server.Origin{server.LoopbackOrigins},
	}
	s.withToken = server.New(options).API()
	options.NoAuth = server.NoAuthLocal
	s.without = server.New(options).API()
	s.control = s.controls()
	return s, nil
}

// Token is that of the service.
func (s *Server) Token() string { return s.token }

// sweepEvery is how often a server ends what has had its time.
const sweepEvery = time.Minute

// Run ends what has had its time until ctx is done.
func (s *Server) Run(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_ = s.sweep(ctx)
		}
	}
}

// sweep ends all that has had its time.
func (s *Server) sweep(ctx context.Context) error {
	for {
		result, err := s.store.Sweep(ctx)
		if err != nil || result == (delivery.SweepResult{}) {
			return err
		}
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := server.Direct(r); err != nil {
		http.Error(w, "welcomed dev serves only this machine: "+err.Error(), http.StatusForbidden)
		return
	}
	e := s.show.begin(w, r)
	defer e.end()
	switch {
	case isControl(r):
		s.control.ServeHTTP(e, e.request)
	case len(r.Header.Values("Authorization")) > 0:
		e.loses = s.loses
		s.withToken.ServeHTTP(e, e.request)
	default:
		e.loses = s.loses
		s.without.ServeHTTP(e, e.request)
	}
}
