package status

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"welcomed/operator/explain"
)

// An Answer is what the page of /explain shows: an explanation, or why there is none.
type Answer struct {
	Version     string
	Time        time.Time
	Explanation *explain.Explanation
	Failed      string
	Asked       string // in the field of the form
}

// Title returns the title of the page.
func (a Answer) Title() string {
	if a.Explanation == nil {
		return "Why can somebody not join?"
	}
	return fmt.Sprintf("%s: %s", a.Explanation.Subject, a.Explanation.Cause)
}

// ExplainPage returns the page of an answer. It has no script.
func ExplainPage(a Answer) ([]byte, error) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, "explain.html", a); err != nil {
		return nil, fmt.Errorf("write the page of an explanation: %w", err)
	}
	return b.Bytes(), nil
}

// begin gives a text a capital at its beginning, unless it begins with the id of a device.
func begin(text string) string {
	if first, _, _ := strings.Cut(text, " "); strings.Contains(first, "/") {
		return text
	}
	return upper(text)
}

// A readerAdvice has all advice for one reader.
type readerAdvice struct {
	For string
	Do  []string
}

// byReader groups advice, which is sorted by reader.
func byReader(advice []explain.Advice) (all []readerAdvice) {
	for _, a := range advice {
		name := upper(string(a.For))
		if len(all) == 0 || all[len(all)-1].For != name {
			all = append(all, readerAdvice{For: name})
		}
		last := &all[len(all)-1]
		last.Do = append(last.Do, a.Do)
	}
	return all
}
