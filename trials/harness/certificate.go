package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"
)

// A Certificate is one that signs itself, of a server on the loopback interface.
type Certificate struct {
	Chain, Key []byte         // PEM
	Roots      *x509.CertPool // those who trust it
}

// NewCertificate makes one for 127.0.0.1 and for hosts.
func NewCertificate(hosts ...string) (*Certificate, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: hosts, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		// The alerts of deploy/ are about certificates that end within two weeks.
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	c := &Certificate{
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}),
		Roots: x509.NewCertPool(),
	}
	c.Roots.AppendCertsFromPEM(c.Chain)
	return c, nil
}

// Write writes the chain and the key to files that only their owner may read.
func (c *Certificate) Write(chain, key string) error {
	return errors.Join(os.WriteFile(chain, c.Chain, 0o600), os.WriteFile(key, c.Key, 0o600))
}

// TLS returns what a client needs that trusts it. nil trusts whom the system trusts.
func (c *Certificate) TLS() *tls.Config {
	if c == nil {
		return &tls.Config{}
	}
	return &tls.Config{RootCAs: c.Roots}
}

// connections is more than a trial has at a time over one HTTP client.
const connections = 4096

func (c *Certificate) client() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: c.TLS(), ForceAttemptHTTP2: true, MaxIdleConnsPerHost: connections}}
}
