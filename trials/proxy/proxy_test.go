// Package proxy tests the real server behind the real reverse proxies for which deploy/
// has a configuration: make proxy-test.
package proxy

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

const variable = "WELCOMED_PROXY_TEST"

// needProxies skips a test unless make has said where the server's program is.
func needProxies(t *testing.T) (binary string) {
	t.Helper()
	if binary = os.Getenv(variable); binary == "" {
		t.Skip("make proxy-test runs this")
	}
	return binary
}

// eachProxy runs a test behind each proxy.
func eachProxy(t *testing.T, test func(t *testing.T, p proxy)) {
	needProxies(t)
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) { t.Parallel(); test(t, p) })
	}
}

// A site is a proxy in front of a server.
type site struct {
	t      *testing.T
	url    string
	client *http.Client
}

// newSite starts a server and a proxy. What they write is shown when the test fails.
func newSite(t *testing.T, p proxy, host string, flags ...string) *site {
	t.Helper()
	api := freePort(t)
	run(t, t.TempDir(), nil, needProxies(t), append([]string{"serve", "--listen", api, "--admin-listen", freePort(t)}, flags...)...)
	return inFrontOf(t, p, api, host)
}

// inFrontOf starts a proxy in front of what listens on an address.
func inFrontOf(t *testing.T, p proxy, upstream, host string) *site {
	t.Helper()
	secure := freePort(t)
	roots := p.start(t, t.TempDir(), place{host: host, secure: port(secure), upstream: upstream})
	s := &site{t: t, url: "https://" + host + ":" + port(secure)}
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	s.wait()
	return s
}

// public are flags for a server that may be asked through a proxy.
var public = []string{"--insecure-no-auth", "--trusted-proxies", "127.0.0.1"}

func freePort(t *testing.T) string {
	t.Helper()
	a, err := harness.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return a.String()
}

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

// run runs a program until the test ends.
func run(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	c := exec.Command(name, args...)
	c.Dir, c.Env, c.Stdout, c.Stderr = dir, append(os.Environ(), env...), &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", name, out.String())
		}
	})
}

// wait waits until the server answers through Caddy.
func (s *site) wait() {
	s.t.Helper()
	var last any
	for range 300 {
		resp, err := s.client.Get(s.url + "/v1")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusForbidden {
				return
			}
			last = resp.Status
		} else {
			last = err
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatalf("nothing answers through the proxy: %v", last)
}

// do sends an object, or nothing, and returns the answer.
func (s *site) do(method, path string, object []byte, headers ...string) (status int, body []byte) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(object))
	if err != nil {
		s.t.Fatal(err)
	}
	if object != nil {
		req.Header.Set("Content-Type", "message/mls")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		req.Header.Set(name, value)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, body
}

const alice = "/v1/users/alice/devices/phone"

func (s *site) publish() (keyPackage []byte) {
	s.t.Helper()
	keyPackage = mlstest.NewSigner(1, "alice").KeyPackage()
	if status, body := s.do("POST", alice+"/key-packages", keyPackage); status != http.StatusCreated {
		s.t.Fatalf("publish: %d %s", status, body)
	}
	return keyPackage
}

func TestAWelcomeOfTheLargestSizeGoesThrough(t *testing.T) {
	eachProxy(t, requireLargest)
}

func requireLargest(t *testing.T, p proxy) {
	s := newSite(t, p, "localhost", public...)
	var about struct {
		Limits struct {
			WelcomeBytes int `json:"welcome_bytes"`
		}
	}
	_, body := s.do("GET", "/v1", nil)
	if err := json.Unmarshal(body, &about); err != nil || about.Limits.WelcomeBytes != 4<<20 {
		t.Fatalf("%v: %s", err, body)
	}
	keyPackage, err := mls.ParseKeyPackage(s.publish())
	if err != nil {
		t.Fatal(err)
	}
	welcome := mlstest.WelcomeSize(about.Limits.WelcomeBytes-1<<10, 1, keyPackage.Ref())
	if status, body := s.do("POST", "/v1/welcomes", welcome); status != http.StatusCreated {
		t.Fatalf("post %d bytes: %d %s", len(welcome), status, body)
	}
	status, got := s.do("POST", alice+"/claim", nil, "Accept: message/mls")
	if status != http.StatusOK || !bytes.Equal(got, mls.Wrap(mls.WireFormatWelcome, welcome)) {
		t.Fatalf("claim: %d, %d bytes", status, len(got))
	}
	if status, _ := s.do("POST", "/v1/welcomes", make([]byte, 11_000_000)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("11 MB: %d", status)
	}
}

func TestAClaimThatWaitsIsAnsweredWhenAWelcomeComes(t *testing.T) {
	eachProxy(t, requireWait)
}

