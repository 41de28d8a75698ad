package server_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"welcomed/delivery"
	"welcomed/server"
)

// A socketService is a service that can be asked over its admin socket.
type socketService struct {
	*service
	path string
	kept int
}

// startSocket serves copies that copy makes.
func startSocket(t *testing.T, copy func(context.Context) (*os.File, error)) *socketService {
	t.Helper()
	s := &socketService{path: filepath.Join(t.TempDir(), "s")}
	socket, err := net.Listen("unix", s.path)
	must(t, err)
	s.service = start(t, func(o *server.Options) {
		o.Socket = socket
		o.Backup = &server.Backup{Copy: copy, Kept: func(context.Context) error { s.kept++; return nil }}
	})
	return s
}

// ask returns the status and the body of an answer over the socket.
func (s *socketService) ask(method, path string) (int, string) {
	s.t.Helper()
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", s.path) }}
	defer transport.CloseIdleConnections()
	// A Host and a header that the API would refuse.
	req, err := http.NewRequest(method, "http://elsewhere.example"+path, nil)
	must(s.t, err)
	req.Header.Set("Via", "1.1 proxy")
	resp, err := (&http.Client{Transport: transport}).Do(req)
	must(s.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(s.t, err)
	return resp.StatusCode, string(body)
}

func fileOf(t *testing.T, content string) func(context.Context) (*os.File, error) {
	return func(context.Context) (*os.File, error) {
		path := filepath.Join(t.TempDir(), "copy")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return nil, err
		}
		return os.Open(path)
	}
}

func TestTheSocketGivesCopies(t *testing.T) {
	s := startSocket(t, fileOf(t, "all of it"))
	status, body := s.ask("POST", "/backup")
	same(t, "status", status, 200)
	same(t, "the copy", body, "all of it")
	same(t, "kept", s.kept, 0)
	status, _ = s.ask("POST", "/backup/kept")
	same(t, "status", status, 204)
	same(t, "kept", s.kept, 1)
}

func TestTheSocketTellsOperatorsWhatIsWrong(t *testing.T) {
	s := startSocket(t, func(context.Context) (*os.File, error) { return nil, errors.New("the disk is upside down") })
	for _, row := range []struct {
		method, path string
		status       int
		says         string
	}{
		{"POST", "/backup", 500, "the disk is upside down"},
		{"GET", "/backup", 405, `"code":"method_not_allowed"`},
		{"POST", "/nothing", 404, `"code":"not_found"`},
		{"POST", "/backup?fast=1", 400, `unknown query parameter \"fast\"`},
	} {
		status, body := s.ask(row.method, row.path)
		if status != row.status || !strings.Contains(body, row.says) {
			t.Errorf("%s %s: %d %s, want %d and %s", row.method, row.path, status, body, row.status, row.says)
		}
	}
}

// A copy that is being made does not keep a server from stopping.
func TestAServerThatStopsEndsABackup(t *testing.T) {
	making := make(chan struct{})
	s := startSocket(t, func(ctx context.Context) (*os.File, error) {
		close(making)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	go func() {
		<-making
		s.stop()
	}()
	status, body := s.ask("POST", "/backup")
	if status != 503 || !strings.Contains(body, "shutting_down") {
		t.Errorf("got %d %s", status, body)
	}
	wait(t, "the server", s.ended)
	must(t, s.err)
	if _, err := net.Dial("unix", s.path); err == nil {
		t.Error("the socket is still there")
	}
}

// A command that means another database is refused before anything is done.
func TestTheSocketIsAskedAboutItsOwnDatabase(t *testing.T) {
	o := server.Options{Database: url.Values{"path": {"/srv/w.db"}, "file": {"7-13"}}}
	s := server.New(o)
	for meant, status := range map[string]int{
		"":                              200,
		"path=%2Fsrv%2Fw.db":            200,
		"path=%2Flink&file=7-13":        200, // another name of the same file
		"path=%2Fsrv%2Fw.db&file=7-14":  200, // one that was put in its place since
		"path=%2Fsrv%2Fother&file=7-14": 412,
		"path=%2Fsrv%2Fother&file=":     412,
	} {
		r, w := httptest.NewRequest("GET", "/config", nil), httptest.NewRecorder()
		if meant != "" {
			r.Header.Set(server.DatabaseHeader, meant)
		}
		s.Socket().ServeHTTP(w, r)
		same(t, meant, w.Code, status)
		if status == 412 && !strings.Contains(w.Body.String(), "this server keeps /srv/w.db, and --db is another file") {
			t.Errorf("%s: %s", meant, w.Body)
		}
	}
}

func TestTheSocketIsNotTheAPI(t *testing.T) {
	s := startSocket(t, fileOf(t, ""))
	status, _ := s.ask("GET", "/v1")
	same(t, "the API over the socket", status, 404)
	resp, err := http.Post("http://"+s.api+"/backup", "", nil)
	must(t, err)
	resp.Body.Close()
	same(t, "a backup over the API", resp.StatusCode, 404)
	resp, err = http.Post("http://"+s.admin+"/backup", "", nil)
	must(t, err)
	resp.Body.Close()
	same(t, "a backup over the admin listener", resp.StatusCode, 404)
}

func TestAStoreWithoutBackups(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	socket, err := net.Listen("unix", path)
	must(t, err)
	s := &socketService{path: path}
	s.service = start(t, func(o *server.Options) { o.Socket = socket })
	status, body := s.ask("POST", "/backup")
	if status != 404 || !strings.Contains(body, delivery.ErrNotFound.Error()) {
		t.Errorf("got %d %s", status, body)
	}
}
