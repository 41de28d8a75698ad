// Observe has a real Prometheus watch a real server, with the files of
// deploy/prometheus, while everything happens that a rule or a panel of the
// dashboard is about. It fails, with the name of each, if a query finds nothing,
// a metric is missing or nobody looks at it, an alert has no test, no section in
// docs/runbook.md, or does not fire and end when it should.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"welcomed/trials/harness"
)

func main() { harness.Main("observe", &config{}) }

// A config is what a run is asked to do.
type config struct {
	binary               string
	prometheus, promtool string
	deploy, docs         string
}

// Flags implements harness.Trial.
func (c *config) Flags(flags *flag.FlagSet) {
	flags.StringVar(&c.binary, "binary", "build/welcomed", "the server to watch")
	flags.StringVar(&c.prometheus, "prometheus", "prometheus", "who watches it")
	flags.StringVar(&c.promtool, "promtool", "promtool", "what comes with it")
	flags.StringVar(&c.deploy, "deploy", "deploy", "where prometheus/ and grafana/ are")
	flags.StringVar(&c.docs, "docs", "docs", "where runbook.md is")
}

// Check implements harness.Trial.
func (c *config) Check() error { return nil }

// Run implements harness.Trial.
func (c *config) Run(ctx context.Context, out io.Writer) (string, error) {
	o := &observation{config: *c, began: time.Now(), out: out}
	dir, err := os.MkdirTemp("", "observe")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	o.dir = dir
	defer o.end()
	return "everything is seen", o.observe(ctx)
}

// An observation is a run under way.
type observation struct {
	config
	dir   string
	began time.Time
	out   io.Writer

	busy       *server // everything happens to it
	down       *server // it is started late
	unready    *server // its file is moved away
	prometheus *prometheus
	ends       []func()
}

func (o *observation) say(format string, args ...any) {
	fmt.Fprintf(o.out, "%3.0f s  %s\n", time.Since(o.began).Seconds(), fmt.Sprintf(format, args...))
}

// end stops what was started, the last first.
func (o *observation) end() {
	for i := len(o.ends) - 1; i >= 0; i-- {
		o.ends[i]()
	}
}

func (o *observation) observe(ctx context.Context) error {
	board, err := readDashboard(o.deploy + "/grafana/welcomed.json")
	if err != nil {
		return err
	}
	if err := errors.Join(o.checkFiles(ctx), board.check()); err != nil {
		return err
	}
	o.say("the files are in order: %d panels", len(board.Panels))
	tested := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { tested <- o.testRules(ctx) }()
	if err := o.start(ctx); err != nil {
		return err
	}
	o.say("three servers, one of them restored from a backup, one without its file, one not started; Prometheus on %s", o.prometheus.address)
	if err := o.busy.drive(ctx); err != nil {
		return fmt.Errorf("have everything happen: %w", err)
	}
	o.say("everything has happened")
	rules, err := o.prometheus.rules(ctx)
	if err != nil {
		return err
	}
	wrong := errors.Join(o.checkCoverage(rules), o.checkMetrics(ctx, rules, board), o.checkQueries(ctx, rules, board))
	if wrong != nil {
		return wrong
	}
	if err := o.checkAlerts(ctx); err != nil {
		return err
	}
	defer o.say("the tests of the alerts pass")
	return <-tested
}
