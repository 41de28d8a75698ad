// Package proxy tests the real server behind the real reverse proxies for which deploy/
// has a configuration: make proxy-test.
package proxy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"welcomed/client"
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

// A site is a proxy in front of a server, and a client that asks through it.
type site struct {
	t *testing.T
	*harness.Client
}

// newSite starts a server and a proxy. What they write is shown when the test fails.
func newSite(t *testing.T, p proxy, host string, flags ...string) *site {
	t.Helper()
	s, err := harness.Config{Binary: needProxies(t), DB: filepath.Join(t.TempDir(), "welcomed.db"), Args: flags}.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Log(s.Log)
		}
	})
	return inFrontOf(t, p, s.API(), host)
}

// inFrontOf starts a proxy in front of what listens on an address.
func inFrontOf(t *testing.T, p proxy, upstream, host string) *site {
	t.Helper()
	secure := freePort(t)
	roots := p.start(t, t.TempDir(), place{host: host, secure: port(secure), upstream: upstream})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	s := &site{t, harness.NewClient(&http.Client{Transport: transport}, "https://"+host+":"+port(secure))}
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

// run runs a proxy until the test ends.
func run(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	c := exec.Command(name, args...)
	c.Dir, c.Env, c.Stdout, c.Stderr = dir, append(os.Environ(), env...), &out, &out
	p, err := harness.Start(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Stop(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("%s:\n%s", name, out.String())
		}
	})
}

// wait waits until the server answers through the proxy.
func (s *site) wait() {
	s.t.Helper()
	var last any
	for range 300 {
		a, err := s.Ask(s.t.Context(), "GET", harness.About, nil)
		switch {
		case err != nil:
			last = err
		case a.Good() || a.Status == http.StatusForbidden:
			return
		default:
			last = a.Status
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatalf("nothing answers through the proxy: %v", last)
}

// ask sends an object, or nothing, and returns the answer.
func (s *site) ask(method, path string, object any, headers ...string) harness.Answer {
	s.t.Helper()
	a, err := s.Ask(s.t.Context(), method, path, object, headers...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

var alice = harness.Device{User: "alice", Name: "phone"}

func (s *site) publish() (keyPackage []byte) {
	s.t.Helper()
	keyPackage = mlstest.NewSigner(1, "alice").KeyPackage()
	if _, err := s.Publish(s.t.Context(), alice.ID(), "", keyPackage); err != nil {
		s.t.Fatal(err)
	}
	return keyPackage
}

// post posts a Welcome and returns its id.
func (s *site) post(welcome []byte) (id string) {
	s.t.Helper()
	o, err := s.Post(s.t.Context(), client.Posting{Welcome: welcome})
	if err != nil {
		s.t.Fatal(err)
	}
	return o.ID
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
	if err := s.Do(t.Context(), "GET", harness.About, nil, &about); err != nil || about.Limits.WelcomeBytes != 4<<20 {
		t.Fatalf("%v: a Welcome may have %d bytes", err, about.Limits.WelcomeBytes)
	}
	keyPackage, err := mls.ParseKeyPackage(s.publish())
	if err != nil {
		t.Fatal(err)
	}
	welcome := mlstest.WelcomeSize(about.Limits.WelcomeBytes-1<<10, 1, keyPackage.Ref())
	s.post(welcome)
	a := s.ask("POST", alice.Claim(), nil, "Accept", harness.MediaMLS)
	if a.Status != http.StatusOK || !bytes.Equal(a.Body, mls.Wrap(mls.WireFormatWelcome, welcome)) {
		t.Fatalf("claim: %d, %d bytes", a.Status, len(a.Body))
	}
	if a := s.ask("POST", harness.AllWelcomes, make([]byte, 11_000_000)); a.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("11 MB: %d", a.Status)
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
		a, err := s.Ask(t.Context(), "POST", alice.Claim()+"?wait=50s", nil, "Accept", harness.MediaMLS)
		if err != nil {
			t.Error(err)
		}
		claimed <- answer{a.Status, time.Since(start)}
	}()
	const pause = 12 * time.Second
	time.Sleep(pause)
	posted := time.Now()
	s.post(mls.Wrap(mls.WireFormatWelcome, mlstest.WelcomeFor(keyPackage)))
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
		if a := s.ask("POST", alice.Claim()+"?wait=65s", nil); a.Status != http.StatusOK {
			t.Errorf("%d %s", a.Status, a.Body)
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
	s.loseClaim(s.post(mls.Wrap(mls.WireFormatWelcome, mlstest.WelcomeFor(keyPackage))))
	start := time.Now()
	a := s.ask("POST", alice.Claim()+"?wait=50s", nil)
	if took := time.Since(start); a.Status != http.StatusOK || !bytes.Contains(a.Body, []byte(`"redelivered":true`)) || took < 10*time.Second {
		t.Errorf("after %s: %d %s", took, a.Status, a.Body)
	}
}

// loseClaim claims a Welcome and goes away without reading the answer.
func (s *site) loseClaim(id string) {
	s.t.Helper()
	at, err := url.Parse(s.URL)
	if err != nil {
		s.t.Fatal(err)
	}
	config := s.HTTP.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"http/1.1"}
	c, err := tls.Dial("tcp", at.Host, config)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if _, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n", alice.Claim(), at.Host); err != nil {
		s.t.Fatal(err)
	}
	for range 100 {
		if a := s.ask("GET", harness.WelcomePath(id), nil); bytes.Contains(a.Body, []byte(`"delivered"`)) {
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
		s.ask("GET", harness.About, nil, "X-Forwarded-For", "203.0.113.9")
		if got := strings.Join(<-seen, " "); got != "127.0.0.1 HTTP/1.1" && got != "::1 HTTP/1.1" {
			t.Errorf("the server is told %q", got)
		}
	})
}

// A server without authentication serves nobody through a proxy.
func TestWithoutAuthenticationNobodyIsServedThroughAProxy(t *testing.T) {
	requireRefused := func(t *testing.T, p proxy) {
		s := newSite(t, p, "localhost")
		if a := s.ask("POST", alice.Claim(), nil); a.Status != http.StatusForbidden || a.Problem().Code != "proxied_without_auth" {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
	eachProxy(t, requireRefused)
	t.Run("nginx as it is installed", func(t *testing.T) { requireRefused(t, proxy{"nginx", startPlainNginx}) })
}
