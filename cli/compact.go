package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"welcomed/bolt"
	"welcomed/progress"
)

func compactCommand(env environment) *cli.Command {
	c := compact{env: env, db: defaultDB(env)}
	return &cli.Command{
		Name:  "compact",
		Usage: "give the room that deletions have left in the database back to the disk",
		Description: "It writes a new file beside the database, checks it, and then replaces the database by it. Until then, and after\n" +
			"any error, the database is unchanged. No server may run on the database.",
		Flags: []cli.Flag{
			textFlag("db", &c.db, "the `FILE` that the server is given"),
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`, which must not exist, and do not change the database", Destination: &c.output, Sources: named("output")},
		},
		Action: interruptible(c.run),
	}
}

// A compact is what the flags of compact say.
type compact struct {
	env        environment
	db, output string
}

func (c *compact) run(ctx context.Context) error {
	p := &progress.Progress{}
	before, err := sizeOf(c.db)
	if err != nil {
		return err
	}
	hide := showProgress(p, c.env.stderr)
	made := c.output
	if made == "" {
		made, err = c.db, bolt.CompactInPlace(ctx, c.db, p)
	} else if err = mustNotExist(made); err == nil {
		err = bolt.Compact(ctx, c.db, made, p)
	}
	hide()
	if errors.Is(err, bolt.ErrInUse) {
		return fmt.Errorf("%w: stop the server first", err)
	}
	if err != nil {
		return err
	}
	after, err := sizeOf(made)
	if err == nil {
		_, err = fmt.Fprintf(c.env.stdout, "%s has %s, and had %s\n", made, roughSize(after), roughSize(before))
	}
	return err
}

func sizeOf(path string) (int64, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("there is no database %s", path)
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
