package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/bolt"
)

const partSuffix = ".part"

func backupCommand(env environment) *cli.Command {
	b := backup{env: env, db: defaultDB(env)}
	return &cli.Command{
		Name:  "backup",
		Usage: "copy the database, also while a server runs",
		Description: "The copy is consistent, checked, and marked: a server that opens it takes every KeyPackage off\n" +
			"its shelf, because it may have been handed out since. Last-resort ones stay.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`, which must not exist, or - for stdout", Destination: &b.output, Sources: named("output")},
			textFlag("db", &b.db, "the `FILE` that the server was given"),
			socketFlag(&b.socket, "the `PATH` of the server's admin socket"),
		},
		Action: interruptible(b.run),
	}
}

// interruptible lets run clean up when it is told to stop.
func interruptible(run func(context.Context) error) cli.ActionFunc {
	return func(ctx context.Context, _ *cli.Command) error {
		ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		return run(ctx)
	}
}

// A backup is what the flags of backup say.
type backup struct {
	env    environment
	output string
	db     string
	socket socketPath
}

func (b *backup) run(ctx context.Context) error {
	switch {
	case b.output == "":
		return errors.New("say with -o where the backup is to go: a file, or - for stdout")
	case b.output == "-" && isTerminal(b.env.stdout):
		return errors.New("stdout is a terminal, and a backup is no text: redirect it, or name a file with -o")
	}
	if err := mustNotExist(b.output); err != nil {
		return err
	}
	source, kept, err := b.source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	if b.output == "-" {
		_, err = io.Copy(b.env.stdout, source)
	} else {
		err = writeDatabase(b.output, source, func(part string) error { return bolt.Check(ctx, part) })
	}
	if err != nil {
		return fmt.Errorf("write the backup to %s: %w", b.output, err)
	}
	return kept(ctx)
}

// source is a copy from the server, or from the file if there is none, and what
// to call when it is safe.
func (b *backup) source(ctx context.Context) (io.ReadCloser, func(context.Context) error, error) {
	server := newOperator(b.socket.of(b.db))
	resp, err := server.do(ctx, "POST", "/backup", nil)
	switch {
	case err == nil:
		return resp.Body, func(ctx context.Context) error { return server.ask(ctx, "POST", "/backup/kept", nil, nil) }, nil
	case !errors.Is(err, errNoServer):
		return nil, nil, err
	}
	f, fileErr := bolt.BackupFile(ctx, b.db)
	if errors.Is(fileErr, bolt.ErrInUse) {
		return nil, nil, fmt.Errorf("%w; %w", fileErr, err)
	}
	return f, func(context.Context) error { return nil }, fileErr
}

func restoreCommand(env environment) *cli.Command {
	r := restore{env: env, db: defaultDB(env)}
	return &cli.Command{
		Name:      "restore",
		Usage:     "put a backup in the place of the database, or mark a copy as one",
		ArgsUsage: "BACKUP",
		Description: "No server may run on the database. Its next one takes every KeyPackage off its shelf, because it\n" +
			"may have been handed out since the backup; devices refill them. Last-resort ones stay.",
		Flags: []cli.Flag{
			textFlag("db", &r.db, "the `FILE` that the server is given"),
			boolFlag("force", &r.force, "put a database that is there aside"),
			textFlag("mark", &r.mark, "mark this `FILE`, a disk image's or one copied by hand, and copy nothing"),
		},
		ArgValidator: func(_ context.Context, cmd *cli.Command) error {
			r.backup = cmd.Args().First()
			switch n := cmd.NArg(); {
			case r.mark != "" && n > 0:
				return fmt.Errorf("restore --mark FILE restores nothing, but there is %q", r.backup)
			case r.mark == "" && n != 1:
				return errors.New("restore takes one backup, or --mark FILE")
			}
			return nil
		},
		Action: interruptible(r.run),
	}
}

// A restore is what the flags and the argument of restore say.
type restore struct {
	env        environment
	backup, db string
	mark       string
	force      bool
}

func (r *restore) run(ctx context.Context) error {
	if r.mark != "" {
		if err := bolt.MarkRestored(ctx, r.mark); err != nil {
			return err
		}
		_, err := fmt.Fprintf(r.env.stdout, "marked %s as a copy: what is on its shelves will not be handed out\n", r.mark)
		return err
	}
	if !r.force {
		if err := mustNotExist(r.db); err != nil {
			return fmt.Errorf("%w; --force puts it aside", err)
		}
	}
	source, err := os.Open(r.backup)
	if err != nil {
		return fmt.Errorf("open the backup: %w", err)
	}
	defer source.Close()
	if err := os.MkdirAll(filepath.Dir(r.db), 0o700); err != nil {
		return fmt.Errorf("make the directory of --db: %w", err)
	}
	aside := ""
	err = writeDatabase(r.db, source, func(part string) (err error) {
		if err = bolt.MarkRestored(ctx, part); err == nil {
			aside, err = putAside(r.db, time.Now())
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("restore %s: %w", r.backup, err)
	}
	if aside != "" {
		fmt.Fprintf(r.env.stdout, "the database that was there is now %s\n", aside)
	}
	_, err = fmt.Fprintf(r.env.stdout, "restored %s from %s: what is on its shelves will not be handed out\n", r.db, r.backup)
	return err
}

// writeDatabase writes a file that is there whole or not at all, on the disk
// when it returns, and only if check has nothing against it.
func writeDatabase(path string, source io.Reader, check func(part string) error) error {
	part := path + partSuffix
	defer os.Remove(part)
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, source)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return plainly(err)
	}
	if err := check(part); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	return bolt.SyncDirectory(filepath.Dir(path))
}

// plainly says what is known of an error of the operating system.
func plainly(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("the disk is full: %w", err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the server ended before all of it was there: %w", err)
	}
	return err
}

// putAside renames the database that is at path, which nobody may have open, and
// returns its new name; empty if there is none.
func putAside(path string, now time.Time) (string, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err := bolt.Unused(path); err != nil {
		return "", err
	}
	aside := path + ".before-" + now.UTC().Format("20060102T150405Z")
	if err := mustNotExist(aside); err != nil {
		return "", err
	}
	return aside, os.Rename(path, aside)
}

func mustNotExist(path string) error {
	if path == "-" {
		return nil
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s exists and is not overwritten", path))
	}
	return nil
}

// isTerminal reports whether w is one, or another device that is no place for a
// backup.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
