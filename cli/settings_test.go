package cli

import (
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
