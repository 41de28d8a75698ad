package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"welcomed/trials/harness"
)

// A server is the one that is attacked.
type server struct {
	*harness.Server
	dir     string
	service *harness.Client
}

// start starts a server on a new file, and makes a token of a service.
func start(ctx context.Context, c *config, flags []string) (*server, error) {
	dir, err := os.MkdirTemp("", "drain")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	how := harness.Config{Binary: c.binary, DB: filepath.Join(dir, "welcomed.db"), Args: append([]string{"--auth", "token"}, flags...), Show: os.Stderr}
	if s.Server, err = how.Start(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	token, err := how.Token(ctx)
	if err != nil {
		s.remove()
		return nil, err
	}
	s.service = s.Client().As(token)
	return s, nil
}

// remove ends the server in any case, and removes its file.
func (s *server) remove() {
	s.Kill()
	os.RemoveAll(s.dir)
}

// drains is how often the server has counted that a user is being drained.
func (s *server) drains(ctx context.Context) (float64, error) {
	m, err := s.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	return m.Value(`welcomed_budget_exceeded_total{budget="target"}`)
}
