// Package caddy tests the real server behind a real Caddy with the Caddyfile of
// deploy/: make caddy-test.
package caddy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

const variable = "WELCOMED_CADDY_TEST"

// A site is Caddy in front of a server.
type site struct {
	t      *testing.T
	url    string
	client *http.Client
}

// newSite starts both. What they write is shown when the test fails.
func newSite(t *testing.T, host string, flags ...string) *site {
	t.Helper()
	binary := os.Getenv(variable)
	if binary == "" {
		t.Skip("make caddy-test runs this")
	}
	dir := t.TempDir()
	api, secure, plain, admin := freePort(t), freePort(t), freePort(t), freePort(t)
	run(t, dir, nil, binary, append([]string{"serve", "--listen", api, "--admin-listen", freePort(t),
		"--insecure-no-auth", "--trusted-proxies", "127.0.0.1"}, flags...)...)
	file, err := filepath.Abs("../../deploy/caddy/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	domain := host + ":" + port(secure)
	if ip := net.ParseIP(host); ip != nil {
		domain = "https://" + domain
	}
	run(t, dir, []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "CADDY_ADMIN=" + admin,
		"DOMAIN=" + domain, "WELCOMED=" + api, "HTTP_PORT=" + port(plain), "HTTPS_PORT=" + port(secure)},
		"caddy", "run", "--adapter", "caddyfile", "--config", file)
	s := &site{t: t, url: "https://" + host + ":" + port(secure)}
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: rootOf(t, dir)}, ForceAttemptHTTP2: true}}
	s.wait()
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
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

// rootOf waits for the certificate of the authority that Caddy makes.
func rootOf(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	file := filepath.Join(dir, "caddy", "pki", "authorities", "local", "root.crt")
	for range 300 {
		pem, err := os.ReadFile(file)
		if pool := x509.NewCertPool(); err == nil && pool.AppendCertsFromPEM(pem) {
			return pool
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("Caddy makes no certificate at %s", file)
	return nil
}

// wait waits until the server answers through Caddy.
func (s *site) wait() {
	s.t.Helper()
	var last any
	for range 300 {
		resp, err := s.client.Get(s.url + "/v1")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
			last = resp.Status
		} else {
			last = err
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatalf("nothing answers through Caddy: %v", last)
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
	s := newSite(t, "localhost")
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
	s := newSite(t, "localhost")
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
	const pause = 12 * time.Second // longer than any timeout that would cut it
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

// TestTheClientsAddressArrives has a client whose address is not loopback, of
// which one claim may wait. If the server saw Caddy's address, or believed the
// client, two could.
func TestTheClientsAddressArrives(t *testing.T) {
	host := outsideAddress(t)
	s := newSite(t, host, "--max-waits-per-caller", "1")
	waiting := make(chan int, 1)
	go func() {
		status, _ := s.do("POST", alice+"/claim?wait=8s", nil)
		waiting <- status
	}()
	time.Sleep(2 * time.Second)
	status, body := s.do("POST", "/v1/users/bob/devices/phone/claim?wait=1s", nil, "X-Forwarded-For: 203.0.113.9")
	if status != http.StatusTooManyRequests || !bytes.Contains(body, []byte("too_many")) {
		t.Errorf("a second claim that waits: %d %s", status, body)
	}
	if first := <-waiting; first >= 300 {
		t.Errorf("the first: %d", first)
	}
}

func outsideAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			return ip.IP.String()
		}
	}
	t.Skip("this machine has only loopback addresses")
	return ""
}
