package status

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
	"welcomed/operator/codes"
)

//go:embed page.html explain.html parts.html style.css page.js icon.svg
var files embed.FS

// Assets has the files that the page loads, by path, with their media types.
var Assets = map[string]string{
	"/style.css": "text/css; charset=utf-8",
	"/page.js":   "text/javascript; charset=utf-8",
	"/icon.svg":  "image/svg+xml",
}

// Asset returns the bytes of one of the Assets.
func Asset(path string) []byte {
	b, err := fs.ReadFile(files, path[1:])
	if err != nil {
		panic(fmt.Sprintf("there is no %s in this program", path))
	}
	return b
}

// ContentSecurityPolicy allows what such a page needs: nothing from elsewhere, nothing inline,
// and no frame around it.
const ContentSecurityPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"number":   numberOf,
	"quiet":    quiet,
	"plural":   plural[int],
	"bytes":    func(n int64) string { return unbroken(Bytes(n)) },
	"seconds":  func(s float64) string { return unbroken(Seconds(s)) },
	"ago":      func(seconds float64) string { return unbroken(Ago(duration(seconds))) },
	"clock":    func(t time.Time) string { return t.Format(time.TimeOnly) },
	"date":     func(t time.Time) string { return t.Format("2006-01-02 15:04") },
	"second":   func(t time.Time) string { return t.UTC().Format(time.DateTime) },
	"sentence": begin,
	"readers":  byReader,
	"iso":      func(t time.Time) string { return t.Format(time.RFC3339) },
}).ParseFS(files, "*.html"))

func numberOf(n any) string {
	switch n := n.(type) {
	case uint64:
		return Number(n)
	case int:
		return Number(n)
	}
	return fmt.Sprint(n)
}

// unbroken keeps a number and its unit on one line.
func unbroken(s string) string { return strings.ReplaceAll(s, " ", "\u00a0") }

// quiet returns the class of a cell that has nothing to see.
func quiet(n any) template.HTMLAttr {
	if numberOf(n) == "0" {
		return ` class="zero"`
	}
	return ""
}

// A Link leads to another page of the same listener.
type Link struct{ Path, Does string }

// Page returns the page for people. It works without its script, which keeps it up to date.
func Page(s Status, links []Link) ([]byte, error) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, "page.html", view{Status: s, Plots: plots(&s), Links: links}); err != nil {
		return nil, fmt.Errorf("write the status page: %w", err)
	}
	return b.Bytes(), nil
}

// A view is what the template gets.
type view struct {
	Status
	Plots []Plot
	Links []Link
}

// First returns the first sentence of the summary.
func (v view) First() string {
	first, _, _ := strings.Cut(v.Summary, ". ")
	return strings.TrimSuffix(first, ".") + "."
}

// Rest returns the other sentences of the summary.
func (v view) Rest() string {
	_, rest, _ := strings.Cut(v.Summary, ". ")
	return rest
}

// Needs returns the problems that somebody has to act on.
func (v view) Needs() []Problem { return v.problems(func(l Level) bool { return l != Notice }) }

// Notices returns the other problems.
func (v view) Notices() []Problem { return v.problems(func(l Level) bool { return l == Notice }) }

func (v view) problems(which func(Level) bool) []Problem {
	return slices.DeleteFunc(slices.Clone(v.Problems), func(p Problem) bool { return !which(p.Level) })
}

// DataSince returns since when the plots have data. It is empty if they go back as far as they
// can.
func (v view) DataSince() string {
	if !v.StartedAt.After(v.History.Start) {
		return ""
	}
	return v.StartedAt.Format(v.History.clock())
}

// Since returns how long ago t was.
func (v view) Since(t time.Time) string { return unbroken(Ago(v.Time.Sub(t))) }

// Until returns how long it is until t.
func (v view) Until(t time.Time) string { return unbroken(Ago(t.Sub(v.Time))) }

// LowWatermark returns how many KeyPackages are few.
func (v view) LowWatermark() int { return v.lowWatermark }

// A Row is a row of a table: what was counted in the last hour, and since the start.
type Row struct {
	Name            string
	LastHour, Since uint64
}

// LastHourIs says which period the last hour is.
func (v view) LastHourIs() string {
	if span := v.LastHour.Span(); span != "in the last hour" {
		return upper(span[len("in the "):])
	}
	return "Last hour"
}

// MismatchRows returns the reasons that have occurred.
func (v view) MismatchRows() (rows []Row) {
	for _, c := range v.SinceStart.mismatches {
		if c.N > 0 {
			rows = append(rows, Row{upper(codes.OfMismatch(c.Label).Means), v.LastHour.Mismatches[c.Label], c.N})
		}
	}
	return rows
}

// Activity returns what happened.
func (v view) Activity() []Row {
	last, all := v.LastHour, v.SinceStart
	of := func(name string, get func(Counts) uint64) Row { return Row{name, get(last), get(all)} }
	reserved := func(s delivery.DeviceReserveStatus) func(Counts) uint64 {
		return func(c Counts) uint64 { return c.Reserved[string(s)] }
	}
	claims := func(outcome string) func(Counts) uint64 {
		return func(c Counts) uint64 { return c.Claims[outcome] }
	}
	return []Row{
		of("Published", func(c Counts) uint64 { return c.Published }),
		of("Reserved", reserved(delivery.DeviceReserved)),
		of("Last resort reserved", reserved(delivery.DeviceLastResort)),
		of("None there to reserve", Counts.Unserved),
		of("Matched", func(c Counts) uint64 { return c.Matched }),
		of("Turned away", Counts.MismatchCount),
		of("Claimed", claims("delivered")),
		of("Claimed again", claims("redelivered")),
		of("Commits", func(c Counts) uint64 { return c.Commits }),
	}
}

// Share returns how much of a whole something is, in percent.
func (v view) Share(part, whole int) int {
	if whole == 0 {
		return 0
	}
	return (100*part + whole/2) / whole
}
