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
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/backup"
	"welcomed/bolt"
	"welcomed/progress"
	"welcomed/safefile"
)

const compressedSuffix = ".zst"

func backupCommand(env environment) *cli.Command {
	b := backingUp{env: env, db: defaultDB(env), remote: defaultRemote(env)}
	return &cli.Command{
		Name:  "backup",
		Usage: "copy the database, also while a server runs",
		Description: "The copy is consistent, checked, and marked. A server that opens it takes every KeyPackage off its\n" +
			"shelf, because the KeyPackage may have been handed out since. Last resorts stay.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`, which must not exist, compressed if it ends in .zst; to s3://BUCKET/PREFIX; or to - for stdout", Destination: &b.output, Sources: named("output")},
			textFlag("db", &b.db, "the `FILE` that the server was given"),
			socketFlag(&b.socket, "the `PATH` of the server's admin socket"),
		}, b.remote.flags()...),
		Commands: []*cli.Command{backupListCommand(env)},
		Action:   interruptible(b.run),
	}
}

// interruptible gives run the time to clean up when it is told to stop.
func interruptible(run func(context.Context) error) cli.ActionFunc {
	return func(ctx context.Context, _ *cli.Command) error {
		ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		return run(ctx)
	}
}

// A backingUp has the flags of backup.
type backingUp struct {
	env    environment
	output string
	db     string
	socket socketPath
	remote

	progress progress.Progress
}

func (b *backingUp) run(ctx context.Context) error {
	switch {
	case b.output == "":
		return errors.New("say with -o where the backup is to go: a file, s3://BUCKET/PREFIX, or - for stdout")
	case b.output == "-" && isTerminal(b.env.stdout):
		return errors.New("stdout is a terminal, and a backup is no text: redirect it, or name a file with -o")
	}
	write, err := b.writer()
	if err != nil {
		return err
	}
	start := time.Now()
	hide := showProgress(&b.progress, b.env.stderr)
	defer hide()
	source, err := b.source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	done, err := write(ctx, source)
	if err != nil {
		return fmt.Errorf("write the backup to %s: %w", b.output, err)
	}
	hide()
	note := ""
	if source.file != nil {
		note = "; no server runs, so it is noted nowhere"
	}
	fmt.Fprintf(b.says(), "backed up to %s in %s, %s%s\n", done.where, time.Since(start).Round(10*time.Millisecond), done.what, note)
	return source.kept(ctx)
}

// says returns where the result is written.
func (b *backingUp) says() io.Writer {
	if b.output == "-" {
		return b.env.stderr
	}
	return b.env.stdout
}

// A written says where a backup was written, and what it is.
type written struct{ where, what string }

type writeBackup func(context.Context, *copied) (written, error)

// writer returns how a copy is written to its destination.
func (b *backingUp) writer() (writeBackup, error) {
	switch {
	case b.output == "-":
		return b.toStdout, nil
	case backup.IsBucket(b.output):
		bucket, err := b.bucket(b.output)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, source *copied) (written, error) { return b.toBucket(ctx, bucket, source) }, nil
	}
	if err := mustNotExist(b.output); err != nil {
		return nil, err
	}
	if len(b.encryptTo) > 0 || strings.HasSuffix(b.output, compressedSuffix) {
		return b.toSealedFile, nil
	}
	return b.toFile, nil
}

// A copied is a copy that the server has made, or this process if no server runs. Its maker has
// checked it, so it is not checked again. Its maker also says how long it is, so that a part of
// it is not taken for the whole.
type copied struct {
	io.ReadCloser
	size int64
	file *os.File                    // if no server made it
	kept func(context.Context) error // is called when the backup is safe
}

