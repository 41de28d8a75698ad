package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"welcomed/trials/harness"
)

// A server is one that is watched.
type server struct {
	*harness.Server // nil: it was not started yet
	how             harness.Config
	dir             string
	service         *harness.Client
	token           string // its
}

// newServer has a directory of its own.
func newServer(binary, dir string, flags ...string) (*server, error) {
	how := harness.Config{Binary: binary, DB: filepath.Join(dir, "welcomed.db"), Args: flags, Show: os.Stderr}
	return &server{how: how, dir: dir}, os.Mkdir(dir, 0o700)
}

// begin starts the server and waits until it is ready.
func (s *server) begin(ctx context.Context) (err error) {
	s.Server, err = s.how.Start(ctx)
	if err == nil && s.service != nil {
		s.service = s.Client().As(s.token)
	}
	return err
}

// admin is the address of the admin listener, which may be chosen before the start.
func (s *server) admin() string {
	if s.how.Admin != "" {
		return s.how.Admin
	}
	return s.AdminAddress()
}

// command runs another command of the binary on the server's file, and returns
// what it prints.
func (s *server) command(ctx context.Context, args ...string) (string, error) {
	how := s.how
	how.Env = []string{"WELCOMED_DB=" + how.DB}
	if how.TLS != nil {
		how.Env = append(how.Env, "SSL_CERT_FILE="+how.DB+".crt")
	}
	if s.service != nil {
		how.Env = append(how.Env, "WELCOMED_TOKEN="+s.token)
	}
	return how.Run(ctx, args...)
}

// ask sends a request of the service, on behalf of a user unless that is empty.
func (s *server) ask(ctx context.Context, behalf, method, path string, body any, headers ...string) (harness.Answer, error) {
	return s.service.For(behalf).Ask(ctx, method, path, body, headers...)
}

// want is ask that has to be answered with a status.
func (s *server) want(ctx context.Context, status int, behalf, method, path string, body any, headers ...string) error {
	a, err := s.ask(ctx, behalf, method, path, body, headers...)
	if err == nil && a.Status != status {
		err = fmt.Errorf("instead of %d: %w", status, a.Refusal(method, path))
	}
	return err
}
