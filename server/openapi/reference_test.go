package openapi

import (
	"bytes"
	_ "embed"
	"strings"
	"testing"
	"text/template"
)

//go:embed testdata/reference.md.tmpl
var referenceText string

// TestReference: docs/reference.md is made of this description.
func TestReference(t *testing.T) {
	var b bytes.Buffer
	reference := template.Must(template.New("reference").Funcs(template.FuncMap{"cell": cell}).Parse(referenceText))
	if err := reference.Execute(&b, newReference(t)); err != nil {
		t.Fatal(err)
	}
	generated(t, "../../docs/reference.md", b.Bytes())
}

func newReference(t *testing.T) *Document {
	root, err := readTree(JSON())
	if err != nil {
		t.Fatal(err)
	}
	return newDocument(root)
}

// cell writes Markdown for the cell of a table, where there is no room for a table or a
// second line.
func cell(text string) string {
	if before, table, ok := strings.Cut(text, "| "); ok && strings.Contains(table, "|---|") {
		text = before
		for i, row := range strings.Split(table, "\n") {
			if cells := strings.Split(strings.Trim(row, "| "), " | "); i >= 2 && len(cells) == 2 {
				text += " " + cells[0] + ": " + cells[1] + "."
			}
		}
	}
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

func TestEveryOperationSaysWhoMay(t *testing.T) {
	for _, part := range newReference(t).Parts {
		if part.About == "" || len(part.Operations) == 0 {
			t.Errorf("%s has no words or no operations", part.Name)
		}
		for _, o := range part.Operations {
			if o.Caller == "" || strings.Contains(o.Curl, "{}") || strings.Contains(o.Curl, "{user}") {
				t.Errorf("%s: who may: %q, curl: %s", o.ID, o.Caller, o.Curl)
			}
		}
	}
}

func TestMarkdownIsEscaped(t *testing.T) {
	got := string(markdown("a **b** `c<d`\n\n| x | y |\n|---|---|\n| `e` | f & g |"))
	want := "<p>a <b>b</b> <code>c&lt;d</code></p>\n<table><tr><td><code>e</code></td><td>f &amp; g</td></tr></table>\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestThePageLoadsNothing(t *testing.T) {
	page, err := DocsPage()
	if err != nil {
		t.Fatal(err)
	}
	for _, loads := range []string{"<script", "<link", "src=", "@import", "url("} {
		if bytes.Contains(page, []byte(loads)) {
			t.Errorf("the page has %s", loads)
		}
	}
}
