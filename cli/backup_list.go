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
		ArgsUsage: "[DIRECTORY|s3://BUCKET/PREFIX]",
		Description: "Without an argument it lists the backups that serve makes here: those in WELCOMED_BACKUP_DIR, and\n" +
			"those in the bucket WELCOMED_BACKUP_TO.",
		Flags: l.remote.flags(),
		ArgValidator: func(_ context.Context, cmd *cli.Command) error {
			switch l.places = cmd.Args().Slice(); len(l.places) {
			case 0:
				l.places = l.ofServe()
			case 1:
			default:
				return errors.New("backup list takes one directory, or s3://BUCKET/PREFIX")
			}
			if len(l.places) == 0 {
				return errors.New("say which directory or s3://BUCKET/PREFIX: neither WELCOMED_BACKUP_DIR nor WELCOMED_BACKUP_TO is set here")
			}
			return nil
		},
		Action: interruptible(l.run),
	}
}

// A backupList is what the flags and the argument of backup list say.
type backupList struct {
	env    environment
	places []string
	remote
}

// ofServe returns where serve makes backups.
func (l *backupList) ofServe() (places []string) {
	for _, flag := range []string{"backup-dir", "backup-to"} {
		if place, _ := l.env.lookup(envName(flag)); place != "" {
			places = append(places, place)
		}
	}
	return places
}

func (l *backupList) run(ctx context.Context) error {
	w := tabwriter.NewWriter(l.env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tMADE\tAGE\tSIZE\tWHERE")
	for _, where := range l.places {
		all, err := l.list(ctx, where)
		if err != nil {
			return fmt.Errorf("list the backups in %s: %w", where, err)
		}
		for _, b := range all {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", b.Name, b.At.Format(time.DateTime+" UTC"), agoOf(time.Since(b.At)), roughSize(b.Size), where)
		}
	}
	return w.Flush()
}

func (l *backupList) list(ctx context.Context, where string) ([]backup.Backup, error) {
	if !backup.IsBucket(where) {
		return backup.ExistingDir(where).List(ctx)
	}
	bucket, err := l.bucket(where)
	if err != nil {
		return nil, err
	}
	return bucket.List(ctx)
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
