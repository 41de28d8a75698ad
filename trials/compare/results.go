package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
)

// results are what a run has measured.
type results struct {
	Settings settings  `json:"settings"`
	Disk     []*series `json:"disk"`
	Cells    []*cell   `json:"cells"`
}

// settings are what a figure means nothing without.
type settings struct {
	Go          string            `json:"go"`
	CPUs        int               `json:"cpus"`
	Rounds      int               `json:"rounds"`
	Pairs       int               `json:"pairs"`
	CellSeconds float64           `json:"cell_seconds"`
	Dir         string            `json:"dir"`
	PostgreSQL  map[string]string `json:"postgresql,omitempty"`
}

// A series is the same measurement once per round.
type series struct {
	Name   string    `json:"name,omitempty"`
	Rates  []float64 `json:"per_second"`
	Median float64   `json:"median"`
}

func (s *series) add(rate float64) {
	s.Rates = append(s.Rates, rate)
	sorted := slices.Sorted(slices.Values(s.Rates))
	n := len(sorted)
	s.Median = (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// A cell is an engine in an operation at a level.
type cell struct {
	Operation string  `json:"operation"`
	Engine    string  `json:"engine"`
	Callers   int     `json:"callers"`
	Ratio     float64 `json:"ratio"` // to the first engine of the run that takes part
	series
	title string
}

func newResults(c config) *results {
	r := &results{Settings: settings{
		Go: runtime.Version(), CPUs: runtime.NumCPU(), Rounds: c.rounds, Pairs: c.pairs, CellSeconds: c.cell.Seconds(), Dir: c.dir,
	}}
	for _, p := range diskPatterns {
		r.Disk = append(r.Disk, &series{Name: p.name})
	}
	return r
}

func (r *results) addDisk(rates []float64) {
	for i, rate := range rates {
		r.Disk[i].add(rate)
	}
}

func (r *results) add(k kind, o operation, callers int, rate float64) {
	c := r.cell(o.String(), k.name, callers)
	if c == nil {
		c = &cell{Operation: o.String(), Engine: k.name, Callers: callers, title: k.title}
		r.Cells = append(r.Cells, c)
	}
	c.add(rate)
}

func (r *results) cell(operation, engine string, callers int) *cell {
	i := slices.IndexFunc(r.Cells, func(c *cell) bool {
		return c.Operation == operation && c.Engine == engine && c.Callers == callers
	})
	if i < 0 {
		return nil
	}
	return r.Cells[i]
}

// compute fills in the ratios.
func (r *results) compute() {
	for _, c := range r.Cells {
		first := slices.IndexFunc(r.Cells, func(d *cell) bool { return d.Operation == c.Operation && d.Callers == c.Callers })
		c.Ratio = c.Median / r.Cells[first].Median
	}
}

func (r *results) writeJSON(w io.Writer) error {
	r.compute()
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r *results) writeTable(w io.Writer) error {
	r.compute()
	var b strings.Builder
	r.writeHead(&b)
	for _, o := range operationNames {
		r.writeOperation(&b, o)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *results) writeHead(w io.Writer) {
	s := r.Settings
	fmt.Fprintf(w, "%s, %d CPUs, %s; %d Welcomes wait at the start of a round; median of %d rounds\n", s.Go, s.CPUs, s.Dir, s.Pairs, s.Rounds)
	if p := s.PostgreSQL; p != nil {
		fmt.Fprintf(w, "PostgreSQL %s, fsync=%s, synchronous_commit=%s, full_page_writes=%s, wal_sync_method=%s, shared_buffers=%s, autovacuum=%s; a checkpoint after each figure\n",
			p["server_version"], p["fsync"], p["synchronous_commit"], p["full_page_writes"], p["wal_sync_method"], p["shared_buffers"], p["autovacuum"])
	}
	fmt.Fprintf(w, "\n%-38s%10s\n", "the disk by itself", "per second")
	for _, d := range r.Disk {
		fmt.Fprintf(w, "%-38s%10.0f\n", d.Name, d.Median)
	}
}

// writeOperation prints a row per engine and a column per level, each with the
// ratio to the first engine.
func (r *results) writeOperation(w io.Writer, operation string) {
	var levels []int
	var rows []*cell
	for _, c := range r.Cells {
		if c.Operation != operation {
			continue
		}
		if !slices.Contains(levels, c.Callers) {
			levels = append(levels, c.Callers)
		}
		if !slices.ContainsFunc(rows, func(d *cell) bool { return d.Engine == c.Engine }) {
			rows = append(rows, c)
		}
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%-38s", operation+" per second, by callers")
	for _, level := range levels {
		fmt.Fprintf(w, "%10d%6s", level, "ratio")
	}
	for _, row := range rows {
		fmt.Fprintf(w, "\n%-38s", row.title)
		for _, level := range levels {
			c := r.cell(operation, row.Engine, level)
			fmt.Fprintf(w, "%10.0f%6.2f", c.Median, c.Ratio)
		}
	}
	fmt.Fprintln(w)
}

// progress says on stderr what is under way.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
