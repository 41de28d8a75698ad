package cli

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/backup"
)

func backupListCommand(env environment) *cli.Command {
	l := backupList{env: env, remote: defaultRemote(env)}
	return &cli.Command{
		Name:      "list",
		Usage:     "list the backups in a directory or a bucket, the oldest first",
		ArgsUsage: "DIRECTORY|s3://BUCKET/PREFIX",
		Flags:     l.remote.flags(),
		ArgValidator: func(_ context.Context, cmd *cli.Command) error {
			if cmd.NArg() != 1 {
				return errors.New("backup list takes one directory, or s3://BUCKET/PREFIX")
			}
			l.where = cmd.Args().First()
			return nil
		},
		Action: interruptible(l.run),
	}
}

// A backupList is what the flags and the argument of backup list say.
type backupList struct {
	env   environment
	where string
	remote
}

func (l *backupList) run(ctx context.Context) error {
	var place backup.Place = backup.ExistingDir(l.where)
	if backup.IsBucket(l.where) {
		bucket, err := l.bucket(l.where)
		if err != nil {
			return err
		}
		place = bucket
	}
	all, err := place.List(ctx)
	if err != nil {
		return fmt.Errorf("list the backups: %w", err)
	}
	w := tabwriter.NewWriter(l.env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tMADE\tAGE\tSIZE")
	for _, b := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", b.Name, b.At.Format(time.DateTime+" UTC"), agoOf(time.Since(b.At)), roughSize(b.Size))
	}
	return w.Flush()
}

// agoOf is how long ago something was, in one or two units.
func agoOf(d time.Duration) string {
	switch {
	case d < 0:
		return "in the future"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 2*day:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d/day))
}
