package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/backup"
	"welcomed/bolt"
	"welcomed/progress"
	"welcomed/safefile"
)

func restoreCommand(env environment) *cli.Command {
	r := restore{env: env, db: defaultDB(env), remote: defaultRemote(env)}
	return &cli.Command{
		Name:      "restore",
		Usage:     "put a backup in the place of the database, or mark a copy as one",
		ArgsUsage: "BACKUP",
		Description: "BACKUP is a file, DIRECTORY/latest, s3://BUCKET/PREFIX/NAME or s3://BUCKET/PREFIX/latest. It may be\n" +
			"compressed or encrypted. No server may run on the database. The next server takes every KeyPackage\n" +
			"off its shelf, because the KeyPackage may have been handed out since the backup. Devices refill their\n" +
			"shelves. Last resorts stay. Tokens that were revoked since the backup stay revoked, and devices that\n" +
			"were removed stay removed. restore looks for them beside the database, where the backup is, and where\n" +
			"this machine makes its backups.",
		Flags: append([]cli.Flag{
			textFlag("db", &r.db, "the `FILE` that the server is given"),
			boolFlag("force", &r.force, "if there is a database, keep it under another name"),
			textFlag("identity", &r.identity, "`FILE` with the private key of age that an encrypted backup is for"),
			textFlag("mark", &r.mark, "mark this `FILE`, from a disk image or copied by hand, and copy nothing"),
		}, r.remote.flags()...),
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

// A restore has the flags and the argument of restore.
type restore struct {
	env        environment
	backup, db string
	mark       string
	force      bool
	identity   string
	remote

	from     backup.RevokedPlace // where the backup is
	progress progress.Progress
}

func (r *restore) run(ctx context.Context) error {
	identities, err := readIdentities(r.identity)
	if err != nil {
		return err
	}
	if r.mark != "" {
		return r.markOnly(ctx, identities)
	}
	if !r.force {
		if err := mustNotExist(r.db); err != nil {
			return fmt.Errorf("%w; --force puts it aside", err)
		}
	}
	hide := showProgress(&r.progress, r.env.stderr)
	defer hide()
	source, from, err := r.open(ctx)
	if err != nil {
		return fmt.Errorf("open the backup: %w", err)
	}
	defer source.Close()
	aside, say, err := r.restore(ctx, source, identities)
	if err != nil {
		return fmt.Errorf("restore %s: %w", from, err)
	}
	hide()
	if aside != "" {
		fmt.Fprintf(r.env.stdout, "the database that was there is now %s\n", aside)
	}
	if _, err = fmt.Fprintf(r.env.stdout, "restored %s from %s: what is on its shelves will not be handed out\n", r.db, from); err == nil {
		say()
	}
	return err
}

// markOnly makes the file a restored backup.
func (r *restore) markOnly(ctx context.Context, identities backup.Identities) error {
	if err := bolt.MarkRestored(ctx, r.mark); err != nil {
		return err
	}
	say, err := r.keepRevoked(ctx, r.mark, r.mark, identities)
	if err != nil {
		return fmt.Errorf("%s is marked as a copy, but %w", r.mark, err)
	}
	if _, err = fmt.Fprintf(r.env.stdout, "marked %s as a copy: what is on its shelves will not be handed out\n", r.mark); err == nil {
		say()
	}
	return err
}

// restore restores a backup. It returns the new name of the database that was there, if there
// was one, and says what stays revoked.
func (r *restore) restore(ctx context.Context, source io.Reader, identities backup.Identities) (aside string, say func(), err error) {
	db, err := behindLink(r.db)
	if err != nil {
		return "", nil, err
	}
	if err := makeDirectoryOf(db, defaultDB(r.env)); err != nil {
		return "", nil, err
	}
	plain, err := backup.Plain(countedReader{source, &r.progress}, identities)
	if errors.Is(err, backup.ErrEncrypted) && len(identities) == 0 {
		return "", nil, fmt.Errorf("%w: name the file that it is in with --identity", err)
	}
	if err != nil {
		return "", nil, err
	}
	defer plain.Close()
	err = writeDatabase(db, bolt.Stream(damaged{plain}), func(part string) (err error) {
		r.progress.Begin("the backup is checked", progress.Bytes, 0)
		if err = bolt.MarkRestored(ctx, part); err == nil {
			err = unusedIfThere(db)
		}
		if err == nil {
			say, err = r.keepRevoked(ctx, part, db, identities)
		}
		if err == nil {
			aside, err = putAside(db, time.Now())
		}
		return err
	})
	if err != nil && aside != "" {
		err = errors.Join(err, os.Remove(aside)) // a second name of what is still there
	}
	return aside, say, err
}

// A damaged reader blames the backup for errors of reading.
type damaged struct{ io.Reader }

func (d damaged) Read(b []byte) (int, error) {
	n, err := d.Reader.Read(b)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("it is cut off: %w", err)
	case err != nil && err != io.EOF:
		return n, fmt.Errorf("it cannot be read: %w", err)
	}
	return n, err
}

// open returns the content of the backup, and its name.
func (r *restore) open(ctx context.Context) (io.ReadCloser, string, error) {
	place, name, err := r.place()
	if err != nil {
		return nil, "", err
	}
	from := r.backup
	if place != nil {
		b, err := backup.Find(ctx, place, name)
		if err != nil {
			return nil, "", err
		}
		name, from = b.Name, place.String()+"/"+b.Name
	} else {
		place, name = backup.ExistingDir(filepath.Dir(r.backup)), filepath.Base(r.backup)
	}
	r.from = place
	source, size, err := place.Open(ctx, name)
	r.progress.Begin("the backup is read", progress.Bytes, size)
	return source, from, err
}

// place returns the place in which the backup has to be looked for; nil if it is a file.
func (r *restore) place() (backup.RevokedPlace, string, error) {
	if backup.IsBucket(r.backup) {
		address, name := path.Split(r.backup)
		bucket, err := r.bucket(address)
		return bucket, name, err
	}
	directory, name := filepath.Split(r.backup)
	if _, err := os.Lstat(r.backup); name == backup.Latest && errors.Is(err, fs.ErrNotExist) {
		return backup.ExistingDir(filepath.Clean(directory)), name, nil
	}
	return nil, "", nil
}

// behindLink returns the file to which path leads. That file is replaced, and not the link.
func behindLink(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSymlink {
		return path, nil
	}
	file, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("--db %s is a link that leads nowhere", path)
	}
	return file, nil
}

// asideAt ends the name of a file that is kept when another takes its place: a script may
// restore twice in a second.
func asideAt(now time.Time) string { return ".before-" + now.UTC().Format("20060102T150405.000Z") }

// unusedIfThere returns an error if a process has the database at path open.
func unusedIfThere(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return bolt.Unused(path)
}

// putAside gives the database at path, which no process may have open, a second name, and
// returns it; empty if there is no database. The first name stays until another file takes it,
// so that there is a database at every moment.
func putAside(path string, now time.Time) (string, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err := bolt.Unused(path); err != nil {
		return "", err
	}
	aside := path + asideAt(now)
	if err := mustNotExist(aside); err != nil {
		return "", err
	}
	if os.Link(path, aside) == nil {
		return aside, nil
	}
	return aside, safefile.Rename(path, aside) // a file system on which a file has one name
}
