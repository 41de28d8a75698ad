package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// testFiles are the tests of alerts.yml: by the minute, and by ten.
var testFiles = []string{"alerts_test.yml", "alerts_hours_test.yml"}

func (o *observation) rulesFile(name string) string {
	return filepath.Join(o.deploy, "prometheus", name)
}

// checkFiles has promtool check what is in deploy/prometheus.
func (o *observation) checkFiles(ctx context.Context) error {
	return o.promtools(ctx, []string{"check", "config", o.rulesFile("prometheus.yml")}, []string{"check", "rules", o.rulesFile("alerts.yml")})
}

// testRules has promtool run the tests of the alerts. It takes a while.
func (o *observation) testRules(ctx context.Context) error {
	args := []string{"test", "rules"}
	for _, name := range testFiles {
		args = append(args, o.rulesFile(name))
	}
	return o.promtools(ctx, args)
}

func (o *observation) promtools(ctx context.Context, commands ...[]string) error {
	for _, args := range commands {
		if out, err := exec.CommandContext(ctx, o.promtool, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("promtool %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// The forms in which a test says that an alert fires and that it does not.
var (
	fires  = regexp.MustCompile(`alertname: (\w+)\n\s+exp_alerts:\n\s+- exp_labels:`)
	silent = regexp.MustCompile(`alertname: (\w+), exp_alerts: \[\]`)
)

// parts are what a section of the runbook has.
var parts = []string{"**What it means.**", "**Look.**", "**Do.**", "**Do not.**", "**It ends**"}

var section = regexp.MustCompile(`(?m)^## (.+)$`)

// checkCoverage checks that every alert has its tests and its section, and that
// no section is of no alert.
func (o *observation) checkCoverage(rules []rule) error {
	var tests []byte
	for _, name := range testFiles {
		b, err := os.ReadFile(o.rulesFile(name))
		if err != nil {
			return err
		}
		tests = append(tests, b...)
	}
	sections, err := o.runbook()
	if err != nil {
		return err
	}
	fires, silent := found(fires, tests), found(silent, tests)
	var wrong []error
	for _, r := range rules {
		if !r.alerting() {
			continue
		}
		if !fires[r.Name] || !silent[r.Name] {
			wrong = append(wrong, fmt.Errorf("%s has a test in which it fires: %v, in which it does not: %v", r.Name, fires[r.Name], silent[r.Name]))
		}
		wrong = append(wrong, r.explained(sections[r.Name]))
		delete(sections, r.Name)
	}
	for name := range sections {
		if strings.HasPrefix(name, "Welcomed") {
			wrong = append(wrong, fmt.Errorf("docs/runbook.md has a section on %s, which is no alert", name))
		}
	}
	return errors.Join(wrong...)
}

func found(form *regexp.Regexp, text []byte) map[string]bool {
	names := map[string]bool{}
	for _, m := range form.FindAllSubmatch(text, -1) {
		names[string(m[1])] = true
	}
	return names
}

// runbook returns the sections of docs/runbook.md by their titles.
func (o *observation) runbook() (map[string]string, error) {
	b, err := os.ReadFile(filepath.Join(o.docs, "runbook.md"))
	if err != nil {
		return nil, err
	}
	sections := map[string]string{}
	all := section.FindAllSubmatchIndex(b, -1)
	for i, m := range all {
		end := len(b)
		if i+1 < len(all) {
			end = all[i+1][0]
		}
		sections[string(b[m[2]:m[3]])] = string(b[m[1]:end])
	}
	return sections, nil
}

// explained checks the section of an alert, and that the alert leads there.
func (r rule) explained(text string) error {
	if text == "" {
		return fmt.Errorf("docs/runbook.md has no section on %s", r.Name)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return fmt.Errorf("docs/runbook.md: the section on %s has no %s", r.Name, part)
		}
	}
	if want := "docs/runbook.md#" + strings.ToLower(r.Name); r.Annotations["runbook_url"] != want {
		return fmt.Errorf("%s leads to %q and not to %s", r.Name, r.Annotations["runbook_url"], want)
	}
	return nil
}