func requireWait(t *testing.T, p proxy) {
	s := newSite(t, p, "localhost", public...)
	keyPackage := s.publish()
	type answer struct {
		status int
		took   time.Duration
	}
	claimed := make(chan answer, 1)
	start := time.Now()
	go func() {
		status, _ := s.do("POST", alice+"/claim?wait=50s", nil, "Accept: message/mls")
		claimed <- answer{status, time.Since(start)}
	}()
	const pause = 12 * time.Second
	time.Sleep(pause)
	posted := time.Now()
	if status, body := s.do("POST", "/v1/welcomes", mls.Wrap(mls.WireFormatWelcome, mlstest.WelcomeFor(keyPackage))); status != http.StatusCreated {
		t.Fatalf("post: %d %s", status, body)
	}
	a := <-claimed
	if late := time.Since(posted); a.status != http.StatusOK || a.took < pause || late > 5*time.Second {
		t.Errorf("%d after %s, %s after the Welcome was posted", a.status, a.took, late)
	}
}

// A claim waits as long as the server lets it, which is longer than proxies wait for an
// answer unless they are told otherwise.
func TestTheLongestWaitIsNotCutOff(t *testing.T) {
	eachProxy(t, func(t *testing.T, p proxy) {
		s := newSite(t, p, "localhost", append(public, "--long-poll", "65s")...)
		s.publish()
		if status, body := s.do("POST", alice+"/claim?wait=65s", nil); status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
	})
}

// A reply that got lost behind a proxy is given again while the next wait lasts, also
// where the proxy cuts off waits before their end.
func TestALostReplyIsGivenAgainBeforeAProxyCutsTheWaitOff(t *testing.T) {
	needProxies(t)
	t.Parallel()
	s := newSite(t, proxy{"haproxy", startImpatientHAProxy}, "localhost", public...)
	keyPackage := s.publish()
	status, body := s.do("POST", "/v1/welcomes", mls.Wrap(mls.WireFormatWelcome, mlstest.WelcomeFor(keyPackage)))
	var posted struct{ ID string }
	if err := json.Unmarshal(body, &posted); err != nil || status != http.StatusCreated {
		t.Fatalf("post: %d %s", status, body)
	}
	s.loseClaim(posted.ID)
	start := time.Now()
	status, body = s.do("POST", alice+"/claim?wait=50s", nil)
	if took := time.Since(start); status != http.StatusOK || !bytes.Contains(body, []byte(`"redelivered":true`)) || took < 10*time.Second {
		t.Errorf("after %s: %d %s", took, status, body)
	}
}

// loseClaim claims a Welcome and goes away without reading the answer.
func (s *site) loseClaim(id string) {
	s.t.Helper()
	at, err := url.Parse(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	config := s.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"http/1.1"}
	c, err := tls.Dial("tcp", at.Host, config)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if _, err = fmt.Fprintf(c, "POST %s/claim HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n", alice, at.Host); err != nil {
		s.t.Fatal(err)
	}
	for range 100 {
		if _, body := s.do("GET", "/v1/welcomes/"+id, nil); bytes.Contains(body, []byte(`"delivered"`)) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatal("it is not claimed")
}

// The proxy says who asks, whatever the client says about it.
func TestTheClientsAddressArrives(t *testing.T) {
	eachProxy(t, func(t *testing.T, p proxy) {
		seen := make(chan []string, 100)
		upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			seen <- append(r.Header.Values("X-Forwarded-For"), r.Proto)
		}))
		defer upstream.Close()
		s := inFrontOf(t, p, strings.TrimPrefix(upstream.URL, "http://"), "localhost")
		for len(seen) > 0 {
			<-seen
		}
		s.do("GET", "/v1", nil, "X-Forwarded-For: 203.0.113.9")
		if got := strings.Join(<-seen, " "); got != "127.0.0.1 HTTP/1.1" && got != "::1 HTTP/1.1" {
			t.Errorf("the server is told %q", got)
		}
	})
}

// A server without authentication serves nobody through a proxy.
func TestWithoutAuthenticationNobodyIsServedThroughAProxy(t *testing.T) {
	requireRefused := func(t *testing.T, p proxy) {
		s := newSite(t, p, "localhost")
		if status, body := s.do("POST", alice+"/claim", nil); status != http.StatusForbidden || !bytes.Contains(body, []byte("proxied_without_auth")) {
			t.Errorf("%d %s", status, body)
		}
	}
	eachProxy(t, requireRefused)
	t.Run("nginx as it is installed", func(t *testing.T) { requireRefused(t, proxy{"nginx", startPlainNginx}) })
}
