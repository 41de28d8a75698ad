package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// results are what a run has measured: a column for each size.
type results struct {
	Go      string    `json:"go"`
	CPUs    int       `json:"cpus"`
	Rounds  int       `json:"rounds"`
	Columns []*column `json:"sizes"`
}

// A column is what was measured at one size.
type column struct {
	KeyPackages int    `json:"key_packages"`
	Rows        []*row `json:"rows"`
}

// A row is one measurement, once per round.
type row struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
	Median float64   `json:"median"`
}

func newResults(c config) *results {
	r := &results{Go: runtime.Version(), CPUs: runtime.NumCPU(), Rounds: c.rounds}
	for _, size := range c.sizes {
		r.Columns = append(r.Columns, &column{KeyPackages: size})
	}
	return r
}

func (r *results) of(size int) *column {
	return r.Columns[slices.IndexFunc(r.Columns, func(c *column) bool { return c.KeyPackages == size })]
}

func (c *column) row(name, unit string) *row {
	for _, r := range c.Rows {
		if r.Name == name && r.Unit == unit {
			return r
		}
	}
	return nil
}

// add adds what was measured in one round.
func (c *column) add(name, unit string, value float64) {
	r := c.row(name, unit)
	if r == nil {
		r = &row{Name: name, Unit: unit}
		c.Rows = append(c.Rows, r)
	}
	r.Values = append(r.Values, value)
	sorted := slices.Sorted(slices.Values(r.Values))
	n := len(sorted)
	r.Median = (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func (c *column) addSample(p *sample) {
	name := fmt.Sprintf("%s, %d at a time", p.event, p.callers)
	slices.Sort(p.each)
	n := len(p.each)
	c.add(name, "/s", float64(n)/p.all.Seconds())
	c.add(name+", p50", "ms", ms(p.each[n/2]))
	c.add(name+", p99", "ms", ms(p.each[n*99/100]))
	c.add(name+", written", "B", float64(p.written)/float64(n))
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

func (r *results) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeTable prints the medians, and the ratio of each size to the first.
func (r *results) writeTable(w io.Writer) error {
	fmt.Fprintf(w, "%s, %d CPUs, medians of %d rounds in which the sizes took turns; in brackets the ratio to the first size\n\n", r.Go, r.CPUs, r.Rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "KeyPackages\t")
	for _, c := range r.Columns {
		fmt.Fprintf(t, "%d\t\t", c.KeyPackages)
	}
	fmt.Fprintln(t)
	for _, first := range r.rows() {
		fmt.Fprintf(t, "%s [%s]\t", first.Name, first.Unit)
		for i, c := range r.Columns {
			fmt.Fprint(t, c.row(first.Name, first.Unit).text(first, i == 0))
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// rows are those of the first column, then those that only others have.
func (r *results) rows() []*row {
	var all []*row
	for _, c := range r.Columns {
		for _, other := range c.Rows {
			if !slices.ContainsFunc(all, func(r *row) bool { return r.Name == other.Name && r.Unit == other.Unit }) {
				all = append(all, other)
			}
		}
	}
	return all
}

func (r *row) text(first *row, isFirst bool) string {
	switch {
	case r == nil:
		return "\t\t"
	case isFirst || first.Median == 0:
		return short(r.Median) + "\t\t"
	}
	return fmt.Sprintf("%s\t(%.2f)\t", short(r.Median), r.Median/first.Median)
}

// short is a number with at least three digits that count.
func short(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
