package server_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"welcomed/server"
	"welcomed/server/openapi"
)

// A page may use the API if its origin is named, and is told nothing otherwise.
func TestPagesOfOtherOrigins(t *testing.T) {
	const app, other = "http://localhost:5173", "http://localhost:5174"
	s := start(t, func(o *server.Options) { o.Origins = []server.Origin{app} })
	for _, row := range []struct {
		what, method, path, origin string
		status                     int
		allowed                    string
	}{
		{"an answer", "GET", "/v1", app, 200, app},
		{"a refusal", "GET", "/v1/welcomes/x", app, 404, app},
		{"a path that is not there", "GET", "/v2", app, 404, app},
		{"a method that is not there", "DELETE", "/v1", app, 405, app},
		{"another origin", "GET", "/v1", other, 200, ""},
		{"no origin", "GET", "/v1", "", 200, ""},
		{"a preflight", "OPTIONS", shelf, app, 204, app},
		{"a preflight of another origin", "OPTIONS", shelf, other, 204, ""},
	} {
		header := []string{"Access-Control-Request-Method", "POST"}
		if row.origin != "" {
			header = append(header, "Origin", row.origin)
		}
		r := s.call(row.method, row.path, nil, header...)
		r.want(row.status)
		same(t, row.what+": allowed", r.header.Get("Access-Control-Allow-Origin"), row.allowed)
		if !strings.Contains(strings.Join(r.header.Values("Vary"), ","), "Origin") {
			t.Errorf("%s: a cache may give the answer to another origin: Vary is %q", row.what, r.header.Values("Vary"))
		}
		same(t, row.what+": credentials", r.header.Get("Access-Control-Allow-Credentials"), "")
		same(t, row.what+": read", r.header.Get("Access-Control-Expose-Headers") != "", row.allowed != "")
		same(t, row.what+": kept", r.header.Get("Access-Control-Max-Age") != "", row.allowed != "" && row.method == "OPTIONS")
	}
}

// Where pages of this machine may use the API, others may not, however they are called.
func TestPagesOfThisMachine(t *testing.T) {
	s := start(t, func(o *server.Options) {
		o.Origins, o.NoAuth = []server.Origin{server.LoopbackOrigins}, server.NoAuthPublic
	})
	for origin, allowed := range map[string]bool{
		"http://localhost:5173": true, "https://localhost": true, "http://127.0.0.1:8080": true, "http://[::1]:8080": true,
		"https://app.example.org": false, "http://localhost.example.org": false, "http://127.0.0.1.example.org": false,
		"loopback": false, "null": false, "": false,
	} {
		r := s.call("GET", "/v1", nil, "Origin", origin)
		r.want(200)
		want := map[bool]string{true: origin}[allowed]
		same(t, origin, r.header.Get("Access-Control-Allow-Origin"), want)
	}
	_, err := server.ParseOrigin(string(server.LoopbackOrigins))
	same(t, "it is a setting", err == nil, false)
}

// Without origins there is nothing of it.
func TestNoPageOfAnotherOriginByDefault(t *testing.T) {
	s := start(t, nil)
	for _, method := range []string{"GET", "OPTIONS"} {
		r := s.call(method, "/v1", nil, "Origin", "http://localhost:5173", "Access-Control-Request-Method", "GET")
		for name := range r.header {
			if strings.HasPrefix(name, "Access-Control-") || name == "Vary" && strings.Contains(r.header.Get(name), "Origin") {
				t.Errorf("%s is answered with %s", method, name)
			}
		}
	}
}

// The description of the API says which headers there are. A page can send and read all.
func TestPagesHaveEveryHeader(t *testing.T) {
	s := start(t, func(o *server.Options) { o.Origins = []server.Origin{"http://localhost:5173"} })
	r := s.call("OPTIONS", shelf, nil, "Origin", "http://localhost:5173", "Access-Control-Request-Method", "POST")
	for header, described := range map[string]*regexp.Regexp{
		"Access-Control-Allow-Headers":  regexp.MustCompile(`name: ([\w-]+)\n +in: header`),
		"Access-Control-Expose-Headers": regexp.MustCompile(`\n +([\w-]+): \{\$ref: '#/components/headers/`),
	} {
		has := strings.Split(r.header.Get(header), ", ")
		found := described.FindAllSubmatch(openapi.YAML(), -1)
		if len(found) < 5 {
			t.Errorf("%s: the description has %d headers", header, len(found))
		}
		for _, m := range found {
			if name := string(m[1]); !slices.Contains(has, name) && !slices.Contains([]string{"Vary", "Content-Security-Policy", "X-Accel-Buffering"}, name) { // which are the browser's or a proxy's
				t.Errorf("%s has no %s", header, name)
			}
		}
	}
}

func TestParseOrigin(t *testing.T) {
	for _, good := range []string{"https://app.example.org", "http://localhost:5173", "http://[::1]:8080", "https://xn--bcher-kva.example:8443"} {
		if o, err := server.ParseOrigin(good); err != nil || string(o) != good {
			t.Errorf("%q: %q, %v", good, o, err)
		}
	}
	for _, bad := range []string{"", "*", "null", "app.example.org", "https://app.example.org/", "https://app.example.org/x", "https://App.example.org",
		"https://app.example.org:443", "http://localhost:80", "ftp://example.org", "https://", "https://a.example,https://b.example", "https://me@app.example.org"} {
		if o, err := server.ParseOrigin(bad); err == nil {
			t.Errorf("%q is the origin %q", bad, o)
		}
	}
}
