package explain

import (
	"strings"
)

// lineWidth is where a line of Text is broken.
const lineWidth = 100

// Text is the explanation for a terminal: the answer first, then the evidence, then
// what to do. Every line prints.
func (e Explanation) Text() string {
	var b strings.Builder
	paragraph(&b, "", "", e.Headline)
	for _, also := range e.Also {
		paragraph(&b, "Also: ", "      ", also)
	}
	for _, p := range e.Parts {
		b.WriteString("\n")
		p.text(&b, len(e.Parts) > 1)
	}
	b.WriteString("\nWhat to do\n")
	for _, a := range e.Advice {
		label := string(a.For) + ":"
		paragraph(&b, "  "+label+strings.Repeat(" ", 11-len(label)), strings.Repeat(" ", 13), a.Do)
	}
	if len(e.Notes) > 0 {
		b.WriteString("\n")
	}
	for _, n := range e.Notes {
		paragraph(&b, "", "", n)
	}
	return b.String()
}

// text writes a part; its verdict only where there are others.
func (p Part) text(b *strings.Builder, verdict bool) {
	paragraph(b, "", "", p.Title)
	if verdict && p.Verdict != "" {
		paragraph(b, "  → ", "    ", p.Verdict)
	}
	for _, now := range p.Now {
		paragraph(b, "  - ", "    ", now)
	}
	if p.LeftOut > 0 {
		paragraph(b, "  ", "  ", plural(p.LeftOut, "older entry")+" left out")
	}
	for _, e := range p.Events {
		const indent = "  2026-01-02T15:04:05Z  "
		paragraph(b, "  "+stamp(e.At)+"  ", strings.Repeat(" ", len(indent)), e.Text)
	}
}

// paragraph writes text with first in front of it, and rest in front of its other
// lines.
func paragraph(b *strings.Builder, first, rest, text string) {
	line, begin := first, true
	for _, word := range strings.Fields(clean(text)) {
		if !begin && len(line)+1+len(word) > lineWidth {
			b.WriteString(line + "\n")
			line, begin = rest, true
		}
		if !begin {
			line += " "
		}
		line, begin = line+word, false
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}
