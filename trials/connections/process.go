package main

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
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

// A process is the server under test.
type process struct {
	*harness.Process
	dir        string
	api, admin string // host:port
	scheme     string
	client     *http.Client
	limit      *limit // nil: that of the machine
}

var insecure = &tls.Config{InsecureSkipVerify: true} // it is ours, on loopback

// start starts the server on a new file and waits until it is ready.
func start(ctx context.Context, c config) (*process, error) {
	dir, err := os.MkdirTemp("", "connections")
	if err != nil {
		return nil, err
	}
	s := &process{dir: dir, scheme: "http"}
	args, err := s.args(c)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if c.memory > 0 {
		if s.limit, err = newLimit(c.memory); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	cmd := s.limit.command(c.binary, args...)
	cmd.Stderr = os.Stderr
	if s.Process, err = harness.Start(cmd, nil); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: insecure.Clone(), ForceAttemptHTTP2: c.tls, MaxIdleConnsPerHost: 4 * c.good}}
	if err := s.Ready(ctx, s.admin); err != nil {
		s.kill()
		return nil, err
	}
	return s, nil
}

// The times that clients have are short, so that a run sees them pass.
func (s *process) args(c config) ([]string, error) {
	addresses := make([]string, 2)
	for i := range addresses {
		a, err := harness.FreeAddress()
		if err != nil {
			return nil, err
		}
		addresses[i] = a.String()
	}
	s.api, s.admin = addresses[0], addresses[1]
	args := []string{"serve", "--db", filepath.Join(s.dir, "welcomed.db"), "--listen", s.api, "--admin-listen", s.admin, "--log-level", "error",
		"--test-times", fmt.Sprintf("header=%[1]s,body=%[1]s,idle=%[1]s", c.cutoff)}
	if c.tls {
		s.scheme = "https"
		cert, key := filepath.Join(s.dir, "tls.crt"), filepath.Join(s.dir, "tls.key")
		args = append(args, "--tls-cert", cert, "--tls-key", key)
		return args, writePair(cert, key)
	}
	return args, nil
}

// writePair makes a certificate for nobody in particular.
func writePair(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
}

// stop ends the server as an operator does.
func (s *process) stop() error {
	if err := s.Stop(syscall.SIGTERM); err != nil {
		return fmt.Errorf("the server ended with %w", err)
	}
	return nil
}

// kill ends it in any case, and removes its file.
func (s *process) kill() {
	s.client.CloseIdleConnections()
	_ = s.Stop(syscall.SIGKILL)
	_ = s.limit.remove()
	os.RemoveAll(s.dir)
}

// hoarder is the device whose Welcomes fill an answer.
const hoarder = "/v1/users/hoarder/devices/one"

// fill has two Welcomes of nearly 3 MiB wait for a device: 8 MiB in base64.
func (s *process) fill(ctx context.Context) error {
	signer := mlstest.NewSigner(1, "hoarder")
	for range 2 {
		b := signer.KeyPackage()
		kp, err := mls.ReadKeyPackage(b)
		if err != nil {
			return err
		}
		if _, err := s.call(ctx, hoarder+"/key-packages", b, http.StatusCreated); err != nil {
			return err
		}
		if _, err := s.call(ctx, "/v1/welcomes", mlstest.WelcomeSize(3<<20-1000, 1, kp.Ref()), http.StatusCreated); err != nil {
			return err
		}
	}
	return nil
}

// call posts body, which is an MLS object, and returns the answer.
func (s *process) call(ctx context.Context, path string, body []byte, want int) ([]byte, error) {
	return s.callAs(ctx, "message/mls", path, body, want)
}

// callAs is call for a body of another media type.
func (s *process) callAs(ctx context.Context, mediaType, path string, body []byte, want int) ([]byte, error) {
	resp, answer, err := s.send(ctx, mediaType, path, body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s answered %d: %.200s", path, resp.StatusCode, answer)
	}
	return answer, err
}

// send posts body and returns the answer, whatever it is.
func (s *process) send(ctx context.Context, mediaType, path string, body []byte) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.scheme+"://"+s.api+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", mediaType)
	if len(body) == 0 {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp, answer, err
}

// A usage is what a process takes. What it has mapped of files is not its own: the
// system takes it away where there is no room.
type usage struct {
	peak, resident int64 // bytes
	own            int64 // bytes, of what is resident
	goroutines     int
	files          int
}

func (s *process) usage(ctx context.Context) (u usage, err error) {
	if u.peak, u.resident, u.own, err = s.memory(); err != nil {
		return u, err
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
	if err != nil {
		return u, err
	}
	u.files = len(entries)
	u.goroutines, err = s.goroutines(ctx)
	return u, err
}

// memory returns the most that was resident, what is, and what of it is its own.
func (s *process) memory() (peak, resident, own int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		return 0, 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "VmHWM: %d kB", &peak)
		fmt.Sscanf(line, "VmRSS: %d kB", &resident)
		fmt.Sscanf(line, "RssAnon: %d kB", &own)
	}
	return peak << 10, resident << 10, own << 10, nil
}

// goroutines asks the admin listener, which has to answer at all times.
func (s *process) goroutines(ctx context.Context) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("the admin listener: %w", err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		fmt.Sscanf(lines.Text(), "go_goroutines %d", &n)
	}
	return n, nil
}

// settled waits until the server has given back what it took, but for a few
// goroutines and files that a scrape and its own work need.
func (s *process) settled(ctx context.Context, before usage) (u usage, err error) {
	s.client.CloseIdleConnections()
	for deadline := time.Now().Add(settle); ; time.Sleep(100 * time.Millisecond) {
		if u, err = s.usage(ctx); err != nil {
			return u, err
		}
		if u.goroutines <= before.goroutines+10 && u.files <= before.files+10 {
			return u, nil
		}
		if time.Now().After(deadline) {
			return u, fmt.Errorf("%s later there are %d goroutines and %d files open, at first there were %d and %d",
				settle, u.goroutines, u.files, before.goroutines, before.files)
		}
	}
}

// dial opens a connection of somebody who does not behave.
func (s *process) dial(ctx context.Context) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", s.api)
	if err != nil || s.scheme == "http" {
		return c, err
	}
	secure := tls.Client(c, insecure)
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return secure, nil
}
