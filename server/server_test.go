package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/server"
)

// patience is how long a test waits for what must happen at once.
const patience = 20 * time.Second

// A stillClock stands at a time when the corpus is valid.
type stillClock struct{}

func (stillClock) Now() time.Time         { return time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC) }
func (stillClock) Elapsed() time.Duration { return 0 }

// A watchedStore says when a claim has returned, and may refuse.
type watchedStore struct {
	delivery.Store
	claimed chan delivery.ClaimResult
	ready   func() error
	failed  chan struct{}
}

func (s *watchedStore) Claim(ctx context.Context, c delivery.Caller, d delivery.DeviceID, o delivery.ClaimOptions) (delivery.ClaimResult, error) {
	result, err := s.Store.Claim(ctx, c, d, o)
	select {
	case s.claimed <- result:
	default:
	}
	return result, err
}

func (s *watchedStore) Ready(ctx context.Context) error {
	if s.ready != nil {
		return s.ready()
	}
	return s.Store.Ready(ctx)
}

func (s *watchedStore) Failed() <-chan struct{} { return s.failed }

type observation struct {
	route, method string
	code          int
}

// A service is a server on real sockets with a real store.
type service struct {
	t          *testing.T
	store      *watchedStore
	server     *server.Server
	api, admin string // host:port
	commits    atomic.Int64
	stop       context.CancelFunc
	ended      chan struct{}
	err        error // of Serve, after ended
	log        *syncBuffer

	mu       sync.Mutex
	observed []observation
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func init() { storetest.DirectoriesInMemory() }

// start serves; change may change the options and, once it is made, the server.
func start(t *testing.T, change func(*server.Options), prepare ...func(*server.Server)) *service {
	t.Helper()
	s := &service{t: t, ended: make(chan struct{}), log: new(syncBuffer)}
	o := server.Options{Limits: delivery.DefaultLimits(), Version: "v0-test", Log: slog.New(slog.NewTextHandler(s.log, nil)), Observe: s.observe}
	o.NoAuth = server.NoAuthLocal
	if change != nil {
		change(&o)
	}
	if o.Auth != nil {
		o.NoAuth = server.AuthRequired
	}
	s.store = &watchedStore{claimed: make(chan delivery.ClaimResult, 100), failed: make(chan struct{}), Store: o.Store}
	if o.Store == nil {
		store, err := bolt.Open(filepath.Join(t.TempDir(), "welcomed.db"), bolt.Options{
			Limits: o.Limits, Clock: stillClock{}, ObserveCommit: func(int, time.Duration) { s.commits.Add(1) },
		})
		must(t, err)
		t.Cleanup(func() { store.Close() })
		s.store.Store = store
	}
	o.Store = s.store
	s.server = server.New(o)
	s.server.Quiet(time.Millisecond) // the tests' client keeps its connections
	for _, p := range prepare {
		p(s.server)
	}
	s.serve()
	return s
}

func (s *service) serve() {
	api, err := net.Listen("tcp", "127.0.0.1:0")
	must(s.t, err)
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	must(s.t, err)
	s.api, s.admin = api.Addr().String(), admin.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() {
		defer close(s.ended)
		s.err = s.server.Serve(ctx, api, admin)
	}()
	s.t.Cleanup(func() {
		cancel()
		http.DefaultClient.CloseIdleConnections()
		wait(s.t, "the server to end", s.ended)
	})
}

func (s *service) observe(route, method string, code int, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observed = append(s.observed, observation{route, method, code})
}

// saw waits for an observation: it is made after the answer.
func (s *service) saw(want observation) {
	s.t.Helper()
	eventually(s.t, "an observation", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Contains(s.observed, want)
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func wait[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected: %v", err)
	}
}

// A reply is an answer that has been read.
type reply struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   []byte
}

// call makes a request of the API. A body is []byte (raw message/mls), a
// string (JSON) or a value to be encoded; headers are names and values.
func (s *service) call(method, path string, body any, headers ...string) reply {
	s.t.Helper()
	r, err := s.try(method, path, body, headers...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

func (s *service) try(method, path string, body any, headers ...string) (reply, error) {
	req, err := http.NewRequest(method, "http://"+s.api+path, nil)
	if err != nil {
		return reply{}, err
	}
	sent := setBody(req, body)
	for i := 0; i < len(headers); i += 2 {
		switch headers[i] {
		case "Host":
			req.Host = headers[i+1]
		default:
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	r := reply{t: s.t, what: method + " " + path, status: resp.StatusCode, header: resp.Header}
	if r.body, err = io.ReadAll(resp.Body); err == nil {
		r.check(method)
		_, stored := s.store.Store.(*bolt.Store)
		r.conforms(req, sent, !stored)
	}
	return r, err
}

// setBody returns what is sent.
func setBody(req *http.Request, body any) []byte {
	var b []byte
	switch body := body.(type) {
	case nil:
		return nil
	case []byte:
		b = body
		req.Header.Set("Content-Type", "message/mls")
	case string:
		b = []byte(body)
		req.Header.Set("Content-Type", "application/json")
	default:
		b, _ = json.Marshal(body)
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	return b
}

// check holds for every answer of the API.
func (r reply) check(method string) {
	if r.header.Get("Request-Id") == "" || r.header.Get("Cache-Control") != "no-store" || r.header.Get("X-Content-Type-Options") != "nosniff" {
		r.t.Errorf("%s: answer %d lacks a header: %v", r.what, r.status, r.header)
	}
	if r.status < 400 || method == http.MethodHead {
		return
	}
	var p struct {
		Type, Title, Code string
		Status            int
		RequestID         string `json:"request_id"`
	}
	if err := json.Unmarshal(r.body, &p); err != nil || r.header.Get("Content-Type") != "application/problem+json" {
		r.t.Errorf("%s: answer %d is no problem: %s", r.what, r.status, r.body)
	}
	if p.Type != "/v1/errors/"+p.Code || p.Title != http.StatusText(r.status) || p.Status != r.status || p.Code == "" || p.RequestID != r.header.Get("Request-Id") {
		r.t.Errorf("%s: answer %d is not whole: %s", r.what, r.status, r.body)
	}
}

// want expects the status and returns the body.
func (r reply) want(status int) object {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s: got %d, want %d: %.2000s", r.what, r.status, status, r.body)
	}
	if len(r.body) == 0 || !strings.Contains(r.header.Get("Content-Type"), "json") {
		return nil
	}
	var o object
	d := json.NewDecoder(bytes.NewReader(r.body))
	d.UseNumber()
	must(r.t, d.Decode(&o))
	return o
}

// refused expects a problem.
func (r reply) refused(status int, code string) object {
	r.t.Helper()
	o := r.want(status)
	if o["code"] != code {
		r.t.Fatalf("%s: code is %v, want %s: %s", r.what, o["code"], code, r.body)
	}
	return o
}

// An object is JSON that has been read.
type object map[string]any

// at follows members and indexes.
func (o object) at(path ...any) any {
	var v any = map[string]any(o)
	for _, step := range path {
		switch step := step.(type) {
		case string:
			v = v.(map[string]any)[step]
		case int:
			v = v.([]any)[step]
		}
	}
	return v
}

func (o object) text(path ...any) string {
	text, _ := o.at(path...).(string)
	return text
}

func (o object) bytes(path ...any) []byte {
	b, err := base64.StdEncoding.DecodeString(o.text(path...))
	if err != nil {
		panic(err)
	}
	return b
}

func (o object) list(path ...any) []any {
	list, _ := o.at(path...).([]any)
	return list
}

func keys(o object) []string { return slices.Sorted(maps.Keys(o)) }

func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// words are values with a space between any two.
func words(values ...any) string { return strings.TrimSuffix(fmt.Sprintln(values...), "\n") }

const (
	phone  = "/v1/users/alice/devices/phone"
	tablet = "/v1/users/alice/devices/tablet"
	shelf  = phone + "/key-packages"
)

var signer = mlstest.NewSigner(1, "alice")

// newKeyPackages returns n of suite 1.
func newKeyPackages(n int, options ...mlstest.Option) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = signer.KeyPackage(options...)
	}
	return list
}

func refOf(keyPackage []byte) string {
	kp, err := mls.ReadKeyPackage(keyPackage)
	if err != nil {
		panic(err)
	}
	return kp.Ref().String()
}

type publication struct {
	KeyPackages [][]byte `json:"key_packages"`
}

// stock publishes n KeyPackages of the phone and returns them.
func (s *service) stock(n int) [][]byte {
	s.t.Helper()
	list := newKeyPackages(n)
	s.call("POST", shelf, publication{list}).want(201)
	return list
}

// post posts a new Welcome for KeyPackages and returns its id and bytes.
func (s *service) post(query string, keyPackages ...[]byte) (id string, welcome []byte) {
	s.t.Helper()
	welcome = mlstest.WelcomeFor(keyPackages...)
	return s.call("POST", "/v1/welcomes"+query, welcome).want(201).text("id"), welcome
}

// later makes a request in the background.
func (s *service) later(method, path string, body any, headers ...string) <-chan reply {
	answered := make(chan reply, 1)
	go func() {
		r, err := s.try(method, path, body, headers...)
		if err != nil && !errors.Is(err, context.Canceled) {
			s.t.Errorf("%s %s: %v", method, path, err)
		}
		answered <- r
	}()
	return answered
}
