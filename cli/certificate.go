package cli

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"welcomed/metrics"
	"welcomed/server"
)

// certificateEvery is how often the files of a certificate are read and compared. File systems
// and links say too little about what has changed.
const certificateEvery = 10 * time.Second

// A certificate is the certificate in use. It is replaced when its files change.
type certificate struct {
	*server.Certificate
	metrics *metrics.Metrics
	log     *slog.Logger
}

// loadCertificate returns nil if there is none.
func loadCertificate(c *config, m *metrics.Metrics, log *slog.Logger) (*certificate, error) {
	if c.tlsCert == "" {
		return nil, nil
	}
	loaded, err := c.readCertificate()
	if err != nil {
		return nil, err
	}
	m.ObserveCertificate(loaded.Expires())
	return &certificate{loaded, m, log}, nil
}

func (c *config) readCertificate() (*server.Certificate, error) {
	loaded, err := server.LoadCertificate(c.tlsCert, c.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert and --tls-key: %w", err)
	}
	return loaded, nil
}

// follow looks at the files until ctx is done.
func (c *certificate) follow(ctx context.Context, tick <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			c.reload()
		}
	}
}

func (c *certificate) reload() {
	changed, err := c.Reload()
	switch {
	case err != nil:
		c.log.Error("the new certificate cannot be used, the old one stays", "error", err, "expires", c.Expires())
	case changed:
		c.metrics.ObserveCertificate(c.Expires())
		c.log.Info("new certificate", "expires", c.Expires())
	}
}
