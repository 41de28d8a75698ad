package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"welcomed/trials/harness"
)

// A process is the server that is attacked.
type process struct {
	*harness.Process
	dir        string
	api, admin string // host:port
	client     *http.Client
	service    string // its token
}

// start starts the server on a new file, waits until it is ready, and makes a
// token of a service.
func start(ctx context.Context, c config, flags []string) (*process, error) {
	dir, err := os.MkdirTemp("", "drain")
	if err != nil {
		return nil, err
	}
	s := &process{dir: dir, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * c.connections}}}
	for _, address := range []*string{&s.api, &s.admin} {
		free, err := harness.FreeAddress()
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		*address = free.String()
	}
	args := append([]string{"serve", "--auth", "token", "--db", s.file(), "--listen", s.api, "--admin-listen", s.admin, "--log-level", "error"}, flags...)
	cmd := exec.Command(c.binary, args...)
	cmd.Stderr = os.Stderr
	if s.Process, err = harness.Start(cmd, nil); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := errors.Join(s.Ready(ctx, s.admin), s.makeService(ctx, c)); err != nil {
		s.kill()
		return nil, err
	}
	return s, nil
}

func (s *process) file() string { return filepath.Join(s.dir, "welcomed.db") }

func (s *process) makeService(ctx context.Context, c config) error {
	made, err := exec.CommandContext(ctx, c.binary, "token", "add", "--service", "backend", "--db", s.file()).Output()
	if err != nil {
		return fmt.Errorf("make a token of a service: %w", err)
	}
	s.service = strings.TrimSpace(string(made))
	return nil
}

// stop ends the server as an operator does.
func (s *process) stop() error {
	s.client.CloseIdleConnections()
	if err := s.Stop(syscall.SIGTERM); err != nil {
		return fmt.Errorf("the server ended with %w", err)
	}
	return nil
}

// kill ends it in any case, and removes its file.
func (s *process) kill() {
	s.client.CloseIdleConnections()
	_ = s.Stop(syscall.SIGKILL)
	os.RemoveAll(s.dir)
}

// A request is one of somebody.
type request struct {
	token, behalf string // who asks
	method, path  string
	body          []byte // JSON, unless it is an MLS object
	object        bool
	ifMatch       string
}

// An answer is a whole one, with what a refusal says.
type answer struct {
	status     int
	body       []byte
	retryAfter time.Duration
	problem    struct{ Code, Detail string }
}

// ask sends a request that is answered in any way.
func (s *process) ask(ctx context.Context, q request) (a answer, err error) {
	req, err := http.NewRequestWithContext(ctx, q.method, "http://"+s.api+q.path, bytes.NewReader(q.body))
	if err != nil {
		return a, err
	}
	req.Header.Set("Authorization", "Bearer "+q.token)
	for name, value := range map[string]string{"On-Behalf-Of": q.behalf, "If-Match": q.ifMatch} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	req.Header.Set("Content-Type", "application/json")
	if q.object {
		req.Header.Set("Content-Type", "message/mls")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return a, fmt.Errorf("%s %s: read the answer: %w", q.method, q.path, err)
	}
	a.status = resp.StatusCode
	if a.status >= 400 {
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		a.retryAfter = time.Duration(seconds) * time.Second
		err = json.Unmarshal(a.body, &a.problem)
	}
	return a, err
}

// want sends a request that has to succeed, and reads the JSON of its answer
// into v unless that is nil.
func (s *process) want(ctx context.Context, q request, v any) error {
	a, err := s.ask(ctx, q)
	if err == nil && a.status >= 300 {
		err = fmt.Errorf("answered %d: %s, %s", a.status, a.problem.Code, a.problem.Detail)
	}
	if err == nil && v != nil {
		err = json.Unmarshal(a.body, v)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", q.method, q.path, err)
	}
	return nil
}

// drains is how often the server has counted that a user is being drained.
func (s *process) drains(ctx context.Context) (n float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), `welcomed_budget_exceeded_total{budget="target"} `); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.Join(lines.Err(), errors.New("no metric counts drains"))
}
