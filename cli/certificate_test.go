package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"welcomed/metrics"
)

// pair makes a certificate and its key, in PEM.
func pair(expires time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: expires, DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), err
}

// writePair writes tls.crt and tls.key.
func writePair(dir string, expires time.Time) error {
	cert, key, err := pair(expires)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "tls.crt"), cert, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "tls.key"), key, 0o600)
}

var farAway = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

func TestAServerWithACertificateSpeaksTLSOnly(t *testing.T) {
	dir := t.TempDir()
	if err := writePair(dir, farAway); err != nil {
		t.Fatal(err)
	}
	s, line, err := startServed(dir, os.Environ(), "--tls-cert", "tls.crt", "--tls-key", "tls.key")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill() })
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("https://" + line.Listen + "/v1")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		t.Errorf("%s %s", resp.Status, resp.Proto)
	}
	if resp, err := http.Get("http://" + line.Listen + "/v1"); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("without TLS: %s", resp.Status)
		}
	}
	resp, err = http.Get("http://" + line.AdminListen + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if want := "\nwelcomed_tls_certificate_expiry_timestamp_seconds 4.1024448e+09\n"; err != nil || !strings.Contains(string(b), want) {
		t.Errorf("the metrics lack %q, %v", want, err)
	}
}

// TestACertificateIsFollowed: what is new is told, what is broken once.
func TestACertificateIsFollowed(t *testing.T) {
	dir := t.TempDir()
	if err := writePair(dir, farAway); err != nil {
		t.Fatal(err)
	}
	registry, log := prometheus.NewRegistry(), new(bytes.Buffer)
	m := metrics.New(registry, "v1")
	c, err := loadCertificate(&config{tlsCert: filepath.Join(dir, "tls.crt"), tlsKey: filepath.Join(dir, "tls.key")}, m,
		slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	look := func() {
		ctx, cancel := context.WithCancel(t.Context())
		tick, ended := make(chan time.Time), make(chan struct{})
		go func() { defer close(ended); c.follow(ctx, tick) }()
		tick <- time.Time{}
		cancel()
		<-ended
	}
	if err := writePair(dir, farAway.AddDate(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	look()
	if err := os.WriteFile(filepath.Join(dir, "tls.key"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	look()
	look()
	if n := strings.Count(log.String(), "the old one stays"); n != 1 || strings.Count(log.String(), "new certificate\"") != 1 {
		t.Errorf("the log says\n%s", log)
	}
	if strings.Contains(log.String(), "nonsense") {
		t.Error("the key is in the log")
	}
	want := "# HELP welcomed_tls_certificate_expiry_timestamp_seconds When the certificate in use expires; 0 without TLS.\n" +
		"# TYPE welcomed_tls_certificate_expiry_timestamp_seconds gauge\nwelcomed_tls_certificate_expiry_timestamp_seconds 4.1339808e+09\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "welcomed_tls_certificate_expiry_timestamp_seconds"); err != nil {
		t.Error(err)
	}
}
