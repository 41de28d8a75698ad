package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"
)

// version is set when a release is built; otherwise the build knows the commit.
var version string

func currentVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func versionCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:   "version",
		Usage:  "say which version this is",
		Action: func(context.Context, *cli.Command) error { return sayVersion(env) },
	}
}

func sayVersion(env environment) error {
	_, err := fmt.Fprintf(env.stdout, "welcomed %s %s %s/%s\n", currentVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// helpCommand is for people who type help instead of --help.
func helpCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:         "help",
		Usage:        "say how a command is used",
		ArgsUsage:    "[COMMAND]",
		ArgValidator: func(context.Context, *cli.Command) error { return nil },
		Action: func(_ context.Context, cmd *cli.Command) error {
			names, of := cmd.Args().Slice(), cmd.Root()
			for _, name := range names {
				if of = of.Command(name); of == nil {
					return fmt.Errorf("no command is called %q; see welcomed --help", strings.Join(names, " "))
				}
			}
			return root(env).Run(context.Background(), slices.Concat([]string{"welcomed"}, names, []string{"--help"}))
		},
	}
}
