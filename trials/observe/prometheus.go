package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"welcomed/trials/harness"
)

// A prometheus watches the servers with the configuration of deploy/prometheus,
// but for whom and how often.
type prometheus struct {
	*harness.Process
	address string
}

const often = "1s"

func (o *observation) startPrometheus(ctx context.Context, targets ...string) (*prometheus, error) {
	dir := filepath.Join(o.dir, "prometheus")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(o.deploy, "prometheus"))); err != nil {
		return nil, err
	}
	quoted, err := json.Marshal(targets) // JSON is YAML
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "targets.yml"), []byte("- targets: "+string(quoted)+"\n"), 0o600); err != nil {
		return nil, err
	}
	if err := hurry(filepath.Join(dir, "prometheus.yml")); err != nil {
		return nil, err
	}
	free, err := harness.FreeAddress()
	if err != nil {
		return nil, err
	}
	p := &prometheus{address: free.String()}
	cmd := exec.Command(o.config.prometheus, "--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--web.listen-address", p.address, "--log.level", "error")
	cmd.Stderr = os.Stderr
	if p.Process, err = harness.Start(cmd, nil); err != nil {
		return nil, err
	}
	o.ends = append(o.ends, func() { _ = p.Stop(syscall.SIGKILL) })
	return p, p.awaitReady(ctx)
}

// hurry has a configuration scrape and evaluate often.
func hurry(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text := string(b)
	for _, setting := range []string{"scrape_interval: 15s", "evaluation_interval: 15s"} {
		if strings.Count(text, setting) != 1 {
			return fmt.Errorf("%s does not say %q once", file, setting)
		}
		text = strings.Replace(text, setting, strings.Replace(setting, "15s", often, 1), 1)
	}
	return os.WriteFile(file, []byte(text), 0o600)
}

func (p *prometheus) awaitReady(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if resp, err := http.Get("http://" + p.address + "/-/ready"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.Ended():
			return errors.New("the Prometheus ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return errors.New("the Prometheus is not ready")
}

// scraped waits until a server has been scraped twice: an increase is seen between
// two scrapes, and the first is some seconds after Prometheus is ready.
func (p *prometheus) scraped(ctx context.Context, instance string) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(200 * time.Millisecond) {
		counted, err := p.query(ctx, fmt.Sprintf("count_over_time(welcomed_build_info{instance=%q}[1m])", instance))
		switch {
		case errors.Is(err, errNothing):
		case err != nil:
			return err
		case counted[0] >= 2:
			return nil
		}
	}
	return errors.Join(fmt.Errorf("the Prometheus has not scraped %s", instance), ctx.Err())
}

// get reads the data of an answer of the HTTP API.
func (p *prometheus) get(ctx context.Context, path string, data any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/api/v1/"+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("read an answer of Prometheus: %w", err)
	}
	if answer.Status != "success" {
		return errors.New(answer.Error)
	}
	return nil
}

// A rule is one of alerts.yml as Prometheus has read it.
type rule struct {
	Type, Name, Query, State, LastError string
	Annotations                         map[string]string
	Alerts                              []struct {
		State  string
		Labels map[string]string
	}
}

func (r rule) alerting() bool { return r.Type == "alerting" }

func (p *prometheus) rules(ctx context.Context) (rules []rule, err error) {
	var data struct{ Groups []struct{ Rules []rule } }
	err = p.get(ctx, "rules", &data)
	for _, g := range data.Groups {
		rules = append(rules, g.Rules...)
	}
	if err == nil && len(rules) == 0 {
		err = errors.New("the Prometheus has no rules")
	}
	return rules, err
}

// errNothing: a query has no data.
var errNothing = errors.New("returns nothing")

// query returns the values that a query has now. That it has none but NaN is an
// error.
func (p *prometheus) query(ctx context.Context, expr string) (values []float64, err error) {
	var data struct{ Result []struct{ Value [2]any } }
	if err := p.get(ctx, "query?query="+url.QueryEscape(expr), &data); err != nil {
		return nil, err
	}
	for _, sample := range data.Result {
		text, _ := sample.Value[1].(string)
		if v, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(v) {
			values = append(values, v)
		}
	}
	switch {
	case len(data.Result) == 0:
		return nil, errNothing
	case len(values) == 0:
		return nil, fmt.Errorf("%w but NaN", errNothing)
	}
	return values, nil
}

// state returns the state of an alert for one instance.
func (p *prometheus) state(ctx context.Context, alert, instance string) (string, error) {
	rules, err := p.rules(ctx)
	for _, r := range rules {
		if r.Name != alert {
			continue
		}
		for _, a := range r.Alerts {
			if a.Labels["instance"] == instance {
				return a.State, nil
			}
		}
	}
	return "inactive", err
}

// await waits until an alert has a state.
func (p *prometheus) await(ctx context.Context, alert, instance, state string, patience time.Duration) error {
	last := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		var err error
		if last, err = p.state(ctx, alert, instance); err != nil || last == state {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s is %s and not %s after %v", alert, last, state, patience)
}
