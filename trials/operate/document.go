package main

import "strings"

// A part is some text of the document, or a command in it with what it prints.
type part struct {
	text    string // with its newline; of a command as it is written
	command string // empty: this is text
	printed []string
	line    int // where it begins, from 1
}

type document []*part

const fence = "```"

func parse(text string) (doc document) {
	inside := false
	var last *part // command that is being read
	for i, line := range strings.SplitAfter(text, "\n") {
		bare := strings.TrimSuffix(line, "\n")
		command, isCommand := strings.CutPrefix(bare, "$ ")
		more, isMore := strings.CutPrefix(bare, "> ")
		if bare == ">" {
			isMore = true
		}
		switch {
		case strings.HasPrefix(bare, fence):
			inside, last = bare == fence+"console", nil
			doc = append(doc, &part{text: line})
		case inside && isCommand:
			last = &part{text: line, command: command, line: i + 1}
			doc = append(doc, last)
		case inside && last != nil && isMore && len(last.printed) == 0:
			last.text += line
			last.command += "\n" + more
		case inside && last != nil:
			last.printed = append(last.printed, bare)
		default:
			doc = append(doc, &part{text: line})
		}
	}
	return doc
}

// String is what parse was given, with what the commands print now.
func (d document) String() string {
	var b strings.Builder
	for _, p := range d {
		b.WriteString(p.text)
		for _, line := range p.printed {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

func lines(text string) []string {
	if text = strings.TrimRight(text, "\n"); text == "" {
		return nil
	}
	all := strings.Split(text, "\n")
	for i, line := range all {
		all[i] = strings.TrimRight(line, " \r")
	}
	return all
}

func firstLine(text string) string {
	line, _, more := strings.Cut(text, "\n")
	if more {
		line += " …"
	}
	return line
}

func indent(all []string) string { return "\t" + strings.Join(all, "\n\t") }
