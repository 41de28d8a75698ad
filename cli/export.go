package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/bolt"
	"welcomed/delivery/archive"
	"welcomed/progress"
	"welcomed/safefile"
)

// exportSuffix ends the name of the copy from which the database of a running server is
// exported.
const exportSuffix = ".export" + safefile.PartSuffix

func exportCommand(env environment) *cli.Command {
	e := export{env: env, db: defaultDB(env), output: "-"}
	return &cli.Command{
		Name:  "export",
		Usage: "write the database as JSON lines, to move it to another store",
		Description: "The archive is treated like a backup: an import takes every KeyPackage off its shelf, except last\n" +
			"resorts, because it may have been handed out since. With --final nothing is taken off the shelves,\n" +
			"because no server opens this database again. For that, no server may run on it. An archive is as\n" +
			"secret as the database.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`, which must not exist, or - for stdout", Value: e.output, Destination: &e.output, Sources: named("output")},
			textFlag("db", &e.db, "the `FILE` that the server was given"),
			socketFlag(&e.socket, "the `PATH` of the server's admin socket"),
			boolFlag("final", &e.final, "mark the database so that no server opens it again; KeyPackages stay on their shelves in the new store"),
		},
		Action: interruptible(e.run),
	}
}

// An export is what the flags of export say.
type export struct {
	env    environment
	output string
	db     string
	socket socketPath
	final  bool

	progress progress.Progress
	emitted  bool // a final export, all of it: the database is marked
}

func (e *export) run(ctx context.Context) error {
	if err := mustNotExist(e.output); err != nil {
		return err
	}
	hide := showProgress(&e.progress, e.env.stderr)
	defer hide()
	file, remove, err := e.source(ctx)
	if err != nil {
		return err
	}
	defer remove()
	var again time.Time
	if e.final {
		if again, err = bolt.Moved(e.db); err != nil {
			return e.explain(err)
		}
	}
	counts, err := e.write(ctx, file)
	hide()
	if err != nil {
		return e.explain(err)
	}
	return e.report(counts, again)
}

// source returns a copy from the server, which goes on serving, or the file if no server runs.
func (e *export) source(ctx context.Context) (file *bolt.File, remove func(), err error) {
	own := &bolt.File{Path: e.db, Progress: &e.progress, Final: e.final}
	if e.final {
		return own, func() {}, nil
	}
	resp, err := newOperator(e.env, e.socket, e.db).do(ctx, "POST", "/backup", nil)
	switch {
	case errors.Is(err, errNoServer):
		if used := bolt.Unused(e.db); used != nil {
			return nil, nil, fmt.Errorf("%w; %w", used, err)
		}
		return own, func() {}, nil
	case err != nil:
		return nil, nil, err
	}
	defer resp.Body.Close()
	beside := e.output
	if e.output == "-" {
		beside = e.db
	}
	part := beside + exportSuffix
	remove = func() { _ = os.Remove(part) }
	e.progress.Begin("copying from the server", progress.Bytes, max(0, resp.ContentLength))
	if err := copyTo(part, counting{resp.Body, &e.progress}); err != nil {
		remove()
		return nil, nil, fmt.Errorf("copy the database to %s: %w", part, err)
	}
	return &bolt.File{Path: part, Progress: &e.progress}, remove, nil
}

func copyTo(path string, source io.Reader) error {
	f, err := safefile.Create(path, safefile.Private)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, source)
	return plainly(errors.Join(err, f.Close()))
}

// counting reports what is read.
type counting struct {
	io.Reader
	progress *progress.Progress
}

func (c counting) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.progress.Add(int64(n))
	return n, err
}

func (e *export) write(ctx context.Context, file *bolt.File) (counts archive.Counts, err error) {
	if e.output == "-" {
		return e.writeTo(ctx, file, e.env.stdout)
	}
	err = safefile.Write(e.output, safefile.Private, func(part *os.File) error {
		counts, err = e.writeTo(ctx, file, part)
		if err == nil {
			err = e.readAgain(ctx, part)
		}
		return err
	})
	return counts, plainly(err)
}

// writeTo writes the archive. It writes the end of the archive only after it has marked the
// database, so only then is the archive complete.
func (e *export) writeTo(ctx context.Context, file *bolt.File, to io.Writer) (archive.Counts, error) {
	w := archive.NewWriter(to, "welcomed "+currentVersion(), time.Now())
	if err := file.Export(ctx, w.Write); err != nil {
		return archive.Counts{}, err
	}
	e.emitted = e.final
	return w.Close()
}

// readAgain checks that what was written can be read.
func (e *export) readAgain(ctx context.Context, f *os.File) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	e.progress.Begin("checking the archive", progress.Bytes, size)
	for _, err := range archive.NewReader(counting{f, &e.progress}).Lines() {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// explain says what is left of a failed export.
func (e *export) explain(err error) error {
	err = fmt.Errorf("export %s to %s: %w", e.db, e.output, err)
	switch {
	case e.emitted:
		return fmt.Errorf("%w; %s is marked as moved: export --final can be repeated, and welcomed restore --mark %s makes it a restored backup", err, e.db, e.db)
	case e.final && errors.Is(err, bolt.ErrInUse):
		return fmt.Errorf("%w: stop the server first, --final is the end of this database", err)
	}
	return err
}

func (e *export) report(counts archive.Counts, again time.Time) error {
	to := e.env.stdout
	if e.output == "-" {
		to = e.env.stderr
	}
	_, err := fmt.Fprintf(to, "exported %s to %s: %s\n", e.db, e.output, inWords(counts))
	if e.final {
		_, err = fmt.Fprintf(to, "no server opens %s any more; import the archive into one store only\n", e.db)
	}
	if !again.IsZero() {
		_, err = fmt.Fprintf(to, "it had been moved before, on %s: if that archive was imported, what is on the shelves would be handed out twice\n", again.Format(time.RFC3339))
	}
	return err
}

// inWords says what is in an archive.
func inWords(c archive.Counts) string {
	return strings.Join([]string{
		counted(c.Devices, "device"), counted(c.KeyPackages, "KeyPackage"),
		counted(c.Welcomes, "Welcome") + " for " + counted(c.Recipients, "recipient"),
		counted(c.Tokens, "token"), counted(c.Reservations, "answer") + " to be repeated",
	}, ", ")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return thousands(n) + " " + what + "s"
}
