package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// A dashboard is one of Grafana, as far as it is looked at here. What Grafana
// itself would say cannot be tried: it is not in Debian.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Panels        []panel
	Templating    struct{ List []variable }
	Annotations   struct{ List []target }
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               datasource
	GridPos                  struct{ H, W, X, Y int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []target
}

type target struct {
	RefID      string
	Datasource datasource
	Expr       string
}

type datasource struct{ Type, UID string }

type variable struct {
	Name, Type, Definition string
	Datasource             datasource
}

func readDashboard(file string) (d dashboard, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return d, fmt.Errorf("%s: %w", file, err)
	}
	return d, nil
}

// oldestSchema is of Grafana 9, whose dashboards every later one brings to its
// own form.
const oldestSchema = 37

// check looks for what Grafana complains about, and for what is missing to read
// a panel at night.
func (d dashboard) check() error {
	var wrong []error
	if d.UID == "" || d.Title == "" || d.SchemaVersion < oldestSchema {
		wrong = append(wrong, fmt.Errorf("the dashboard has uid %q, title %q, schema %d", d.UID, d.Title, d.SchemaVersion))
	}
	for _, name := range []string{"datasource", "job", "instance"} {
		if !slices.ContainsFunc(d.Templating.List, func(v variable) bool { return v.Name == name }) {
			wrong = append(wrong, fmt.Errorf("the dashboard has no variable %s", name))
		}
	}
	ids, titles := map[int]bool{}, map[string]bool{}
	for i, p := range d.Panels {
		if ids[p.ID] || titles[p.Title] {
			wrong = append(wrong, fmt.Errorf("panel %q: another has its id or title", p.Title))
		}
		ids[p.ID], titles[p.Title] = true, true
		if err := errors.Join(p.check(), p.overlaps(d.Panels[:i])); err != nil {
			wrong = append(wrong, fmt.Errorf("panel %q: %w", p.Title, err))
		}
	}
	return errors.Join(wrong...)
}

// fromVariable is the data source that the dashboard's user has chosen.
var fromVariable = datasource{"prometheus", "${datasource}"}

func (p panel) check() error {
	if p.Type == "row" {
		return nil
	}
	var wrong []error
	for what, missing := range map[string]bool{
		"a title": p.Title == "", "a description": p.Description == "", "a unit": p.FieldConfig.Defaults.Unit == "",
		"a query": len(p.Targets) == 0, "the variable's data source": p.Datasource != fromVariable,
		"a type that Grafana has by itself": p.Type != "timeseries" && p.Type != "stat",
	} {
		if missing {
			wrong = append(wrong, fmt.Errorf("it has not %s", what))
		}
	}
	refs := map[string]bool{}
	for _, t := range p.Targets {
		if refs[t.RefID] || t.RefID == "" || t.Datasource != fromVariable {
			wrong = append(wrong, fmt.Errorf("query %q: its refId is not its own, or its data source not the variable's", t.RefID))
		}
		refs[t.RefID] = true
		if selectors := strings.Count(t.Expr, "{"); selectors == 0 || strings.Count(t.Expr, `job=~"$job",instance=~"$instance"`) != selectors {
			wrong = append(wrong, fmt.Errorf("query %s does not keep to the chosen job and instance everywhere", t.RefID))
		}
	}
	return errors.Join(wrong...)
}

const gridWidth = 24

func (p panel) overlaps(others []panel) error {
	g := p.GridPos
	if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > gridWidth {
		return errors.New("it does not lie on the grid")
	}
	for _, o := range others {
		if h := o.GridPos; g.X < h.X+h.W && h.X < g.X+g.W && g.Y < h.Y+h.H && h.Y < g.Y+g.H {
			return fmt.Errorf("it lies on %q", o.Title)
		}
	}
	return nil
}

// queries are those of every panel and annotation, the variables filled in, by
// where they are.
func (d dashboard) queries() map[string]string {
	all := map[string]string{}
	for _, p := range d.Panels {
		for _, t := range p.Targets {
			all[fmt.Sprintf("panel %q, query %s", p.Title, t.RefID)] = filled(t.Expr)
		}
	}
	return all
}

// filled fills in what Grafana does.
func filled(expr string) string {
	return strings.NewReplacer("$__rate_interval", "1m", "$job", ".+", "$instance", ".+").Replace(expr)
}
