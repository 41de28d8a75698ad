package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/urfave/cli/v3"

	"welcomed/safefile"
	"welcomed/server"
)

const (
	socketName = "welcomed.sock"
	// socketOff is --admin-socket in the environment, where an empty variable
	// counts as none.
	socketOff = "none"
	// socketPathMost is the longest path that a Unix socket may have: there is a
	// zero behind it.
	socketPathMost = len(syscall.RawSockaddrUnix{}.Path) - 1
)

// A socketPath says where the admin socket is. The zero value means beside the database.
type socketPath struct {
	path  string
	given bool
}

// of returns the path for the database db; empty if there is no socket.
func (s socketPath) of(db string) string {
	if !s.given {
		return filepath.Join(filepath.Dir(db), socketName)
	}
	return s.path
}

func parseSocketPath(s string) (socketPath, error) {
	if s == socketOff {
		s = ""
	}
	return socketPath{s, true}, nil
}

func (s socketPath) String() string {
	switch {
	case !s.given:
		return socketName + " beside --db"
	case s.path == "":
		return socketOff
	}
	return s.path
}

func socketFlag(p *socketPath, usage string) cli.Flag {
	return valueFlag("admin-socket", value[socketPath]{p, parseSocketPath, socketPath.String}, usage)
}

// socketFlags are those of serve.
func (c *config) socketFlags() []cli.Flag {
	return []cli.Flag{
		socketFlag(&c.socket, "let commands connect to the server at `PATH`, which only the server's user can open; none: nowhere"),
	}
}

// listenOnSocket makes the admin socket, which only this user can open; none if path is empty.
// The caller has the database open, so a socket beside it was left by a server that was killed.
// But if somebody answers there, the socket stays.
func listenOnSocket(path string) (net.Listener, error) {
	if path == "" {
		return nil, nil
	}
	if err := socketPathFits(path); err != nil {
		return nil, err
	}
	if err := removeStaleSocket(path); err != nil {
		return nil, fmt.Errorf("--admin-socket %s: %w", path, err)
	}
	l, err := safefile.Listen(path)
	if err != nil {
		return nil, fmt.Errorf("--admin-socket %s: %w", path, reason(err))
	}
	return l, nil
}

func socketPathFits(path string) error {
	if len(path) > socketPathMost {
		return fmt.Errorf("--admin-socket %s: it is %d bytes long and may be %d: choose a shorter one, or %s", path, len(path), socketPathMost, socketOff)
	}
	return nil
}

func removeStaleSocket(path string) error {
	stale, err := staleSocket(path)
	if stale {
		err = os.Remove(path)
	}
	return err
}

// errAnswers: there is a server at an admin socket.
var errAnswers = errors.New("another server answers there")

// staleSocket reports whether there is a socket at which nobody answers. It returns an error
// for anything that must stay.
func staleSocket(path string) (bool, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.Mode().Type() != fs.ModeSocket:
		return false, errors.New("there is a file that is no socket")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return false, errAnswers
	}
	return true, nil
}

// An operator sends requests to a running server over its admin socket.
type operator struct {
	path string
	db   string // what the database that is meant is known by; empty: that of whichever server answers
	http http.Client
}

// newOperator returns an operator for the database db. Its socket may not exist. A server with
// another database refuses. If --admin-socket was given without --db, the server is asked about
// its own database.
func newOperator(env environment, socket socketPath, db string) *operator {
	path, names := socket.of(db), ""
	if !socket.given || db != defaultDB(env) {
		names = databaseNames(db).Encode()
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &operator{path, names, http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}}}
}

// databaseNames returns the names of the database at path: of the file, if there is one, and of
// its place.
func databaseNames(path string) url.Values {
	names := url.Values{"path": {absolute(path)}}
	if info, err := os.Stat(path); err == nil {
		names.Set("file", fileID(info))
	}
	return names
}

// errNoServer: nobody answers at the admin socket.
var errNoServer = errors.New("no server is running")

// do sends body as JSON, if it is not nil. It returns the answer if the status is a success.
// The caller closes its body.
func (o *operator) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	header := make(http.Header)
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
		header.Set("Content-Type", "application/json")
	}
	resp, err := o.send(ctx, method, path, content, header)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, refusal(resp)
	}
	return resp, nil
}

// send returns the answer, whatever its status is.
func (o *operator) send(ctx context.Context, method, path string, content io.Reader, header http.Header) (*http.Response, error) {
	if o.path == "" {
		return nil, fmt.Errorf("%w that can be asked: --admin-socket is %s", errNoServer, socketOff)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, content)
	if err != nil {
		return nil, err
	}
	if o.db != "" {
		header.Set(server.DatabaseHeader, o.db)
	}
	req.Header = header
	resp, err := o.http.Do(req)
	if err != nil {
		return nil, o.unreachable(err)
	}
	return resp, nil
}

// ask is do with the answer decoded into answer, if that is not nil.
func (o *operator) ask(ctx context.Context, method, path string, body, answer any) error {
	resp, err := o.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// unreachable says why there was no answer.
func (o *operator) unreachable(err error) error {
	switch {
	case len(o.path) > socketPathMost:
		return fmt.Errorf("--admin-socket %s: it is %d bytes long and may be %d", o.path, len(o.path), socketPathMost)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTSOCK):
		return fmt.Errorf("%w on the admin socket %s: start it, or say with --admin-socket or --db where it is", errNoServer, o.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the admin socket %s is only for the user that runs the server: be that user", o.path)
	}
	return fmt.Errorf("ask the server on %s: %w", o.path, err)
}

// refusal returns the reason that the server gives.
func refusal(resp *http.Response) error {
	var problem struct{ Code, Detail string }
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err := json.Unmarshal(text, &problem); err != nil || problem.Code == "" {
		return fmt.Errorf("the server answers %s: %s", resp.Status, strings.Join(strings.Fields(string(text)), " "))
	}
	if problem.Detail == "" {
		problem.Detail = resp.Status
	}
	return fmt.Errorf("the server refuses: %s (%s)", problem.Detail, problem.Code)
}
