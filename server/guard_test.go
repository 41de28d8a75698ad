package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"welcomed/server"
)

func TestWithoutAuthenticationOnlyThisMachineIsServed(t *testing.T) {
	s := start(t, nil)
	open := start(t, func(o *server.Options) { o.NoAuth = server.NoAuthPublic })
	for _, row := range []struct {
		header, value string
		ok            bool
	}{
		{"Host", "localhost", true},
		{"Host", "LocalHost:9420", true},
		{"Host", "127.0.0.1:9420", true},
		{"Host", "127.8.7.6", true},
		{"Host", "[::1]:9420", true},
		{"Host", "[::1]", true},
		{"Origin", "http://localhost:5173", true},
		{"Host", "example.org", false},
		{"Host", "localhost.example.org", false},
		{"Host", "127.0.0.1.example.org:9420", false},
		{"Host", "10.0.0.1", false},
		{"Host", "[2001:db8::1]:9420", false},
		{"Forwarded", "for=1.2.3.4", false},
		{"Via", "1.1 proxy", false},
		{"X-Real-IP", "1.2.3.4", false},
		{"X-Forwarded-For", "1.2.3.4", false},
		{"x-forwarded-anything", "", false},
		{"Origin", "https://example.org", false},
		{"Origin", "null", false},
	} {
		for _, path := range []string{"/v1", shelf} {
			r := s.call("GET", path, nil, row.header, row.value)
			if row.ok {
				r.want(200)
			} else {
				r.refused(403, "proxied_without_auth")
			}
			open.call("GET", path, nil, row.header, row.value).want(200)
		}
	}
	same(t, "no host", raw(t, s.api, "GET /v1 HTTP/1.0\r\n\r\n").StatusCode, 403)
	const asNginx = "GET /v1 HTTP/1.0\r\nHost: 127.0.0.1:9420\r\nConnection: close\r\n\r\n"
	same(t, "HTTP/1.0", raw(t, s.api, asNginx).StatusCode, 403)
	same(t, "HTTP/1.0, where proxies are allowed", raw(t, open.api, asNginx).StatusCode, 200)
}

func (s *service) adminGet(path string, host string) reply {
	s.t.Helper()
	req, err := http.NewRequest("GET", "http://"+s.admin+path, nil)
	must(s.t, err)
	req.Host = host
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(s.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(s.t, err)
	return reply{t: s.t, what: path, status: resp.StatusCode, header: resp.Header, body: body}
}

func TestTheAdminListener(t *testing.T) {
	s := start(t, func(o *server.Options) {
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a_metric 1\n") })
	})
	for path, want := range map[string]string{"/": "<!doctype html>\n", "/livez": "ok\n", "/readyz": "ok\n", "/metrics": "a_metric 1\n"} {
		r := s.adminGet(path, "localhost:1")
		r.want(200)
		same(t, path, strings.HasPrefix(string(r.body), want), true)
		s.adminGet(path, "example.org").want(403)
	}
	s.adminGet("/nothing", "").want(404)
	s.adminGet("/v1", "").want(404)
	s.call("GET", "/metrics", nil).want(404)

	s.store.ready = func() error { return errors.New("the clock\nis behind") }
	notReady := s.adminGet("/readyz", "")
	notReady.want(503)
	same(t, "reason", string(notReady.body), "the clock is behind\n")
	s.adminGet("/livez", "").want(200)
	s.adminGet("/livez/", "").want(404)
	s.adminGet("/LIVEZ", "").want(404)
	same(t, "ready", s.call("GET", "/v1", nil).want(200).at("ready"), any(false))
}

func TestProfilesAreOffUntilAskedFor(t *testing.T) {
	off := start(t, nil)
	on := start(t, func(o *server.Options) { o.Profiles = true })
	for _, path := range []string{"", "heap", "goroutine", "allocs", "block", "mutex", "threadcreate", "cmdline", "symbol"} {
		path = "/debug/pprof/" + path
		off.adminGet(path, "").want(404)
		on.call("GET", path, nil).want(404)
		on.adminGet(path, "").want(200)
		on.adminGet(path, "example.org").want(403)
	}
	off.adminGet("/debug/pprof/profile", "").want(404)
	off.adminGet("/debug/pprof/trace", "").want(404)
	on.adminGet("/debug/pprof/nothing", "").want(404)
	on.adminGet("/debug/vars", "").want(404)
	same(t, "listed", strings.Contains(string(on.adminGet("/", "").body), "/debug/pprof/"), true)
	same(t, "not listed", strings.Contains(string(off.adminGet("/", "").body), "pprof"), false)
}

// A deadline notes until when an answer has to be written.
type deadline struct {
	*httptest.ResponseRecorder
	at time.Time
}

func (d *deadline) SetWriteDeadline(at time.Time) error { d.at = at; return nil }

// TestAProfileOutlivesTheTimeForAnAnswer: a CPU profile takes 30 seconds, as
// long as the server gives a client to take an answer. The time that it takes comes
// on top of that.
func TestAProfileOutlivesTheTimeForAnAnswer(t *testing.T) {
	const write = 30 * time.Second
	admin := server.New(server.Options{Profiles: true, Store: &watchedStore{}}).Admin()
	for path, row := range map[string]struct {
		begin string
		takes time.Duration
	}{
		"profile?seconds=1":         {"\x1f\x8b", time.Second}, // gzip
		"trace?seconds=1":           {"go 1.", time.Second},
		"mutex?seconds=1":           {"\x1f\x8b", time.Second},
		"goroutine?debug=1&seconds": {"goroutine profile", 0},
	} {
		r := httptest.NewRequest("GET", "/debug/pprof/"+path, nil)
		r = r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, &http.Server{WriteTimeout: write}))
		begun, w := time.Now(), &deadline{ResponseRecorder: httptest.NewRecorder()}
		admin.ServeHTTP(w, r)
		same(t, path, w.Code, 200)
		same(t, path+" begins", strings.HasPrefix(w.Body.String(), row.begin), true)
		if row.takes > 0 && w.at.Before(begun.Add(write+row.takes)) {
			t.Errorf("%s: it has to be written %s after its begin", path, w.at.Sub(begun))
		}
	}
}

func TestAFailedStoreIsNotAlive(t *testing.T) {
	failed := make(chan struct{})
	why := errors.New("somebody wrote to the file")
	admin := server.New(server.Options{Store: &watchedStore{failed: failed, ready: func() error { return why }}}).Admin()
	for _, want := range []int{200, 503} {
		w := httptest.NewRecorder()
		admin.ServeHTTP(w, httptest.NewRequest("GET", "/livez", nil))
		same(t, "status", w.Code, want)
		if want == 200 {
			close(failed)
			continue
		}
		same(t, "why", w.Body.String(), why.Error()+"\n")
	}
}
