package openapi

import (
	"bytes"
	_ "embed"
	"html"
	"html/template"
	"regexp"
	"strings"
	"sync"

	"welcomed/operator/codes"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{"markdown": markdown}).Parse(pageText))

// PagePolicy is what a page may load: nothing. Its style is in it.
const PagePolicy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// An Error is a code and what it means.
type Error struct {
	Code   string
	Status int // 0: no answer has it, but KeyPackages that are refused do
	codes.Refusal
}

// DocsPage returns the description as a page. It must not be changed.
var DocsPage = sync.OnceValues(func() ([]byte, error) {
	return render("The API of welcomed", nil, nil, Read())
})

// FrontPage returns a page that says where the others are. It must not be changed.
var FrontPage = sync.OnceValues(func() ([]byte, error) { return render("welcomed", nil, nil, nil) })

// ErrorPage returns a page about one code.
func ErrorPage(e Error) ([]byte, error) { return render(e.Code, &e, nil, nil) }

// ErrorsPage returns a page about all codes.
func ErrorsPage(all []Error) ([]byte, error) { return render("Codes of refusals", nil, all, nil) }

func render(title string, one *Error, all []Error, d *Document) ([]byte, error) {
	var b bytes.Buffer
	err := page.Execute(&b, struct {
		Title    string
		Error    *Error
		Errors   []Error
		Document *Document
	}{title, one, all, d})
	return b.Bytes(), err
}

var (
	inlineCode = regexp.MustCompile("`([^`]+)`")
	inlineBold = regexp.MustCompile(`\*\*([^*]+)\*\*`)
)

// markdown makes HTML of as much Markdown as the description has: paragraphs, tables,
// code and bold words.
func markdown(text string) template.HTML {
	inline := func(text string) string {
		return inlineBold.ReplaceAllString(inlineCode.ReplaceAllString(html.EscapeString(text), "<code>$1</code>"), "<b>$1</b>")
	}
	var b strings.Builder
	for _, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if !strings.HasPrefix(paragraph, "|") {
			b.WriteString("<p>" + inline(paragraph) + "</p>\n")
			continue
		}
		b.WriteString("<table>")
		for i, line := range strings.Split(paragraph, "\n") {
			if i < 2 {
				continue // what the columns are, which the words show
			}
			b.WriteString("<tr>")
			for _, cell := range strings.Split(strings.Trim(line, "| "), "|") {
				b.WriteString("<td>" + inline(strings.TrimSpace(cell)) + "</td>")
			}
			b.WriteString("</tr>")
		}
		b.WriteString("</table>\n")
	}
	return template.HTML(b.String()) // every character of text was escaped
}
