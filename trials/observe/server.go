package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"welcomed/trials/harness"
)

// A server is one that is watched.
type server struct {
	*harness.Process
	dir        string
	api, admin string // host:port
	flags      []string
	scheme     string
	client     *http.Client
	service    string // the token of a service
}

func newServer(dir string, flags ...string) (*server, error) {
	s := &server{dir: dir, flags: flags, scheme: "http", client: http.DefaultClient}
	for _, address := range []*string{&s.api, &s.admin} {
		free, err := harness.FreeAddress()
		if err != nil {
			return nil, err
		}
		*address = free.String()
	}
	return s, os.Mkdir(dir, 0o700)
}

func (s *server) file() string { return filepath.Join(s.dir, "welcomed.db") }

// begin starts the server and waits until it is ready.
func (s *server) begin(ctx context.Context, binary string) (err error) {
	cmd := exec.Command(binary, append([]string{"serve", "--db", s.file(), "--listen", s.api, "--admin-listen", s.admin, "--log-level", "error"}, s.flags...)...)
	cmd.Stderr = os.Stderr
	if s.Process, err = harness.Start(cmd, nil); err != nil {
		return err
	}
	return s.Ready(ctx, s.admin)
}

func (s *server) kill() {
	s.client.CloseIdleConnections()
	if s.Process != nil {
		_ = s.Stop(syscall.SIGKILL)
	}
}

// command runs another command of the binary on the server's file, and returns
// what it prints.
func (s *server) command(ctx context.Context, binary string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "WELCOMED_DB="+s.file(), "WELCOMED_TOKEN="+s.service, "SSL_CERT_FILE="+s.certificate())
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("welcomed %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}

func (s *server) certificate() string { return filepath.Join(s.dir, "tls.crt") }

// secure has the server use TLS.
func (s *server) secure() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(30 * 24 * time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	keyFile := filepath.Join(s.dir, "tls.key")
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(chain)
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	s.scheme, s.flags = "https", append(s.flags, "--tls-cert", s.certificate(), "--tls-key", keyFile)
	return errors.Join(os.WriteFile(s.certificate(), chain, 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
}

// ask sends a request of the service, on behalf of a user unless that is empty.
func (s *server) ask(ctx context.Context, behalf, method, path string, body any, headers ...string) (status int, answer []byte, err error) {
	media, content := "application/json", []byte(nil)
	switch body := body.(type) {
	case nil:
	case []byte:
		media, content = "message/mls", body
	default:
		if content, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, s.scheme+"://"+s.api+path, bytes.NewReader(content))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.service)
	req.Header.Set("Content-Type", media)
	if behalf != "" {
		req.Header.Set("On-Behalf-Of", behalf)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// want is ask that has to be answered with a status.
func (s *server) want(ctx context.Context, status int, behalf, method, path string, body any, headers ...string) ([]byte, error) {
	got, answer, err := s.ask(ctx, behalf, method, path, body, headers...)
	if err == nil && got != status {
		err = fmt.Errorf("answered %d instead of %d: %.300s", got, status, answer)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return answer, nil
}
