// Package postgres is the same life of KeyPackages and Welcomes as SQL on
// PostgreSQL: the first design, in which an event takes several round trips. It is
// what the store is compared with. It runs a private server for that, which lives
// in one directory and ends with it.
package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"welcomed/trials/harness"
)

// DebianBinaries is where Debian's postgresql-15 has its programs.
const DebianBinaries = "/usr/lib/postgresql/15/bin"

// settings are of full durability. Checkpoints come when they are asked for,
// and nothing cleans up behind one engine while another is measured.
var settings = []string{
	"fsync=on", "synchronous_commit=on", "full_page_writes=on",
	"shared_buffers=1GB", "max_wal_size=8GB", "checkpoint_timeout=1h", "autovacuum=off",
}

// A Cluster is a running server of our own on the loopback address.
type Cluster struct {
	dir      string
	address  string
	password string
	server   *harness.Process
	admin    *pgx.Conn
}

// Start makes a cluster in dir, which must not exist, with the programs in
// binaries, and starts it. PostgreSQL refuses to run as root: then it runs as
// user postgres or nobody, for whom dir must be reachable.
func Start(ctx context.Context, binaries, dir string) (*Cluster, error) {
	if _, err := os.Stat(filepath.Join(binaries, "initdb")); err != nil {
		return nil, fmt.Errorf("PostgreSQL 15 is not in %s: apt-get install postgresql-15, or name the directory of its programs with -postgres", binaries)
	}
	c := &Cluster{dir: dir, password: rand.Text()}
	owner, err := owner()
	if err != nil {
		return nil, err
	}
	if err := c.init(ctx, binaries, owner); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := c.serve(binaries, owner); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if c.admin, err = c.connect(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// owner returns whom the server runs as, nil for the user who runs this.
func owner() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody: run this as an ordinary user")
}

func (c *Cluster) init(ctx context.Context, binaries string, owner *syscall.Credential) error {
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return err
	}
	secret := filepath.Join(c.dir, "password")
	if err := os.WriteFile(secret, []byte(c.password), 0o600); err != nil {
		return err
	}
	if owner != nil {
		for _, path := range []string{c.dir, secret} {
			if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
				return err
			}
		}
	}
	initdb := exec.CommandContext(ctx, filepath.Join(binaries, "initdb"), "--pgdata", c.data(), "--username", "bench",
		"--pwfile", secret, "--auth", "scram-sha-256", "--no-locale", "--encoding", "UTF8")
	initdb.Dir = c.dir
	initdb.SysProcAttr = harness.Apart(owner)
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, lastLine(out))
	}
	return nil
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// serve starts the server, on the loopback address only.
func (c *Cluster) serve(binaries string, owner *syscall.Credential) error {
	address, err := harness.FreeAddress()
	if err != nil {
		return err
	}
	c.address = address.String()
	args := []string{"-D", c.data(), "-p", strconv.Itoa(address.Port), "-c", "listen_addresses=" + address.IP.String(), "-c", "unix_socket_directories="}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	log, err := os.Create(c.log())
	if err != nil {
		return err
	}
	defer log.Close()
	server := exec.Command(filepath.Join(binaries, "postgres"), args...)
	server.Dir, server.Stdout, server.Stderr = c.dir, log, log
	c.server, err = harness.Start(server, owner)
	return err
}

func (c *Cluster) log() string { return filepath.Join(c.dir, "postgres.log") }

func lastLine(out []byte) []byte {
	out = bytes.TrimSpace(out)
	return out[bytes.LastIndexByte(out, '\n')+1:]
}

// connect waits until the server takes connections.
func (c *Cluster) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, c.url("postgres"))
		if err == nil {
			return conn, nil
		}
		select {
		case <-c.server.Ended():
			out, _ := os.ReadFile(c.log())
			return nil, fmt.Errorf("postgres ended: %s", lastLine(out))
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to postgres: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *Cluster) url(database string) string {
	return fmt.Sprintf("postgres://bench:%s@%s/%s?sslmode=disable", c.password, c.address, database)
}

// Settings returns what the server says of itself, as it is in force.
func (c *Cluster) Settings(ctx context.Context) (map[string]string, error) {
	rows, err := c.admin.Query(ctx, `SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY($1)`, []string{
		"server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers", "autovacuum"})
	if err != nil {
		return nil, err
	}
	found := make(map[string]string)
	var name, value string
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		found[name] = value
		return nil
	})
	return found, err
}

// Checkpoint writes out all that is not in the tables yet, so that no engine
// is charged for the work of the one before. What is written after it pays for
// full pages in the log, as it would after any checkpoint.
func (c *Cluster) Checkpoint(ctx context.Context) error {
	_, err := c.admin.Exec(ctx, "CHECKPOINT")
	return err
}

// Close stops the server and removes the cluster.
func (c *Cluster) Close() error {
	if c.admin != nil {
		_ = c.admin.Close(context.Background())
	}
	return errors.Join(c.server.Stop(syscall.SIGINT), os.RemoveAll(c.dir)) // SIGINT: fast shutdown
}
