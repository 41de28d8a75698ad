package server_test

import (
	"slices"
	"strings"
	"testing"

	"welcomed/mls/mlstest"
	"welcomed/server"
)

// TestAnIdentityOfNobodyHasNoPower: an authenticator that accepts a token and does
// not say of whom opens nothing, on any route. That is the server's own fault: 500,
// and a line in the log.
func TestAnIdentityOfNobodyHasNoPower(t *testing.T) {
	s := start(t, func(o *server.Options) {
		o.Auth = issuer{
			"nothing": {}, "a device of nobody": {Device: "phone"}, "both": {User: "alice", Service: "app"},
			"no user's name": {User: "a b"}, "reads": {ReadOnly: true},
		}
	})
	refusesEveryRoute(t, s, "Bearer nothing", "a token that stands for nobody was accepted")
	for _, token := range []string{"a device of nobody", "both", "no user's name", "reads"} {
		s.call("GET", shelf, nil, "Authorization", "Bearer "+token).refused(500, "internal")
	}
}

// TestNoAuthenticatorIsNoPower: that there is no authentication has to be said.
func TestNoAuthenticatorIsNoPower(t *testing.T) {
	s := start(t, func(o *server.Options) { o.NoAuth = server.AuthRequired })
	refusesEveryRoute(t, s, "Bearer any", "the server was made without an authenticator")
}

// TestNoAuthIsNotAsked: where there is no authentication, a token opens nothing
// that a request without one could not.
func TestNoAuthIsNotAsked(t *testing.T) {
	store := start(t, nil)
	s := start(t, func(o *server.Options) { o.Store, o.NoAuth = store.store, server.NoAuthLocal })
	s.call("GET", shelf, nil, "Authorization", "Bearer any").want(200)
	s.call("GET", shelf, nil, "Via", "1.1 proxy").refused(403, "proxied_without_auth")
}

// public are the routes that need no token.
var public = []string{"/", "/v1", "/v1/openapi.json", "/v1/openapi.yaml", "/v1/docs", "/v1/errors", "/v1/errors/:code"}

func refusesEveryRoute(t *testing.T, s *service, authorization, logged string) {
	t.Helper()
	paths := strings.NewReplacer(":user", "alice", ":device", "phone", ":ref", strings.Repeat("0", 64), ":id", strings.Repeat("0", 64), ":token", "none", ":code", "not_found")
	for _, route := range server.Routes() {
		method, pattern, _ := strings.Cut(route, " ")
		r := s.call(method, paths.Replace(pattern), mlstest.Welcome(1), "Authorization", authorization)
		if slices.Contains(public, pattern) {
			r.want(200)
			continue
		}
		r.refused(500, "internal")
	}
	if n, want := strings.Count(s.log.String(), logged), len(server.Routes())-len(public); n < want {
		t.Errorf("%d lines in the log say %q, want %d", n, logged, want)
	}
	same(t, "commits", s.commits.Load(), int64(0))
}
