package cli

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestSettingsAreReadAsSystemdReadsThem(t *testing.T) {
	for _, row := range []struct {
		what, text, value string // of WELCOMED_X
		fails             string
	}{
		{"a value", "WELCOMED_X=a b", "a b", ""},
		{"spaces around it are not part of it", " WELCOMED_X = a \t\r\n", "a", ""},
		{"what looks like a comment behind it is", "WELCOMED_X=a # b", "a # b", ""},
		{"a value in quotes", `WELCOMED_X=" a "`, " a ", ""},
		{"a backslash in single quotes stands for itself", `WELCOMED_X='a\"b'`, `a\"b`, ""},
		{"a single quote in double ones does", `WELCOMED_X="it's"`, `it's`, ""},
		{"nothing", "WELCOMED_X=", "", ""},
		{"the last one counts", "WELCOMED_X=a\nWELCOMED_X=b", "b", ""},
		{"comments", "# WELCOMED_X=a\n;WELCOMED_X=a\n", "", ""},
		{"an equals sign in the value", "WELCOMED_X=a=b", "a=b", ""},
		{"a line that goes on", "WELCOMED_X=a\\\nb", "", "line 1: the value of WELCOMED_X has a quote or a backslash"},
		{"a backslash in double quotes", `WELCOMED_X="a\"b"`, "", "line 1"},
		{"a quote inside", `WELCOMED_X=a"b`, "", "line 1"},
		{"two quoted parts", `WELCOMED_X="a" "b"`, "", "line 1"},
		{"a quote that does not end", `WELCOMED_X="`, "", "line 1"},
		{"no value", "\nWELCOMED_X", "", "line 2: it is not NAME=value"},
		{"a name that is none", "export WELCOMED_X=a", "", "line 1: it is not NAME=value"},
	} {
		t.Run(row.what, func(t *testing.T) {
			values, err := parseSettings(row.text)
			if (row.fails == "") != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), row.fails) {
				t.Fatalf("the error is %v, want %q", err, row.fails)
			}
			if got := values["WELCOMED_X"]; got != row.value {
				t.Errorf("the value is %q, want %q", got, row.value)
			}
		})
	}
}

// Both tables of docs/settings.md are of this program: each flag of serve has the
// day on which to turn it, in the order of the help's groups, and each removed flag
// what is done instead.
func TestTheTablesOfSettingsAreOfThisProgram(t *testing.T) {
	text, err := os.ReadFile("../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| `--") {
			rows = append(rows, strings.TrimSpace(line))
		}
	}
	c := defaultConfig(environment{lookup: func(string) (string, bool) { return "", false }})
	left := slices.Clone(rows)
	for _, flag := range c.flags() {
		value := " "
		if text := shown(flag); text != "" && text != "false" {
			value = " `" + text + "` "
		}
		begins := "| `--" + flag.Names()[0] + "` |" + value + "| "
		i := slices.IndexFunc(left, func(row string) bool { return strings.HasPrefix(row, begins) && len(row) > len(begins)+2 })
		switch {
		case i >= 0:
			left = slices.Delete(left, i, i+1)
		case visible(flag):
			t.Errorf("no row begins with %s and says when to turn it", begins)
		}
	}
	for _, flag := range removedFlags {
		row := "| `--" + flag.name + "` | " + flag.instead + " |"
		if i := slices.Index(left, row); i < 0 {
			t.Errorf("there is no row %s", row)
		} else {
			left = slices.Delete(left, i, i+1)
		}
	}
	for _, row := range left {
		t.Errorf("a row of no flag: %s", row)
	}
}
