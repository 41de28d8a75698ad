package harness

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// A Trial is a program that tries or measures the server, with what it is asked to do.
type Trial interface {
	// Flags defines the flags of the trial.
	Flags(*flag.FlagSet)
	// Check returns an error if what was asked for cannot be.
	Check() error
	// Run prints figures to out. What it returns in one line is what it found; a trial
	// that returns an error has failed.
	Run(ctx context.Context, out io.Writer) (result string, err error)
}

// Main is the main of each trial: it reads the flags, has SIGINT and SIGTERM end the
// trial, and says in one line how it ended. Figures go to stdout, that line to stderr. The
// exit code is 0 if it passed, 1 if it failed, 2 if it was asked for what cannot be.
func Main(name string, t Trial) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, name, t, os.Args[1:], os.Stdout, os.Stderr))
}

func execute(ctx context.Context, name string, t Trial, args []string, stdout, stderr io.Writer) (code int) {
	flags, err := read(name, t, args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 2
	}
	began := time.Now()
	result, err := t.Run(ctx, stdout)
	took := time.Since(began).Round(100 * time.Millisecond).String()
	if seed := flags.Lookup("seed"); seed != nil {
		took = "seed " + seed.Value.String() + ", " + took
	}
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "%s: failed (%s): %v\n", name, took, err)
		return 1
	case result != "":
		fmt.Fprintf(stderr, "%s: passed (%s): %s\n", name, took, result)
	}
	return 0
}

// read reads the flags of a trial, which takes no arguments besides.
func read(name string, t Trial, args []string, stderr io.Writer) (*flag.FlagSet, error) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	t.Flags(flags)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	return flags, t.Check()
}

// Run runs a trial with flags, as Main does, for a test.
func Run(ctx context.Context, name string, t Trial, args []string, out io.Writer) (result string, err error) {
	if _, err := read(name, t, args, io.Discard); err != nil {
		return "", err
	}
	return t.Run(ctx, out)
}
