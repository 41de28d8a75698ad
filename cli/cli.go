package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v3"
)

// The exit codes of welcomed.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // a flag, its value or the command does not exist
)

// An environment is what surrounds a command: variables, standard streams, and settings.
type environment struct {
	lookup func(string) (string, bool)
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer

	settings settings // below what lookup finds
}

// Run runs the command in args[1:], and returns the exit code. It writes errors to stderr. When
// ctx ends, a server stops as on SIGTERM.
func Run(ctx context.Context, args []string, lookup func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer) int {
	return RunInstalled(ctx, args, "", lookup, stdin, stdout, stderr)
}

// RunInstalled is Run on a machine where the server may be installed as a service. Then file
// has the settings of the service.
func RunInstalled(ctx context.Context, args []string, file string, lookup func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer) int {
	env := environment{lookup: lookup, stdin: stdin, stdout: stdout, stderr: stderr}
	var err error
	if env.settings, err = readSettings(file); err == nil {
		env.lookup = env.settings.over(lookup)
		err = root(env).Run(ctx, args)
	}
	if err == nil {
		return exitOK
	}
	for _, sentence := range sentences(env.settings.hint(err)) {
		fmt.Fprintf(stderr, "welcomed: %s\n", sentence)
	}
	if _, ok := errors.AsType[failure](err); ok {
		return exitFailed
	}
	return exitUsage
}

// A failure is an error of a command, and not of its command line.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// sentences returns what is wrong, one line for each problem.
func sentences(err error) (list []string) {
	several, ok := errors.AsType[problems](err)
	if !ok {
		return []string{sentence(err)}
	}
	for _, one := range several {
		list = append(list, sentence(one))
	}
	return list
}

// sentence puts joined errors on one line.
func sentence(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}

func root(env environment) *cli.Command {
	commands := []*cli.Command{
		serveCommand(env),
		configCommand(env),
		demoCommand(env),
		devCommand(env),
		benchCommand(env),
		inspectCommand(env),
		explainCommand(env),
		tokenCommand(env),
		giveCommand(env),
		webhookCommand(env),
		backupCommand(env),
		restoreCommand(env),
		checkCommand(env),
		compactCommand(env),
		exportCommand(env),
		importCommand(env),
		healthCommand(env),
		helpCommand(env),
		versionCommand(env),
		completionCommand(env),
		manCommand(env),
	}
	for _, c := range commands {
		equip(env, c)
	}
	version := &cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "say which version this is", Local: true}
	return &cli.Command{
		Name:     "welcomed",
		Flags:    []cli.Flag{version},
		Usage:    "keeps MLS KeyPackages and Welcomes for devices that are offline",
		Commands: commands,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if cmd.Bool(version.Name) && !cmd.Args().Present() {
				return sayVersion(env)
			}
			return noCommand(ctx, cmd)
		},
		OnUsageError:    usageError,
		ExitErrHandler:  func(context.Context, *cli.Command, error) {}, // Run decides
		HideHelpCommand: true,
		Reader:          env.stdin,
		Writer:          env.stdout,
		ErrWriter:       env.stderr,
	}
}

// equip adds to a command, and to the commands below it, what every command has.
func equip(env environment, c *cli.Command) {
	c.OnUsageError = usageError
	if len(c.Commands) > 0 {
		c.HideHelpCommand = true
		for _, below := range c.Commands {
			equip(env, below)
		}
		if len(c.Flags) == 0 {
			return // it does nothing by itself
		}
	}
	c.Before = func(ctx context.Context, cmd *cli.Command) (context.Context, error) {
		from, err := fromEnvironment(env, cmd)
		return withOrigins(ctx, from), err
	}
	c.Action = failing(c.Action)
	if c.ArgValidator == nil {
		c.ArgValidator = noArguments
	}
}

func failing(action cli.ActionFunc) cli.ActionFunc {
	return func(ctx context.Context, cmd *cli.Command) error {
		err := action(ctx, cmd)
		if changesFiles(cmd) {
			err = errors.Join(err, handOver(cmd.String("db")))
		}
		if err != nil {
			return failure{err}
		}
		return nil
	}
}

// changesFiles reports whether a command may have made files beside the database.
func changesFiles(cmd *cli.Command) bool {
	switch cmd.Name {
	case "serve", "backup", "restore", "compact", "export", "import", "add", "revoke":
		return true
	case "check":
		return cmd.Bool("repair")
	}
	return false
}

// usageError prints no help text: the error above it would be overlooked.
func usageError(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	if removed := removedFlag(err); removed != nil {
		return removed
	}
	return fmt.Errorf("%w; see %s --help", err, cmd.FullName())
}

func noArguments(_ context.Context, cmd *cli.Command) error {
	if cmd.Args().Present() {
		return fmt.Errorf("%s takes no arguments, but there is %q", cmd.Name, cmd.Args().First())
	}
	return nil
}

func noCommand(_ context.Context, cmd *cli.Command) error {
	if cmd.Args().Present() {
		return fmt.Errorf("no command is called %q; see %s --help", cmd.Args().First(), cmd.FullName())
	}
	if cmd.Root() != cmd {
		return cli.ShowSubcommandHelp(cmd)
	}
	return cli.ShowRootCommandHelp(cmd)
}
