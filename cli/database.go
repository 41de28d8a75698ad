package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v3"

	"welcomed/bolt"
	"welcomed/safefile"
)

// makeDirectoryOf makes the directory of a database in its default place. Any other directory
// has to exist: if a path is mistyped, or its disk is not mounted, the server must not begin a
// new database there.
func makeDirectoryOf(db, byDefault string) error {
	directory := filepath.Dir(db)
	if db == byDefault {
		if err := safefile.MakeDirectory(directory); err != nil {
			return fmt.Errorf("make the directory of --db: %w", err)
		}
	}
	return isDirectory("the directory of --db", directory)
}

// isDirectory returns nil if there is such a directory.
func isDirectory(what, directory string) error {
	info, err := os.Stat(directory)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s, %s, does not exist: make it, mount its disk, or correct the path", what, directory)
	case err == nil && !info.IsDir():
		err = syscall.ENOTDIR
	}
	if err != nil {
		return fmt.Errorf("%s, %s: %w", what, directory, withoutPath(err))
	}
	return nil
}

// settingsOfServe returns the settings that serve has here without flags: from the environment,
// from the installed service, and defaults.
func settingsOfServe(env environment) (*config, error) {
	c := defaultConfig(env)
	serve := &cli.Command{Name: "serve", Flags: c.flags(), Writer: env.stdout, ErrWriter: env.stderr, OnUsageError: usageError}
	serve.Before = func(ctx context.Context, cmd *cli.Command) (context.Context, error) {
		_, err := fromEnvironment(env, cmd)
		return ctx, err
	}
	serve.Action = func(context.Context, *cli.Command) error { return nil }
	return c, serve.Run(context.Background(), []string{"serve"}) // the command that runs is not its parent
}

// openToChange opens a database that no server has open, for a command that writes. It says
// what else opening it has changed.
func openToChange(env environment, db string) (*bolt.Store, error) {
	c, err := settingsOfServe(env)
	if err != nil {
		return nil, err
	}
	store, err := bolt.Open(db, bolt.Options{Limits: c.limits, TrustClock: c.trustClock, MaxSize: c.maxSize, MustExist: true})
	if err != nil {
		return nil, err
	}
	if up, ok := store.Upgraded(); ok {
		fmt.Fprintf(env.stderr, "the database was brought from format %d to %d; as it was it is %s\n", up.From, up.To, up.Copy)
	}
	if store.Restored() {
		fmt.Fprintf(env.stderr, "%s (%s)\n", restoredText, store.RestoredBecause())
	}
	sayRevoked(store.Revoked(), func(text string, about ...any) { fmt.Fprintln(env.stderr, append([]any{text}, about...)...) })
	return store, nil
}
