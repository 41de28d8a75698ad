// Command operate does what docs/operate.md says, command by command, in a shell
// on a machine where nothing of welcomed is installed, and compares what they
// print with what the document says they print.
//
//	operate -shell 'COMMAND that starts a shell there' [-write] docs/operate.md
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
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	shell := flag.String("shell", "bash", "the `COMMAND` that starts a shell where the commands are run")
	write := flag.Bool("write", false, "write what was printed into the document")
	limit := flag.Duration("limit", 5*time.Minute, "how long a command may take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, flag.Arg(0), *shell, *limit, *write); err != nil {
		fmt.Fprintln(os.Stderr, "operate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, path, shell string, limit time.Duration, write bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	doc := parse(string(text))
	s, err := startSession(ctx, shell, limit)
	if err != nil {
		return err
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
			return fmt.Errorf("line %d: %s: %w, having printed:\n%s", part.line, part.command, err, printed)
		}
		ran++
		fmt.Printf("%5.1f s  line %d: %s\n", time.Since(start).Seconds(), part.line, firstLine(part.command))
		if matches(part.printed, lines(printed)) {
			continue
		}
		differ++
		if !write {
			fmt.Printf("         the document says:\n%s\n         but it prints:\n%s\n", indent(part.printed), indent(lines(printed)))
		}
		part.printed = lines(printed)
	}
	if write {
		err = os.WriteFile(path, []byte(doc.String()), 0o644)
	} else if differ > 0 {
		err = fmt.Errorf("%d of %d commands print something else than %s says", differ, ran, path)
	}
	fmt.Printf("%d commands of %s were run, %d printed something else\n", ran, path, differ)
	return err
}
