package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"welcomed/bolt"
	"welcomed/progress"
	"welcomed/store"
)

func checkCommand(env environment) *cli.Command {
	c := check{env: env, db: defaultDB(env)}
	return &cli.Command{
		Name:      "check",
		Usage:     "look for damage in the database or in a backup, and repair it where possible",
		ArgsUsage: "[BACKUP]",
		Description: "It reads every row, and compares the indices and the counts with the rows. No server may run on the file. If one\n" +
			"runs, check a backup instead. Exit code 0 means that nothing is wrong.",
		Flags: []cli.Flag{
			textFlag("db", &c.db, "the `FILE` that the server is given"),
			boolFlag("repair", &c.repair, "keep a copy; then correct indices, counts and timers by the rows, and end what is damaged"),
		},
		ArgValidator: func(_ context.Context, cmd *cli.Command) error {
			if cmd.NArg() > 1 {
				return fmt.Errorf("check takes one backup, but there is also %q", cmd.Args().Get(1))
			}
			if cmd.NArg() == 1 {
				c.db = cmd.Args().First()
			}
			return nil
		},
		Action: interruptible(c.run),
	}
}

// A check is what the flags and the argument of check say.
type check struct {
	env    environment
	db     string
	repair bool
}

func (c *check) run(ctx context.Context) error {
	examine := bolt.Examine
	if c.repair {
		examine = bolt.Repair
	}
	p := &progress.Progress{}
	hide := showProgress(p, c.env.stderr)
	r, err := examine(ctx, c.db, store.CheckOptions{Progress: p})
	hide()
	if errors.Is(err, bolt.ErrInUse) {
		return fmt.Errorf("%w: stop the server, or make a backup with welcomed backup -o FILE and check that: welcomed check FILE", err)
	}
	if err != nil {
		return err
	}
	return c.say(r)
}

func (c *check) say(r *store.Report) error {
	out := c.env.stdout
	for _, f := range r.Findings {
		can := ""
		if f.Repairable {
			can = " (can be repaired)"
		}
		if f.Ends {
			can = " (can be repaired: it ends)"
		}
		fmt.Fprintf(out, "%s%s\n", f.Text, can)
	}
	if more := r.Found - len(r.Findings); more > 0 {
		fmt.Fprintf(out, "and %s more\n", thousands(more))
	}
	if r.Copy != "" && r.LostCommit {
		fmt.Fprintln(out, "the state before the last commit is in its place, and counts as a restored backup: what is on its shelves will not be handed out")
	}
	if r.Copy != "" {
		fmt.Fprintf(out, "%s repairs were made; the file as it was is %s\n", thousands(r.Repaired), r.Copy)
	}
	if r.Sound() {
		_, err := fmt.Fprintf(out, "%s is sound: %s devices, %s KeyPackages, %s recipients of Welcomes\n",
			c.db, thousands(r.Devices), thousands(r.KeyPackages), thousands(r.Welcomes))
		return err
	}
	return c.advise(r)
}

// advise is the error of a file that is not sound.
func (c *check) advise(r *store.Report) error {
	found := fmt.Sprintf("%s: %s findings", c.db, thousands(r.Found))
	if r.Found == 1 {
		found = c.db + ": one finding"
	}
	switch left := r.Found - r.Repairable; {
	case r.LostCommit && !c.repair:
		return fmt.Errorf("%s: welcomed check --repair puts the state before the last commit in its place, as a restored backup", found)
	case left == 0 && r.Ending > 0:
		return fmt.Errorf("%s, which welcomed check --repair repairs: what is damaged ends, as on a server that comes across it", found)
	case left == 0:
		return fmt.Errorf("%s, which welcomed check --repair mends without loss", found)
	case c.repair:
		return fmt.Errorf("%s that cannot be repaired: restore a backup with welcomed restore, or go on as it is with what is damaged refused", found)
	case r.Repairable > 0:
		return fmt.Errorf("%s, of which %s can be repaired with welcomed check --repair; for the others restore a backup with welcomed restore", found, thousands(r.Repairable))
	}
	return fmt.Errorf("%s that cannot be repaired: restore a backup with welcomed restore", found)
}
