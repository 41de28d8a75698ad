package server

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"
)

// A Certificate is a chain and its key in two PEM files. They are read again when their content
// changes: by writing, by a rename, or by another target of a symbolic link.
type Certificate struct {
	certFile, keyFile string
	seen              [sha256.Size]byte // what was read last, of use or not; Reload's alone
	current           atomic.Pointer[tls.Certificate]
}

// LoadCertificate reads the files. An error is one sentence, without the content of the files.
func LoadCertificate(certFile, keyFile string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile}
	if _, err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Reload reads the files again. It reports whether new handshakes use another certificate from
// now on. If the files cannot be used, the old certificate stays, and Reload returns an error,
// once for the same content. Calls must not overlap.
func (c *Certificate) Reload() (changed bool, err error) {
	cert, key, err := c.read()
	sum := sha256.Sum256(fmt.Append(nil, len(cert), cert, key, err))
	if sum == c.seen {
		return false, nil
	}
	c.seen = sum
	if err != nil {
		return false, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, fmt.Errorf("%s and %s: %w", c.certFile, c.keyFile, err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return false, fmt.Errorf("%s: %w", c.certFile, err)
		}
	}
	c.current.Store(&pair)
	return true, nil
}

func (c *Certificate) read() (cert, key []byte, err error) {
	cert, certErr := os.ReadFile(c.certFile)
	key, keyErr := os.ReadFile(c.keyFile)
	for _, err := range []error{certErr, keyErr} {
		if failed, ok := errors.AsType[*fs.PathError](err); ok {
			return nil, nil, fmt.Errorf("read %s: %w", failed.Path, failed.Err)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return cert, key, nil
}

// Expires returns when the certificate in use expires.
func (c *Certificate) Expires() time.Time { return c.current.Load().Leaf.NotAfter }

// config returns a configuration that uses the current certificate for each handshake.
func (c *Certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}
