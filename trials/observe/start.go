package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
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
		if *s.at, err = newServer(filepath.Join(o.dir, s.name), s.flags...); err != nil {
			return err
		}
		o.ends = append(o.ends, (*s.at).kill)
	}
	backups := filepath.Join(o.busy.dir, "backups")
	if err := os.Mkdir(backups, 0o700); err != nil {
		return err
	}
	o.busy.flags = append(o.busy.flags, "--backup-dir", backups)
	if err := o.busy.restored(ctx, o.binary); err != nil {
		return fmt.Errorf("start a server on a restored file: %w", err)
	}
	if err := o.unready.begin(ctx, o.binary); err != nil {
		return err
	}
	if err := os.Rename(o.unready.file(), o.unready.file()+".away"); err != nil {
		return err
	}
	if o.prometheus, err = o.startPrometheus(ctx, o.busy.admin, o.down.admin, o.unready.admin); err != nil {
		return err
	}
	return o.prometheus.scraped(ctx, o.busy.admin)
}

// restored begins the server on a file that was restored from its own backup.
func (s *server) restored(ctx context.Context, binary string) (err error) {
	if err := s.secure(); err != nil {
		return err
	}
	if err := s.begin(ctx, binary); err != nil {
		return err
	}
	if s.service, err = s.command(ctx, binary, "token", "add", "--service", "backend"); err != nil {
		return err
	}
	if _, err := s.publish(ctx, "early", 3); err != nil {
		return err
	}
	backup := filepath.Join(s.dir, "backup")
	if _, err := s.command(ctx, binary, "backup", "-o", backup); err != nil {
		return err
	}
	if err := s.Stop(syscall.SIGTERM); err != nil {
		return fmt.Errorf("the server ended with %w", err)
	}
	if _, err := s.command(ctx, binary, "restore", "--force", backup); err != nil {
		return err
	}
	return s.begin(ctx, binary)
}
