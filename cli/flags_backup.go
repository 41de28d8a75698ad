package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/backup"
)

// backupSettings has the flags of serve about backups.
type backupSettings struct {
	dir, to string
	every   time.Duration
	keep    backup.Retention
	remote
}

func defaultBackups(env environment) backupSettings {
	return backupSettings{
		every:  6 * time.Hour,
		keep:   backup.Retention{Newest: 8, Days: 7},
		remote: defaultRemote(env),
	}
}

func (b *backupSettings) flags() []cli.Flag {
	return append([]cli.Flag{
		textFlag("backup-dir", &b.dir, "make backups in `DIRECTORY`, which must exist"),
		textFlag("backup-to", &b.to, "make backups in the S3 bucket s3://`BUCKET/PREFIX`"),
		valueFlag("backup-every", duration(&b.every, time.Second), "make a backup every `DURATION`"),
		valueFlag("backup-keep", retention(&b.keep), "how many backups to keep, `N+Nd`: the newest N, and the last one of each of the last N days that have one; a number alone does not change the days"),
	}, b.remote.flags()...)
}

func (b *backupSettings) check() error {
	if b.to == "" {
		return nil
	}
	if !backup.IsBucket(b.to) {
		return fmt.Errorf("--backup-to %s is not an address like s3://BUCKET/PREFIX; a directory goes with --backup-dir", b.to)
	}
	if _, err := b.bucket(b.to); err != nil {
		return fmt.Errorf("--backup-to: %w", err)
	}
	return nil
}

// retention is how many backups are kept, like 8+7d.
func retention(p *backup.Retention) cli.Value {
	return value[backup.Retention]{p, func(s string) (backup.Retention, error) {
		keep := *p
		newest, days, found := strings.Cut(s, "+")
		var errs [2]error
		keep.Newest, errs[0] = strconv.Atoi(newest)
		if found {
			number, isDays := strings.CutSuffix(days, "d")
			if keep.Days, errs[1] = strconv.Atoi(number); !isDays {
				errs[1] = strconv.ErrSyntax
			}
		}
		if errors.Join(errs[:]...) != nil || keep.Newest < 1 || keep.Days < 0 {
			return keep, errors.New("not like 8+7d or 8, and at least the newest one is kept")
		}
		return keep, nil
	}, func(r backup.Retention) string { return fmt.Sprintf("%d+%dd", r.Newest, r.Days) }}
}

// schedule returns the schedule of backups of the database; nil if there are none. The caller
// sets later who makes the copies.
func (b *backupSettings) schedule(db string, o scheduleObserver, log *slog.Logger) (_ *backup.Schedule, err error) {
	if b.dir == "" && b.to == "" {
		return nil, nil
	}
	s := &backup.Schedule{
		Every: b.every, Keep: b.keep, To: b.encryptTo,
		Database: db, Observer: o, Log: log,
	}
	if b.dir != "" {
		if err := isDirectory("--backup-dir", b.dir); err != nil {
			return nil, err
		}
		if s.Dir, err = backup.OpenDir(b.dir); err != nil {
			return nil, fmt.Errorf("--backup-dir: %w", err)
		}
	}
	if b.to != "" {
		if s.Bucket, err = b.bucket(b.to); err != nil {
			return nil, fmt.Errorf("--backup-to: %w", err)
		}
	} else if backup.SameDisk(b.dir, filepath.Dir(db)) {
		log.Warn("backups are on the same disk as the database, and are lost with it: give --backup-to, or copy them to another machine", "backup_dir", b.dir)
	}
	o.ScheduleBackups(b.every)
	return s, nil
}

// A scheduleObserver observes the schedule and its backups.
type scheduleObserver interface {
	backup.Observer
	ScheduleBackups(every time.Duration)
}

// A remote says how an S3 server is reached, and who can read what it keeps.
type remote struct {
	s3        backup.S3Options
	aws       backup.S3Options // what the environment of other programs says
	encryptTo backup.Recipients
}

func defaultRemote(env environment) remote {
	first := func(names ...string) string {
		for _, name := range names {
			if value, _ := env.lookup(name); value != "" {
				return value
			}
		}
		return ""
	}
	return remote{
		s3: backup.S3Options{
			Endpoint: first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
			Region:   first("AWS_REGION", "AWS_DEFAULT_REGION"),
		},
		aws: backup.S3Options{
			AccessKey:    first("AWS_ACCESS_KEY_ID"),
			SecretKey:    first("AWS_SECRET_ACCESS_KEY"),
			SessionToken: first("AWS_SESSION_TOKEN"),
		},
	}
}

func (r *remote) flags() []cli.Flag {
	return []cli.Flag{
		textFlag("backup-s3-endpoint", &r.s3.Endpoint, "`URL` of the S3 server; if empty, Amazon's"),
		textFlag("backup-s3-region", &r.s3.Region, "`REGION` of the S3 server; if empty, us-east-1"),
		secretFlag("backup-s3-access-key", &r.s3.AccessKey, "the access `KEY`; if empty, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are used"),
		secretFlag("backup-s3-secret-key", &r.s3.SecretKey, "the `SECRET` of the access key"),
		valueFlag("backup-encrypt-to", recipients(&r.encryptTo), "encrypt backups to these public `KEYS` of age, which age-keygen makes"),
	}
}

// bucket returns the bucket at an address, without a request to it.
func (r *remote) bucket(address string) (*backup.Bucket, error) {
	o := r.s3
	switch {
	case (o.AccessKey == "") != (o.SecretKey == ""):
		return nil, errors.New("--backup-s3-access-key and --backup-s3-secret-key are given both or not at all")
	case o.AccessKey == "":
		o.AccessKey, o.SecretKey, o.SessionToken = r.aws.AccessKey, r.aws.SecretKey, r.aws.SessionToken
	}
	if o.AccessKey == "" || o.SecretKey == "" {
		return nil, fmt.Errorf("%s wants a key: --backup-s3-access-key and --backup-s3-secret-key", address)
	}
	return backup.OpenBucket(address, o)
}

// recipients is a list of public keys.
func recipients(p *backup.Recipients) cli.Value {
	return value[backup.Recipients]{p, backup.ParseRecipients, backup.Recipients.String}
}

// readIdentities reads the private keys in a file; none if there is no name.
func readIdentities(file string) (backup.Identities, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("--identity %s: %w", file, failed.Err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	identities, err := backup.ParseIdentities(f)
	if err != nil {
		return nil, fmt.Errorf("--identity %s: %w", file, err)
	}
	return identities, nil
}
