package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// reserve is how many connections those that are no claims that wait need at most.
const reserve = 100

// table measures for each memory what the server lets in by itself, all of it at the
// same time, and prints a line of a table.
func table(ctx context.Context, c *config, out io.Writer) error {
	fmt.Fprintln(out, "| memory | connections | bodies and answers | posters of 4 MiB | Welcomes posted and claimed | others wait, p50 / p99 | most, besides mapped files |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|")
	var wrong []error
	for _, memory := range c.fits {
		one := *c
		one.memory = memory
		if err := line(ctx, &one, out); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", mib(memory), err))
		}
	}
	return errors.Join(wrong...)
}

func line(ctx context.Context, c *config, out io.Writer) error {
	s, err := start(ctx, c)
	if err != nil {
		return err
	}
	defer s.remove()
	lets, err := s.lets(ctx)
	if err != nil {
		return err
	}
	if err := s.fill(ctx); err != nil {
		return err
	}
	c.waiting, c.connections = true, lets.connections-reserve
	f := s.overload(ctx, c)
	fmt.Fprintf(out, "| %s | %d | %s | %d | %d | %s / %s | %s |\n", mib(c.memory), f.most+int64(c.posters+c.good), lets.bodies, c.posters, len(f.large),
		percentile(f.times, 50), percentile(f.times, 99), mib(f.own))
	switch {
	case f.killed > 0:
		return errors.New("the kernel killed the server")
	case len(f.failures) > 0:
		return fmt.Errorf("%d requests failed, the first: %w", len(f.failures), f.failures[0])
	case f.most < int64(c.connections):
		return fmt.Errorf("only %d connections were open at a time", f.most)
	case c.posters > 0 && len(f.large) == 0:
		return errors.New("no Welcome of 4 MiB got through")
	}
	return s.Terminate()
}

// What a server lets in.
type letsIn struct {
	connections int
	bodies      string
}

// lets asks the program what it sets where it runs.
func (s *server) lets(ctx context.Context) (l letsIn, err error) {
	text, err := s.Config.Run(ctx, "config", "--json")
	if err != nil {
		return l, err
	}
	var answer struct {
		Settings []struct{ Name, Value string }
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return l, err
	}
	for _, setting := range answer.Settings {
		switch setting.Name {
		case "max-connections":
			l.connections, err = strconv.Atoi(setting.Value)
		case "max-body-memory":
			l.bodies = inMiB(setting.Value)
		}
	}
	return l, err
}

// inMiB is a size as the program prints it.
func inMiB(size string) string {
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return strings.Replace(size, "MiB", " MiB", 1)
	}
	return mib(n)
}
