package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"welcomed/mls/mlstest"
	"welcomed/server"
)

// A pair is a certificate for localhost and its key, in PEM.
type pair struct{ cert, key []byte }

func newPair(t *testing.T, serial int64, expires time.Time) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: expires, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return pair{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
}

func (p pair) write(t *testing.T, dir string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, "tls.crt"), p.cert, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "tls.key"), p.key, 0o600))
}

func load(t *testing.T, dir string) *server.Certificate {
	t.Helper()
	c, err := server.LoadCertificate(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	must(t, err)
	return c
}

var farAway = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// secured starts a server with TLS, and returns the certificate and a client
// that speaks HTTP/2.
func secured(t *testing.T, change func(*server.Options), prepare ...func(*server.Server)) (*service, *server.Certificate, *http.Client) {
	t.Helper()
	dir := t.TempDir()
	newPair(t, 1, farAway).write(t, dir)
	c := load(t, dir)
	s := start(t, func(o *server.Options) {
		o.Certificate = c
		if change != nil {
			change(o)
		}
	}, prepare...)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return s, c, &http.Client{Transport: transport}
}

// do makes a request over HTTP/2; its body, if any, is raw message/mls.
func (s *service) do(c *http.Client, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequest(method, "https://"+s.api+path, body)
	must(s.t, err)
	req.Header.Set("Content-Type", "message/mls")
	resp, err := c.Do(req)
	if err == nil && resp.ProtoMajor != 2 {
		s.t.Errorf("it speaks %s", resp.Proto)
	}
	return resp, err
}

// serial is that of the certificate in a new handshake.
func (s *service) serial() int64 {
	s.t.Helper()
	c, err := tls.Dial("tcp", s.api, &tls.Config{InsecureSkipVerify: true})
	must(s.t, err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestANewCertificateIsUsedWithoutARestart(t *testing.T) {
	root := t.TempDir()
	first, second := filepath.Join(root, "1"), filepath.Join(root, "2")
	for i, dir := range []string{first, second} {
		must(t, os.Mkdir(dir, 0o700))
		newPair(t, int64(i+1), farAway.AddDate(i, 0, 0)).write(t, dir)
	}
	live := filepath.Join(root, "live") // as Kubernetes does it
	must(t, os.Symlink(first, live))
	c := load(t, live)
	s := start(t, func(o *server.Options) { o.Certificate = c })
	kept, err := tls.Dial("tcp", s.api, &tls.Config{InsecureSkipVerify: true})
	must(t, err)
	defer kept.Close()
	same(t, "serial", s.serial(), 1)
	reload := func(what string, want bool, wantErr string) {
		t.Helper()
		changed, err := c.Reload()
		same(t, what, changed, want)
		same(t, what+": error", fmt.Sprint(err), wantErr)
	}
	reload("nothing new", false, "<nil>")

	must(t, os.Symlink(second, live+".new"))
	must(t, os.Rename(live+".new", live))
	reload("another target", true, "<nil>")
	same(t, "serial", s.serial(), 2)
	same(t, "expires", c.Expires(), farAway.AddDate(1, 0, 0))

	cert, key := filepath.Join(live, "tls.crt"), filepath.Join(live, "tls.key")
	newPair(t, 3, farAway).write(t, live)
	whole, err := os.ReadFile(key)
	must(t, err)
	must(t, os.WriteFile(key, newPair(t, 4, farAway).key, 0o600))
	mismatch := cert + " and " + key + ": tls: private key does not match public key"
	reload("the key of another", false, mismatch)
	reload("the same again", false, "<nil>")
	must(t, os.Remove(key))
	reload("no key", false, "read "+key+": no such file or directory")
	same(t, "serial", s.serial(), 2)
	must(t, os.WriteFile(key, whole, 0o600))
	reload("mended", true, "<nil>")
	same(t, "serial", s.serial(), 3)

	_, err = io.WriteString(kept, "GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	must(t, err)
	b := make([]byte, 15)
	_, err = io.ReadFull(kept, b)
	must(t, err)
	same(t, "the connection from before", string(b), "HTTP/1.1 200 OK")
}

func TestOldVersionsOfTLSAreRefused(t *testing.T) {
	s, _, _ := secured(t, nil)
	for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		c, err := tls.Dial("tcp", s.api, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		same(t, tls.VersionName(version), err == nil, ok)
		if err == nil {
			c.Close()
		}
	}
}

func TestAHandshakeThatDoesNotComeIsCutOff(t *testing.T) {
	s, _, _ := secured(t, func(o *server.Options) { o.HeaderRead = 50 * time.Millisecond })
	dial(t, s.api).ended()
}

// In HTTP/2 the deadline of an answer ends its stream, whether anything is being
// written or not.
func TestALongPollOverHTTP2OutlivesTheTimeForAnAnswer(t *testing.T) {
	s, _, client := secured(t, nil, func(s *server.Server) { s.Body(20 * time.Millisecond); s.Write(20 * time.Millisecond) })
	for range 2 {
		resp, err := s.do(client, "POST", phone+"/claim?wait=200ms", nil)
		must(t, err)
		same(t, "status", resp.StatusCode, 200)
		_, err = io.Copy(io.Discard, resp.Body)
		must(t, err)
		resp.Body.Close()
	}
}

// Each write to a stream has the time for an answer, and the pauses between them have more.
func TestAStreamOverHTTP2OutlivesTheTimeForAnAnswer(t *testing.T) {
	s, _, client := secured(t, nil, func(s *server.Server) { s.Write(50 * time.Millisecond) })
	ask := func(method, path string, body []byte, status int) {
		t.Helper()
		resp, err := s.do(client, method, path, bytes.NewReader(body))
		must(t, err)
		resp.Body.Close()
		same(t, "status", resp.StatusCode, status)
	}
	stream, err := s.do(client, "GET", phoneEvents, nil)
	must(t, err)
	defer stream.Body.Close()
	lines, kp := bufio.NewScanner(stream.Body), signer.KeyPackage()
	ask("POST", shelf, kp, 201)
	ask("POST", tablet+"/claim?wait=200ms", nil, 200)
	ask("POST", "/v1/welcomes", mlstest.WelcomeFor(kp), 201)
	for lines.Text() != "event: welcome" {
		if !lines.Scan() {
			t.Fatalf("the stream has ended: %v", lines.Err())
		}
	}
}

func TestABodyOverHTTP2ThatDoesNotComeIsNotWaitedFor(t *testing.T) {
	s, _, client := secured(t, nil, func(s *server.Server) { s.Body(50 * time.Millisecond) })
	r, w := io.Pipe()
	defer w.Close()
	resp, err := s.do(client, "POST", shelf, r)
	must(t, err)
	defer resp.Body.Close()
	same(t, "status", resp.StatusCode, 408)
}

func TestABodyOverHTTP2IsLimited(t *testing.T) {
	s, _, client := secured(t, nil)
	for _, body := range []io.Reader{
		strings.NewReader(strings.Repeat(" ", 7<<20)),                 // as announced
		io.MultiReader(strings.NewReader(strings.Repeat(" ", 7<<20))), // nothing is announced
	} {
		resp, err := s.do(client, "POST", "/v1/welcomes", body)
		must(t, err)
		resp.Body.Close()
		same(t, "status", resp.StatusCode, 413)
	}
	resp, err := s.do(client, "GET", "/v1", nil)
	must(t, err)
	resp.Body.Close()
	same(t, "the connection goes on", resp.StatusCode, 200)
}

func TestAClientOverHTTP2ThatDoesNotReadIsCutOff(t *testing.T) {
	s, _, client := secured(t, nil, func(s *server.Server) { s.Write(200 * time.Millisecond) })
	for range 4 {
		r, err := s.do(client, "POST", shelf, nil)
		must(t, err)
		r.Body.Close()
		req, err := http.NewRequest("POST", "https://"+s.api+shelf, nil)
		must(t, err)
		setBody(req, publication{newKeyPackages(50, mlstest.WithPadding(60<<10))})
		r, err = client.Do(req)
		must(t, err)
		r.Body.Close()
		same(t, "status", r.StatusCode, 201)
	}
	resp, err := s.do(client, "GET", "/v1/users/alice/key-packages", nil)
	must(t, err)
	defer resp.Body.Close()
	s.saw(observation{"/v1/users/:user/key-packages", "GET", 200}) // the handler has ended
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("the answer came whole")
	}
	eventually(t, "the memory to be given back", func() bool { return s.server.Load().BodyMemory == 0 })
}

func TestAnUploadOverHTTP2IsFinished(t *testing.T) {
	s, _, client := secured(t, nil)
	kp := signer.KeyPackage()
	r, w := io.Pipe()
	status := make(chan int, 1)
	go func() {
		resp, err := s.do(client, "POST", shelf, r)
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	_, err := w.Write(kp[:100])
	must(t, err)
	eventually(t, "the upload to begin", func() bool { return s.server.Load().Requests == 1 })
	s.stop()
	eventually(t, "the server to stop", func() bool { return s.adminGet("/readyz", "").status == 503 })
	_, err = w.Write(kp[100:])
	must(t, err)
	w.Close()
	same(t, "status", wait(t, "the answer", status), 201)
	wait(t, "the server", s.ended)
	must(t, s.err)
}

// TestAConnectionOfHTTP2ThatBeginsAsTheServerStops: net/http does not close it. The
// server does before its handshake, or after it.
func TestAConnectionOfHTTP2ThatBeginsAsTheServerStops(t *testing.T) {
	s, _, _ := secured(t, nil, func(s *server.Server) { s.Grace(time.Hour) })
	c := dial(t, s.api)
	s.open(1)
	s.stop()
	// It may have closed the connection and ended before it is asked.
	eventually(t, "the server to stop", func() bool {
		resp, err := http.Get("http://" + s.admin + "/readyz")
		if err != nil {
			return true
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	secure := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	_, _ = io.WriteString(secure, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") // and SETTINGS
	wait(t, "the server", s.ended)
	must(t, s.err)
}

func TestStreamsOfAConnectionAreLimited(t *testing.T) {
	s, _, client := secured(t, func(o *server.Options) { o.Caps.WaitsPerDevice = 200; o.Caps.WaitsPerCaller = 200 })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 150 {
		req, err := http.NewRequestWithContext(ctx, "POST", "https://"+s.api+phone+"/claim?wait=50s", nil)
		must(t, err)
		go client.Do(req)
	}
	eventually(t, "all of them to wait", func() bool { return s.server.Load().Waits == 150 })
	if n := s.server.Load().Connections; n < 2 {
		t.Errorf("they share %d connection", n)
	}
}
