package client_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"welcomed/auth"
	"welcomed/bolt"
	"welcomed/client"
	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/server"
)

// A served is the real handler with a real store behind a socket.
type served struct {
	t      *testing.T
	file   string
	change []func(*server.Options)
	store  delivery.Store
	url    string
	close  func()

	mu     sync.Mutex
	served []string // "METHOD pattern" of what was answered well
}

func serve(t *testing.T, change ...func(*server.Options)) *served {
	t.Helper()
	s := &served{t: t, file: filepath.Join(t.TempDir(), "welcomed.db"), change: change}
	s.open()
	t.Cleanup(func() { s.close() })
	return s
}

// open serves the file, at another URL each time.
func (s *served) open() {
	s.t.Helper()
	limits := delivery.DefaultLimits()
	store, err := bolt.Open(s.file, bolt.Options{Limits: limits})
	must(s.t, err)
	o := server.Options{Store: store, Limits: limits, Auth: auth.Tokens(store), Version: "v0-test", Observe: s.observe}
	for _, c := range s.change {
		c(&o)
	}
	listener := httptest.NewServer(server.New(o).API())
	s.store, s.url = store, listener.URL
	s.close = func() {
		listener.Close()
		must(s.t, store.Close())
	}
}

// copied closes the file, has f look at it, and serves it again.
func (s *served) copied(f func()) {
	s.t.Helper()
	s.close()
	f()
	s.open()
}

func (s *served) observe(route, method string, code int, _ time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if what := method + " " + route; code < 300 && !slices.Contains(s.served, what) {
		s.served = append(s.served, what)
	}
}

// client returns a client of an owner of a token.
func (s *served) client(owner delivery.TokenOwner) *client.Client {
	s.t.Helper()
	token, text := auth.NewToken(owner)
	_, err := s.store.AddToken(s.t.Context(), token)
	must(s.t, err)
	return &client.Client{URL: s.url, Token: client.StaticToken(text)}
}

func (s *served) service() *client.Client { return s.client(delivery.TokenOwner{Service: "backend"}) }

var phone = client.DeviceID{User: "alice", Name: "phone"}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected: %v", err)
	}
}

func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

var signer = mlstest.NewSigner(1, "alice")

func keyPackages(n int, options ...mlstest.Option) (list [][]byte) {
	for range n {
		list = append(list, signer.KeyPackage(options...))
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

// A transport is an http.Client whose requests go through f.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func through(f transport) *http.Client { return &http.Client{Transport: f} }
