package server_test

import (
	"context"
	"strings"
	"testing"

	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/mls/mlstest/corpus"
	"welcomed/server"
)

var background = context.Background()

// concrete fills in the parameters of a pattern. An unknown one becomes "x".
func concrete(pattern string) string {
	segments := strings.Split(pattern, "/")
	for i, s := range segments {
		if name, ok := strings.CutPrefix(s, ":"); ok {
			segments[i] = map[string]string{"user": "alice", "device": "phone", "id": "{id}", "ref": "{ref}"}[name]
			if segments[i] == "" {
				segments[i] = "x"
			}
		}
	}
	return strings.Join(segments, "/")
}

// seedBodies are bodies that some route does something with.
func seedBodies(tb testing.TB) [][]byte {
	c, err := corpus.Mixed()
	if err != nil {
		tb.Fatal(err)
	}
	bodies := [][]byte{nil, []byte(`{}`), []byte(`{"key_packages":[]}`), []byte(`{"digest":"` + strings.Repeat("ab", 32) + `"}`), []byte(`{"refs":["{ref}"]}`), []byte(`{"refs":[]}`),
		[]byte(`{"users":["alice"],"devices":[{"user":"alice","device":"phone"}],"except":[{"user":"alice","device":"tablet"}],"cipher_suites":[1,2]}`),
		[]byte(`{"refs":["{matched}"],"skip":["{held}"],"max":3}`), []byte(`{"ref":"{matched}"}`), []byte(`{"ref":"{matched}","reason":"other","detail":"no"}`),
		[]byte(`{"expires_at":"2031-01-01T00:00:00Z","read_only":true}`)}
	for _, i := range []int{0, 50, 100, 228} {
		kp := c.KeyPackages[i]
		bodies = append(bodies, kp.Bytes, mls.Wrap(mls.WireFormatKeyPackage, kp.Bytes), []byte(text(publication{[][]byte{kp.Bytes}})))
	}
	for _, w := range c.Welcomes[:3] {
		bodies = append(bodies, w.Bytes, []byte(text(object{"welcome": w.Bytes, "ratchet_tree": []byte("tree"), "context": []byte("context")})))
	}
	return append(bodies, mlstest.Welcome(1), mlstest.WelcomeFor(signer.KeyPackage()))
}

// seedHeaders are headers that something looks at.
var seedHeaders = []string{
	"Host: localhost\r\nContent-Type: application/json",
	"Host: localhost\r\nContent-Type: message/mls\r\nAuthorization: Bearer {alice}",
	"Host: 127.0.0.1:9420\r\nContent-Type: application/json; charset=utf-8\r\nAuthorization: Bearer {phone}\r\nAccept: message/mls, */*;q=0.1\r\nRange: bytes=0-9,20-\r\nIf-Range: x",
	"Host: [::1]\r\nContent-Type: application/json\r\nAuthorization: bearer {service}\r\nOn-Behalf-Of: alice/phone\r\nIf-Match: \"" + strings.Repeat("ab", 32) + "\"\r\nIdempotency-Key: k1",
	"Host: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer {service}\r\nOn-Behalf-Of: bob\r\nIf-None-Match: *\r\nRequest-Id: my-id\r\nContent-Encoding: gzip",
	"Host: example.org\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4, ::1\r\nVia: 1.1 x\r\nOrigin: null\r\nAuthorization: Basic YTpi",
	"Host: localhost\r\nContent-Type: multipart/form-data; boundary=\"\r\nAuthorization: Bearer {bob}\r\nAccept: ;;q=\r\nRange: bytes=-1\r\nTransfer-Encoding: chunked\r\nContent-Encoding: identity",
	"Host: localhost\r\nContent-Type: \r\nAuthorization: Bearer {reader}\r\nAuthorization: Bearer {alice}\r\nIf-Match:\r\nIdempotency-Key: a\r\nIdempotency-Key: b",
}

// seedPaths are paths and queries that are no route, or nearly none.
var seedPaths = []string{
	"/", "*", "//", "/v1/", "/v1?", "/V1", "/v1/users", "/v1/users/", "/v1/users//devices", "/v1/users/%00/devices", "/v1/users/a%2Fb/devices", "/v1/users/%2e%2e/devices",
	"/v1/users/../devices", "/v1/users/alice/devices/phone/../phone/key-packages", "/v1/users/%F0%9F%98%80/devices", "/v1/users/%ff/devices", "/v1/users/é/devices",
	"/v1/users/" + strings.Repeat("x", 255) + "/devices", "/v1/users/" + strings.Repeat("x", 300) + "/devices", "/v1/users/a;b/devices", "/v1/users/a+b=c@d:e~f/devices",
	"/v1/welcomes/" + strings.Repeat("AB", 32), "/v1/welcomes/" + strings.Repeat("ab", 33), "/v1/key-packages/reserve/", "/v1/key-packages/" + strings.Repeat("ab", 48),
	"http://localhost/v1", "http://example.org/v1/users/alice/devices", "/v1/users/alice/key-packages?cipher_suite=1&cipher_suite=2&device=phone&limit=3&after=x&framing=bare",
	"/v1/users/alice/key-packages?after=%00&limit=9999999999999999999", "/v1/users/alice/key-packages?limit=-1", "/v1/users/alice/key-packages?;&=%", "/v1/users/alice/devices/phone/claim?wait=1e9s&framing=x",
	"/v1/welcomes?hold=1&hold=1", "/v1/welcomes?hold=1&require=all&dry_run=true", "/v1/users/alice/devices/phone/claim?wait=18446744073709551615",
	"/v1#x", "/v1%3Fhold=1", "/v1/users/alice/devices/phone\\key-packages", "/v1/./users",
}

// seeds calls add with requests that reach every route, and some that reach none.
// Every route has every header and every body once.
func seeds(tb testing.TB, add func(method, target, header string, body []byte)) {
	bodies := seedBodies(tb)
	for i, route := range server.Routes() {
		method, pattern, _ := strings.Cut(route, " ")
		for j := range max(len(bodies), len(seedHeaders)) {
			query := ""
			if names := strings.Fields(server.QueryOf(route)); len(names) > 0 && j%2 == 1 {
				query = "?" + strings.Trim(names[j/2%len(names)], "*") + "=1"
			}
			add(method, concrete(pattern)+query, seedHeaders[(i+j)%len(seedHeaders)], bodies[(i*5+j)%len(bodies)])
		}
	}
	for i, path := range seedPaths {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "BREW"} {
			add(method, path, seedHeaders[i%2], bodies[i%len(bodies)])
		}
	}
}

// FuzzRequest makes any request of every server of a target: it is answered, and
// never with what no answer may be.
func FuzzRequest(f *testing.F) {
	seeds(f, func(method, target, header string, body []byte) { f.Add(method, target, header, body) })
	targets := &supply{clock: stillClock{}, most: 5000}
	f.Cleanup(func() { targets.end(f) })
	f.Fuzz(func(t *testing.T, method, target, header string, body []byte) {
		for _, p := range targets.next(t).try(method, target, header, body) {
			t.Error(p)
		}
	})
}
