package server_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/metrics"
	"welcomed/mls/mlstest"
	"welcomed/server"
)

// startCounted serves a store whose events are counted, as the program does.
func startCounted(t *testing.T, change func(*server.Options)) *service {
	t.Helper()
	return start(t, func(o *server.Options) {
		registry := prometheus.NewRegistry()
		m := metrics.New(registry, o.Version)
		o.Store = m.Store(openStill(t, m.ObserveCommit))
		o.Metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
		o.Status = server.StatusSource{History: m.History(o.Store, time.Minute, delivery.SystemClock()), SweptAt: m.SweptAt, SweepEvery: time.Minute}
		if change != nil {
			change(o)
		}
	})
}

func openStill(t *testing.T, observe func(int, time.Duration)) *bolt.Store {
	t.Helper()
	store, err := bolt.Open(filepath.Join(t.TempDir(), "welcomed.db"), bolt.Options{Limits: delivery.DefaultLimits(), Clock: stillClock{}, ObserveCommit: observe})
	must(t, err)
	t.Cleanup(func() { store.Close() })
	return store
}

// look asks the admin listener.
func (s *service) look(method, path string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://"+s.admin+path, nil)
	must(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(s.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(s.t, err)
	return resp, string(body)
}

func TestTheStatusPageHasTheNumbersOfTheScrape(t *testing.T) {
	s := startCounted(t, nil)
	kps := newKeyPackages(3)
	s.call("POST", "/v1/users/alice/devices/phone/key-packages", publication{kps}).want(201)
	s.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kps[0])).want(201)
	s.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kps[0])).want(409) // taken
	s.call("POST", "/v1/users/alice/devices/phone/claim", object{}).want(200)

	_, scrape := s.look("GET", "/metrics")
	for _, line := range []string{
		"welcomed_key_packages_published_total 3",
		`welcomed_welcome_mismatches_total{at="post",reason="consumed"} 0`,
		`welcomed_welcome_mismatches_total{at="post",reason="taken"} 1`,
		`welcomed_welcome_claims_total{outcome="delivered"} 1`,
		`welcomed_key_packages{state="available"} 2`,
	} {
		contains(t, "/metrics", scrape, line)
	}
	_, document := s.look("GET", "/status.json")
	for _, part := range []string{
		`"key_packages_published":3`, `"taken":1`, `"delivered":1`, `"available":2`, `"devices":{"ok":0,"low":1,"empty":0,"last_resort":0,"idle":0}`,
		`"level":"warning"`, `"code":"joiners_turned_away"`, `"code":"backup_never"`,
	} {
		contains(t, "/status.json", document, part)
	}
	_, page := s.look("GET", "/")
	for _, part := range []string{
		"v0-test", "<b>2</b> KeyPackages of 1 device", "Somebody was turned away.",
		"1 of 2 recipients of Welcomes could not be served", "Somebody else had the KeyPackage first", "<b>never</b>",
	} {
		contains(t, "/", page, part)
	}
}

func contains(t *testing.T, what, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%s does not have %q", what, part)
	}
}

func TestThePagesOfTheAdminListener(t *testing.T) {
	s := start(t, nil)
	for path, mediaType := range map[string]string{
		"/":            "text/html; charset=utf-8",
		"/status.json": "application/json",
		"/style.css":   "text/css; charset=utf-8",
		"/page.js":     "text/javascript; charset=utf-8",
		"/icon.svg":    "image/svg+xml",
	} {
		got, body := s.look("GET", path)
		same(t, path, got.StatusCode, 200)
		same(t, path, got.Header.Get("Content-Type"), mediaType)
		same(t, path, got.Header.Get("Cache-Control"), "no-store")
		same(t, path, got.Header.Get("X-Content-Type-Options"), "nosniff")
		same(t, path, got.Header.Get("Content-Security-Policy"), "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		if body == "" {
			t.Errorf("%s is empty", path)
		}
		head, nothing := s.look("HEAD", path)
		same(t, "HEAD "+path, head.StatusCode, 200)
		same(t, "HEAD "+path, nothing, "")
		same(t, "HEAD "+path, head.Header.Get("Content-Type"), mediaType)
	}
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		got, _ := s.look(method, "/")
		same(t, method, got.StatusCode, 405)
	}
}

func TestTheStatusIsForWhoHasTheToken(t *testing.T) {
	s := start(t, func(o *server.Options) { o.AdminToken = "secret" })
	for _, path := range []string{"/", "/status.json", "/style.css", "/page.js", "/icon.svg"} {
		got, body := s.look("GET", path)
		same(t, path, got.StatusCode, 401)
		same(t, path, body, "the admin token is required\n")
		got, _ = s.look("GET", path, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("me:secret")))
		same(t, path, got.StatusCode, 200)
	}
}

// mute is a store that does not say what it holds.
type mute struct{ delivery.Store }

func (mute) Stats(context.Context) (delivery.Stats, error) {
	return delivery.Stats{}, errors.New(`disk <b>"gone"</b>`)
}

func TestTheStatusPageOfAStoreThatDoesNotAnswer(t *testing.T) {
	s := start(t, func(o *server.Options) { o.Store = mute{openStill(t, nil)} })
	got, page := s.look("GET", "/")
	same(t, "/", got.StatusCode, 200)
	contains(t, "/", page, "The store does not serve.")
	contains(t, "/", page, `Disk &lt;b&gt;&#34;gone&#34;&lt;/b&gt;.`)
	contains(t, "/", page, "The store does not say.")
	_, document := s.look("GET", "/status.json")
	contains(t, "/status.json", document, `"holdings":null`)
}

func TestTheStatusPageOfAServerThatEnds(t *testing.T) {
	s := start(t, nil)
	close(s.store.failed)
	// The admin listener goes last; what it still says is that of a failed store.
	page := s.server.Admin()
	w := httptest.NewRecorder()
	req, err := http.NewRequest("GET", "/", nil)
	must(t, err)
	page.ServeHTTP(w, req)
	contains(t, "/", w.Body.String(), "The store has failed, and the server stops.")
	wait(t, "the server to end", s.ended)
	w = httptest.NewRecorder()
	page.ServeHTTP(w, req)
	contains(t, "/", w.Body.String(), "The store has failed")
}
