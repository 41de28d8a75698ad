package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

// manCommand writes its page itself. Package cli-docs leaves out the variables of flags, and
// uses Markdown on the way.
func manCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:        "man",
		Usage:       "print the manual page",
		Description: "To read it: welcomed man | man -l -",
		Action: func(context.Context, *cli.Command) error {
			nothing := func(string) (string, bool) { return "", false } // defaults are those of any machine
			return writeManual(env.stdout, root(environment{lookup: nothing}), manualDate(env))
		},
	}
}

// writeManual writes a page in roff, with the macros of man(7).
func writeManual(w io.Writer, program *cli.Command, date string) error {
	b := bufio.NewWriter(w)
	m := manual{b, map[string]string{}}
	fmt.Fprintf(b, ".TH WELCOMED 1 \"%s\" \"welcomed %s\"\n.nh\n.ad l\n", date, roff(currentVersion()))
	m.section("NAME")
	m.text("welcomed - " + program.Usage)
	m.section("SYNOPSIS")
	fmt.Fprintln(b, ".B welcomed\n.I command\n[\\fIflags\\fR] [\\fIarguments\\fR]\n.br\n.B welcomed --version")
	m.section("DESCRIPTION")
	m.text(manualIntroduction)
	m.section("COMMANDS")
	for _, command := range program.Commands {
		m.command("welcomed ", command)
	}
	for _, s := range manualSections {
		m.section(s.name)
		for _, item := range s.items {
			m.item("\\fB"+roff(item.name)+"\\fR", item.text)
		}
	}
	return b.Flush()
}

// manualDate returns the day of SOURCE_DATE_EPOCH, or that of the commit from which this was
// built; empty if neither is known.
func manualDate(env environment) string {
	epoch, _ := env.lookup("SOURCE_DATE_EPOCH")
	if seconds, err := strconv.ParseInt(epoch, 10, 64); err == nil {
		return time.Unix(seconds, 0).UTC().Format(time.DateOnly)
	}
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			date, _, _ := strings.Cut(s.Value, "T")
			return date
		}
	}
	return ""
}

const manualIntroduction = `The server that an MLS messenger needs so that people can be added to groups while they are offline. It keeps the
KeyPackages of their devices and the Welcomes that wait for them, in one file.

Every flag --x-y is also the variable WELCOMED_X_Y in the environment. The command line wins, and an empty variable
counts as none. A secret can also be in the file that WELCOMED_X_Y_FILE names.

Durations are like 90d, 12h or 30s, sizes like 65536, 64KiB or 4MiB.`

type manualItem struct{ name, text string }

var manualSections = []struct {
	name  string
	items []manualItem
}{
	{"EXIT STATUS", []manualItem{
		{"0", "Done."},
		{"1", "It failed, and one sentence on stderr says why."},
		{"2", "There is no such command or flag, or a flag cannot have that value."},
	}},
	{"ENVIRONMENT", []manualItem{
		{"WELCOMED_*", "The flags, see above."},
		{"STATE_DIRECTORY", "As systemd sets it: where the database is if --db does not say."},
		{"GOMAXPROCS, GOGC, GOMEMLIMIT", "As for every program in Go. What is set is left as it is."},
	}},
	{"FILES", []manualItem{
		{"welcomed.db", "The database: see --db."},
		{"welcomed.sock", "Where commands ask the server that runs: see --admin-socket. Only its user can open it."},
	}},
	{"SIGNALS", []manualItem{
		{"SIGTERM, SIGINT", "The server takes no new requests, ends those under way and closes the database. A second one ends it at once."},
	}},
}

// A manual is a page while it is written.
type manual struct {
	*bufio.Writer
	described map[string]string // flag and usage → the command that has it
}

func (m manual) section(name string) { fmt.Fprintf(m, ".SH %s\n", name) }

// text writes paragraphs. Lines with columns stay lines.
func (m manual) text(text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			fmt.Fprintln(m, ".PP")
		}
		if columns := strings.Contains(paragraph, "  "); columns {
			fmt.Fprintf(m, ".nf\n%s\n.fi\n", roff(paragraph))
		} else {
			fmt.Fprintln(m, roff(wrapped(paragraph)))
		}
	}
}

// item writes a term, which is roff, and what it is.
func (m manual) item(term string, texts ...string) {
	fmt.Fprintf(m, ".TP\n%s\n", term)
	for i, text := range texts {
		if i > 0 {
			fmt.Fprintln(m, ".br")
		}
		fmt.Fprintln(m, roff(wrapped(text)))
	}
}

func (m manual) command(before string, command *cli.Command) {
	if command.Hidden {
		return
	}
	name := before + command.Name
	defer func() {
		for _, below := range command.Commands {
			m.command(name+" ", below)
		}
	}()
	if len(command.Commands) > 0 && len(command.Flags) == 0 {
		return // it does nothing by itself
	}
	title := name
	if command.ArgsUsage != "" {
		title += " " + command.ArgsUsage
	}
	fmt.Fprintf(m, ".SS %s\n", roff(title))
	m.text(capitalized(command.Usage) + ".")
	if command.Description != "" {
		fmt.Fprintln(m, ".PP")
		m.text(command.Description)
	}
	m.flags(name, command.Flags)
}

// manyFlags is how many flags two commands must have in common so that the second does not
// describe them again.
const manyFlags = 20

func (m manual) flags(command string, flags []cli.Flag) {
	inCommon := map[string]int{}
	flags = slices.DeleteFunc(slices.Clone(flags), func(f cli.Flag) bool { return !visible(f) })
	for _, flag := range flags {
		inCommon[m.described[flag.Names()[0]+aboutFlag(flag)]]++
	}
	for _, flag := range flags {
		key := flag.Names()[0] + aboutFlag(flag)
		if other := m.described[key]; other != "" && inCommon[other] >= manyFlags {
			continue
		}
		m.item(flagTerm(flag), flagTexts(flag)...)
		m.described[key] = command
	}
	for other, n := range inCommon {
		if other != "" && n >= manyFlags {
			fmt.Fprintln(m, ".PP")
			m.text("And the flags of " + other + ".")
		}
	}
}

func flagTerm(flag cli.Flag) string {
	term := "\\fB" + roff("--"+flag.Names()[0]) + "\\fR"
	if name := placeholder(flag); name != "" {
		term += " \\fI" + roff(name) + "\\fR"
	}
	return term
}

func flagTexts(flag cli.Flag) []string {
	name := flag.Names()[0]
	texts := []string{capitalized(aboutFlag(flag)) + "."}
	if value := shown(flag); value != "" && value != "false" {
		texts = append(texts, "Default: "+value+".")
	}
	variable := "Environment: " + envName(name)
	if _, ok := secretOf(flag); ok {
		variable += " or " + envName(name) + "_FILE"
	}
	return append(texts, variable+".")
}

func capitalized(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// wrapped breaks lines at the usual width of a source.
func wrapped(text string) string {
	const most = 72
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
		case column+1+len(word) > most:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// roff escapes the characters of a text that mean something in roff.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "→", `\(->`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
