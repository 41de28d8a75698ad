package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/urfave/cli/v3"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/archive"
	"welcomed/progress"
)

// importLimits are the flags of serve that decide when imported rows have to be looked at
// again.
var importLimits = []string{
	"low-watermark", "shelf-age", "outcomes-kept",
}

func importCommand(env environment) *cli.Command {
	serve := defaultConfig(env)
	i := importing{env: env, db: defaultDB(env), limits: &serve.limits}
	flags := []cli.Flag{textFlag("db", &i.db, "make this `FILE`, which must not exist")}
	for _, flag := range serve.limitFlags() {
		if slices.Contains(importLimits, flag.Names()[0]) {
			flags = append(flags, flag)
		}
	}
	return &cli.Command{
		Name:      "import",
		Usage:     "make a database of what export has written",
		ArgsUsage: "[ARCHIVE|-]",
		Description: "It imports and checks the complete archive, or makes no database. If serve has other limits than the\n" +
			"defaults, give import the same ones. Without an argument it reads the archive from stdin.",
		Flags: flags,
		ArgValidator: func(_ context.Context, cmd *cli.Command) error {
			if cmd.NArg() > 1 {
				return fmt.Errorf("import takes one archive, but there is %q", cmd.Args().Get(1))
			}
			i.archive = cmd.Args().First()
			return nil
		},
		Action: interruptible(i.run),
	}
}

// An importing is what the flags and the argument of import say.
type importing struct {
	env     environment
	archive string
	db      string
	limits  *delivery.Limits

	progress progress.Progress
}

func (i *importing) run(ctx context.Context) error {
	if stdin, ok := i.env.stdin.(*os.File); ok && i.archive == "" && isTerminal(stdin) {
		return errors.New("say which archive is to be imported, or - for what is typed")
	}
	if err := mustNotExist(i.db); err != nil {
		return fmt.Errorf("%w: an archive is only imported into a new database", err)
	}
	source, size, err := i.open()
	if err != nil {
		return fmt.Errorf("open the archive: %w", err)
	}
	defer source.Close()
	if err := makeDirectoryOf(i.db, defaultDB(i.env)); err != nil {
		return err
	}
	i.progress.Begin("importing", progress.Bytes, size)
	hide := showProgress(&i.progress, i.env.stderr)
	defer hide()
	r := archive.NewReader(counting{source, &i.progress})
	file := &bolt.File{Path: i.db, Limits: *i.limits, Progress: &i.progress}
	err = file.Import(ctx, r.Lines())
	hide()
	if err != nil {
		return fmt.Errorf("import to %s: %w", i.db, err)
	}
	return i.report(r)
}

// open returns the archive and its size; 0 if that is not known.
func (i *importing) open() (io.ReadCloser, int64, error) {
	if i.archive == "" || i.archive == "-" {
		return io.NopCloser(i.env.stdin), 0, nil
	}
	f, err := os.Open(i.archive)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func (i *importing) report(r *archive.Reader) error {
	shelves := "what is on its shelves will not be handed out, as it may have been since the export"
	if r.Header().Shelves == archive.Keep {
		shelves = "it goes on where the old store ended"
	}
	_, err := fmt.Fprintf(i.env.stdout, "imported %s into %s; %s\n", inWords(r.Counts()), i.db, shelves)
	return err
}
