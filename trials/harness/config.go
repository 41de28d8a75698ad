package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// anyPort is a loopback address of which the system chooses the port. It is free, and
// stays so: a port that is looked for before the server starts may be another's by then.
const anyPort = "127.0.0.1:0"

// A Config says how the program is started.
type Config struct {
	Binary string   // the program
	DB     string   // its file
	Args   []string // of serve, besides those for the file, the addresses and the log
	Env    []string // NAME=VALUE, besides those of this process

	// TLS has the server use a certificate, which is written beside the file.
	TLS *Certificate
	// Listen and Admin are host:port; empty: ports that the system chooses at each start.
	Listen, Admin string
	// Show is where errors of the server are written as they come; nil: nowhere.
	Show io.Writer
	// Command makes what is run; nil: exec.Command.
	Command func(name string, args ...string) *exec.Cmd
}

// Begin starts a server and does not wait until it serves.
func (c Config) Begin() (*Server, error) {
	args := []string{"serve", "--db", c.DB, "--listen", orAny(c.Listen), "--admin-listen", orAny(c.Admin), "--log-format", "json"}
	s := &Server{Config: c, Log: newLog(c.Show), scheme: "http"}
	if c.TLS != nil {
		s.scheme = "https"
		cert, key := c.DB+".crt", c.DB+".key"
		if err := c.TLS.Write(cert, key); err != nil {
			return nil, err
		}
		args = append(args, "--tls-cert", cert, "--tls-key", key)
	}
	cmd := c.command(append(args, c.Args...)...)
	cmd.Stderr = s.Log
	s.http = c.TLS.client()
	process, err := Start(cmd, nil)
	s.Process = process
	return s, err
}

func orAny(address string) string {
	if address == "" {
		return anyPort
	}
	return address
}

// Start starts a server and returns when it is ready. Where it fails, nothing runs.
func (c Config) Start(ctx context.Context) (*Server, error) {
	s, err := c.Begin()
	if err != nil {
		return nil, err
	}
	if err := s.Ready(ctx); err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

// Run runs another command of the program and returns what it prints. If it fails, what
// it says is in the error.
func (c Config) Run(ctx context.Context, args ...string) (string, error) {
	out, said, err := c.Output(ctx, args...)
	if err != nil {
		err = fmt.Errorf("welcomed %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(said))
	}
	return strings.TrimSpace(out), err
}

// Output runs another command of the program and returns what it writes to stdout and to
// stderr. It is killed when ctx is done.
func (c Config) Output(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	var out, said bytes.Buffer
	cmd := c.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	p, err := Start(cmd, nil)
	if err != nil {
		return "", "", err
	}
	select {
	case <-p.Ended():
		err = p.err
	case <-ctx.Done():
		err = errors.Join(context.Cause(ctx), p.Stop(syscall.SIGKILL))
	}
	return out.String(), said.String(), err
}

func (c Config) command(args ...string) *exec.Cmd {
	command := exec.Command
	if c.Command != nil {
		command = c.Command
	}
	cmd := command(c.Binary, args...)
	cmd.Env = append(os.Environ(), c.Env...)
	return cmd
}

// Token has the program make a token of a service, which may do everything on behalf of
// everybody.
func (c Config) Token(ctx context.Context) (string, error) {
	return c.Run(ctx, "token", "add", "--service", "backend", "--db", c.DB)
}

// Build builds the program in a directory, from the module that this process runs in.
func Build(ctx context.Context, dir string) (binary string, err error) {
	binary = filepath.Join(dir, "welcomed")
	if output, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "welcomed").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w: %s", err, output)
	}
	return binary, nil
}