// source returns a copy from the server, or of the file if no server runs.
func (b *backingUp) source(ctx context.Context) (*copied, error) {
	b.progress.Begin("the database is copied and checked", progress.Bytes, 0)
	server := newOperator(b.env, b.socket, b.db)
	resp, err := server.do(ctx, "POST", "/backup", nil)
	switch {
	case err == nil:
		kept := func(ctx context.Context) error { return server.ask(ctx, "POST", "/backup/kept", nil, nil) }
		return &copied{resp.Body, resp.ContentLength, nil, kept}, nil
	case !errors.Is(err, errNoServer):
		return nil, err
	}
	f, fileErr := bolt.BackupFile(ctx, b.db)
	if errors.Is(fileErr, bolt.ErrInUse) {
		return nil, fmt.Errorf("%w; %w", fileErr, err)
	}
	if fileErr != nil {
		return nil, fileErr
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &copied{f, info.Size(), f, func(context.Context) error { return nil }}, nil
}

func (b *backingUp) toStdout(_ context.Context, source *copied) (written, error) {
	w, err := backup.Encrypt(b.env.stdout, b.encryptTo)
	if err != nil {
		return written{}, err
	}
	n, err := io.Copy(w, b.counted("backup", source))
	if err := errors.Join(err, w.Close()); err != nil {
		return written{}, ended(err)
	}
	return written{"stdout", roughSize(n) + ", checked where it was made"}, nil
}

func (b *backingUp) toFile(_ context.Context, source *copied) (written, error) {
	err := writeDatabase(b.output, b.counted("backup", source), func(string) error { return nil })
	return written{b.output, roughSize(source.size) + ", checked"}, ended(err)
}

func (b *backingUp) toSealedFile(ctx context.Context, source *copied) (written, error) {
	database, err := b.fileOf(source, b.output)
	if err != nil {
		return written{}, err
	}
	defer database.Close()
	b.progress.Begin("the backup is compressed and read again", progress.Bytes, 0)
	size, err := backup.WriteFile(ctx, b.output, database, b.encryptTo)
	return written{b.output, sizes(source.size, size) + ", checked"}, err
}

func (b *backingUp) toBucket(ctx context.Context, bucket *backup.Bucket, source *copied) (written, error) {
	beside := b.db
	if _, err := os.Stat(filepath.Dir(beside)); err != nil {
		beside = filepath.Join(os.TempDir(), filepath.Base(b.db))
	}
	at := time.Now()
	database, err := b.fileOf(source, beside)
	if err != nil {
		return written{}, err
	}
	defer database.Close()
	b.progress.Begin("the backup is compressed and read again", progress.Bytes, 0)
	staged, err := backup.Stage(ctx, beside, at, database, b.encryptTo)
	if err != nil {
		return written{}, err
	}
	defer staged.Close()
	b.progress.Begin("the backup is sent", progress.Bytes, staged.Size)
	if err := bucket.Upload(ctx, staged, b.progress.Add); err != nil {
		return written{}, err
	}
	if err := b.copyRevoked(ctx, bucket); err != nil {
		fmt.Fprintf(b.env.stderr, "what was revoked could not be copied there: %v\n", err)
	}
	return written{bucket.String() + "/" + staged.Name(), sizes(source.size, staged.Size) + ", checked, and compared by the server"}, nil
}

// copyRevoked copies the file of revocations beside the backups of a bucket. There may be older
// ones.
func (b *backingUp) copyRevoked(ctx context.Context, bucket *backup.Bucket) error {
	v, err := bolt.ReadRevokedOf(b.db)
	if err != nil || v == nil {
		return err
	}
	name, text, err := copyRevoked(func() (*bolt.Revoked, error) { return v, nil }, time.Now())
	if err != nil {
		return err
	}
	return backup.PutRevoked(ctx, bucket, name, text, b.encryptTo)
}

// fileOf returns a copy as a file without a name. If the copy is not a file yet, it makes one
// beside path.
func (b *backingUp) fileOf(source *copied, path string) (*os.File, error) {
	if source.file != nil {
		return source.file, nil
	}
	name := path + ".received" + safefile.PartSuffix
	defer os.Remove(name)
	f, err := safefile.Create(name, safefile.Private)
	if err != nil {
		return nil, plainly(err)
	}
	if _, err = io.Copy(f, b.counted("copy from the server", source)); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, ended(errors.Join(plainly(err), f.Close()))
	}
	return f, nil
}

// counted reports what is read.
func (b *backingUp) counted(what string, source *copied) io.Reader {
	b.progress.Begin(what, progress.Bytes, source.size)
	return countedReader{source, &b.progress}
}

type countedReader struct {
	io.Reader
	progress *progress.Progress
}

func (c countedReader) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.progress.Add(int64(n))
	return n, err
}

func sizes(plain, sealed int64) string {
	return fmt.Sprintf("%s, %s compressed", roughSize(plain), roughSize(sealed))
}

// ended says whose fault it is that a copy is not complete.
func ended(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the server ended before all of it was there: %w", err)
	}
	return err
}

// writeDatabase writes a file, which is there either complete or not at all. It is on the disk
// when writeDatabase returns nil. check can refuse it.
func writeDatabase(path string, source io.Reader, check func(part string) error) error {
	return plainly(safefile.Write(path, safefile.Private, func(part *os.File) error {
		_, err := io.Copy(part, source)
		if err := errors.Join(err, part.Sync()); err != nil {
			return err
		}
		return check(part.Name())
	}))
}

// plainly says in plain words that the disk is full, if that is the error.
func plainly(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("the disk is full: %w", err)
	}
	return err
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

// isTerminal reports whether w is a terminal, or another device that is no place for a backup.
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
