// Command operate does what docs/operate.md says, command by command, in a shell
// on a machine where nothing of welcomed is installed, and compares what they
// print with what the document says they print.
//
//	operate -shell 'COMMAND that starts a shell there' [-write] [-document docs/operate.md]
//
// Blocks that begin with ```console are run. In them a line that begins with "$ "
// is a command, the lines with "> " behind it belong to it, and all others are
// what it prints. A line of only … stands for any lines, and … in a line for
// anything. Times, sizes, durations, keys and hashes may be others. With -write,
// output that differs is written into the document: it is pasted from a run.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"welcomed/trials/harness"
)

func main() { harness.Main("operate", &config{}) }

type config struct {
	document, shell string
	write           bool
	limit           time.Duration
}

// Flags implements harness.Trial.
func (c *config) Flags(flags *flag.FlagSet) {
	flags.StringVar(&c.document, "document", "docs/operate.md", "what is done")
	flags.StringVar(&c.shell, "shell", "bash", "the `COMMAND` that starts a shell where the commands are run")
	flags.BoolVar(&c.write, "write", false, "write what was printed into the document")
	flags.DurationVar(&c.limit, "limit", 5*time.Minute, "how long a command may take")
}

// Check implements harness.Trial.
func (c *config) Check() error { return nil }

// Run implements harness.Trial.
func (c *config) Run(ctx context.Context, out io.Writer) (string, error) {
	text, err := os.ReadFile(c.document)
	if err != nil {
		return "", err
	}
	doc := parse(string(text))
	s, err := startSession(ctx, c.shell, c.limit)
	if err != nil {
		return "", err
	}
	defer s.end()
	ran, differ := 0, 0
	for _, part := range doc {
		if part.command == "" {
			continue
		}
		start := time.Now()
		printed, status, err := s.run(part.command)
		if err == nil && status != 0 {
			err = fmt.Errorf("it exits with %d", status)
		}
		if err != nil {
			return "", fmt.Errorf("line %d: %s: %w, having printed:\n%s", part.line, part.command, err, printed)
		}
		ran++
		fmt.Fprintf(out, "%5.1f s  line %d: %s\n", time.Since(start).Seconds(), part.line, firstLine(part.command))
		if matches(part.printed, lines(printed)) {
			continue
		}
		differ++
		if !c.write {
			fmt.Fprintf(out, "         the document says:\n%s\n         but it prints:\n%s\n", indent(part.printed), indent(lines(printed)))
		}
		part.printed = lines(printed)
	}
	if c.write {
		err = os.WriteFile(c.document, []byte(doc.String()), 0o644)
	} else if differ > 0 {
		err = fmt.Errorf("%d of %d commands print something else than %s says", differ, ran, c.document)
	}
	return fmt.Sprintf("%d commands of %s were run, %d printed something else", ran, c.document, differ), err
}
