package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"welcomed/trials/harness"
)

// busyFlags make budgets that are used up and times that pass within a run.
// There is room for what bench does.
var busyFlags = []string{"--auth", "token", "--max-size", "256MiB",
	"--test-times", "sweep=1s,reservation-overdue=1s,hold-overdue=1s,redelivery=3s", "--welcome-kept", "8s", "--low-watermark", "2",
	"--budgets", "pair=12+1/h,target=20+1/h,caller=30+1/h,publish=100+1/h,store=300KiB+1KiB/h,check_time=500ms+50ms/s",
	"--backup-every", "3s", "--backup-keep", "2+0d"}

// start starts what is watched, and who watches.
func (o *observation) start(ctx context.Context) (err error) {
	for _, s := range []struct {
		at    **server
		name  string
		flags []string
	}{{&o.busy, "busy", busyFlags}, {&o.down, "down", nil}, {&o.unready, "unready", nil}} {
		if *s.at, err = newServer(o.binary, filepath.Join(o.dir, s.name), s.flags...); err != nil {
			return err
		}
		o.ends = append(o.ends, func() { (*s.at).Kill() })
	}
	backups := filepath.Join(o.busy.dir, "backups")
	if err := os.Mkdir(backups, 0o700); err != nil {
		return err
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	o.ends = append(o.ends, receiver.Close)
	o.busy.how.Args = append(o.busy.how.Args, "--backup-dir", backups,
		"--webhook-url", receiver.URL, "--webhook-allow", "127.0.0.1", "--webhook-secret", "whsec_"+strings.Repeat("A", 32))
	if err := o.busy.restored(ctx); err != nil {
		return fmt.Errorf("start a server on a restored file: %w", err)
	}
	if err := o.unready.begin(ctx); err != nil {
		return err
	}
	if err := os.Rename(o.unready.how.DB, o.unready.how.DB+".away"); err != nil {
		return err
	}
	// Prometheus is told of this one before it is started.
	free, err := harness.FreeAddress()
	if err != nil {
		return err
	}
	o.down.how.Admin = free.String()
	if o.prometheus, err = o.startPrometheus(ctx, o.busy.admin(), o.down.admin(), o.unready.admin()); err != nil {
		return err
	}
	return o.prometheus.scraped(ctx, o.busy.admin())
}

// restored begins the server on a file that was restored from its own backup.
func (s *server) restored(ctx context.Context) (err error) {
	if s.how.TLS, err = harness.NewCertificate(); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	token, err := s.how.Token(ctx)
	if err != nil {
		return err
	}
	s.service, s.token = s.Client().As(token), token
	if _, err := s.publish(ctx, "early", 3); err != nil {
		return err
	}
	backup := filepath.Join(s.dir, "backup")
	if _, err := s.command(ctx, "backup", "-o", backup); err != nil {
		return err
	}
	if err := s.Terminate(); err != nil {
		return err
	}
	if _, err := s.command(ctx, "restore", "--force", backup); err != nil {
		return err
	}
	return s.begin(ctx)
}
