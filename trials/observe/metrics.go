package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"welcomed/trials/harness"
)

// unused are the metrics of welcomed that no panel shows, with the reason.
var unused = map[string]string{
	"welcomed_key_packages_withdrawn_fresh_total": "it is for who looks into devices that are empty again and again",
	"welcomed_damaged_total":                      "the alert WelcomedDamageFound is for it",
	"welcomed_key_packages_given_back_total":      "it is for who looks into an application that gives back much",
	"welcomed_revocation_copies_total":            "the alert WelcomedRevocationsNotCopied is for it",
	"welcomed_streams_ended_total":                "it is for who looks into clients that are cut off",
	"welcomed_events_sent_total":                  "it is for who looks into streams that tell nothing",
	"welcomed_webhook_failing":                    "the alert WelcomedWebhookFails is for it",
}

// never are the counters that nothing in a run increases, with the reason.
var never = map[string]string{
	"welcomed_damaged_total": "no disk of a run flips bits",
}

// An exposed is what /metrics of a server has.
type exposed struct {
	text  harness.Metrics
	types map[string]string  // by name
	sums  map[string]float64 // of all series of a name
}

func (s *server) exposed(ctx context.Context) (e exposed, err error) {
	if e.text, err = s.Metrics(ctx); err != nil {
		return e, err
	}
	e.types, e.sums = map[string]string{}, map[string]float64{}
	for line := range strings.Lines(string(e.text)) {
		fields := strings.Fields(line)
		if strings.HasPrefix(line, "# TYPE ") {
			e.types[fields[2]] = fields[3]
		} else if !strings.HasPrefix(line, "#") && len(fields) > 1 {
			name, _, _ := strings.Cut(fields[0], "{")
			v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			if err != nil {
				return e, fmt.Errorf("/metrics: %q: %w", line, err)
			}
			e.sums[name] += v
		}
	}
	return e, nil
}

// family returns the name behind # TYPE of a sample's name.
func (e exposed) family(sample string) (string, bool) {
	if _, ok := e.types[sample]; ok {
		return sample, true
	}
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if name, ok := strings.CutSuffix(sample, suffix); ok && e.types[name] == "histogram" {
			return name, true
		}
	}
	return "", false
}

// named are the metrics and the recorded series in a query.
var named = regexp.MustCompile(`\b(?:instance:)?(?:welcomed|process|go)_[a-z0-9_]+(?::[a-z0-9_]+)?`)

func namesIn(query string) []string {
	return named.FindAllString(quoted.ReplaceAllString(query, `""`), -1)
}

// notYet returns the names of the counters that are zero and should not be.
func (e exposed) notYet() (names []string) {
	for name, kind := range e.types {
		if strings.HasPrefix(name, "welcomed_") && kind == "counter" && e.sums[name] == 0 && never[name] == "" {
			names = append(names, name)
		}
	}
	return names
}

// await has /metrics once everything has happened: what expires does so by
// itself, after what busyFlags say.
func (s *server) await(ctx context.Context) (e exposed, err error) {
	const patience = 30 * time.Second
	for deadline := time.Now().Add(patience); ; time.Sleep(500 * time.Millisecond) {
		if e, err = s.exposed(ctx); err != nil || len(e.notYet()) == 0 || time.Now().After(deadline) {
			return e, err
		}
	}
}

// checkMetrics compares what rules and panels ask for with what there is, in both
// directions, and has promtool look at it.
func (o *observation) checkMetrics(ctx context.Context, rules []rule, board dashboard) error {
	e, err := o.busy.await(ctx)
	if err != nil {
		return err
	}
	used, wrong := o.checkNames(e, rules, board)
	for name := range e.types {
		if !strings.HasPrefix(name, "welcomed_") {
			continue
		}
		if why, listed := unused[name]; used[name] == listed {
			wrong = append(wrong, fmt.Errorf("%s is used by a panel: %v, listed as unused: %v %s", name, used[name], listed, why))
		}
	}
	for _, name := range e.notYet() {
		wrong = append(wrong, fmt.Errorf("%s: nothing of the kind has happened in this run", name))
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(unused)), slices.Collect(maps.Keys(never))) {
		if e.types[name] == "" {
			wrong = append(wrong, fmt.Errorf("%s is listed and not there", name))
		}
	}
	wrong = append(wrong, o.lint(ctx, e.text))
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	o.say("%d metrics are used, and those that are used are there", len(e.types))
	return nil
}

// checkNames returns which metrics panels use, by themselves or through what is
// recorded.
func (o *observation) checkNames(e exposed, rules []rule, board dashboard) (used map[string]bool, wrong []error) {
	recorded := map[string]string{}
	for _, r := range rules {
		if !r.alerting() {
			recorded[r.Name] = r.Query
		}
	}
	used = map[string]bool{}
	look := func(where, query string, use bool) {
		for _, name := range namesIn(query) {
			family, ok := e.family(name)
			if !ok && recorded[name] == "" {
				wrong = append(wrong, fmt.Errorf("%s asks for %s, which is not there", where, name))
			}
			used[family] = used[family] || use
		}
	}
	for _, r := range rules {
		look("rule "+r.Name, r.Query, false)
	}
	for where, query := range board.queries() {
		look(where, query, true)
		for _, name := range namesIn(query) {
			look("rule "+name, recorded[name], true)
		}
	}
	for _, v := range board.Templating.List {
		look("variable "+v.Name, v.Definition, false)
	}
	for _, a := range board.Annotations.List {
		look("an annotation", a.Expr, false)
	}
	return used, wrong
}

// lint has promtool check the names, the help and the form of metrics.
func (o *observation) lint(ctx context.Context, text harness.Metrics) error {
	cmd := exec.CommandContext(ctx, o.promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(string(text))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		return fmt.Errorf("promtool check metrics: %w\n%s", err, out)
	}
	return nil
}
