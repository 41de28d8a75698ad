package cli

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

// said is what a command says, and its exit code.
func said(variables map[string]string, args ...string) (string, int) {
	lookup := func(name string) (string, bool) { v, ok := variables[name]; return v, ok }
	var out, errs strings.Builder
	code := Run(context.Background(), append([]string{"welcomed"}, args...), lookup, strings.NewReader(""), &out, &errs)
	return errs.String(), code
}

func TestARemovedFlagSaysWhatToDoInstead(t *testing.T) {
	var present []string
	for _, flag := range serveCommand(environment{lookup: func(string) (string, bool) { return "", false }}).Flags {
		present = append(present, flag.Names()[0])
	}
	for _, removed := range removedFlags {
		if slices.Contains(present, removed.name) {
			t.Errorf("--%s is there", removed.name)
		}
		for _, other := range regexp.MustCompile(`--[a-z0-9-]+`).FindAllString(removed.instead, -1) {
			if !slices.Contains(present, strings.TrimPrefix(other, "--")) {
				t.Errorf("--%s: there is no %s", removed.name, other)
			}
		}
		for _, command := range []string{"serve", "config"} {
			for _, args := range [][]string{{command, "--" + removed.name + "=1"}, {command, "--" + removed.name, "1"}, {command, "-" + removed.name}} {
				if text, code := said(nil, args...); code != exitUsage || text != "welcomed: --"+removed.name+" is no longer a flag: "+removed.instead+"\n" {
					t.Errorf("%q: exit code %d, %q", args, code, text)
				}
			}
			variable := envName(removed.name)
			if text, code := said(map[string]string{variable: "1"}, command); code != exitUsage || text != "welcomed: "+variable+" is no longer a setting: "+removed.instead+"\n" {
				t.Errorf("%s with %s: exit code %d, %q", command, variable, code, text)
			}
			if text, code := said(map[string]string{variable: ""}, command, "--listen"); code != exitUsage || strings.Contains(text, "no longer") {
				t.Errorf("an empty %s: exit code %d, %q", variable, code, text)
			}
		}
	}
}

func TestAllVariablesOfRemovedFlagsAreNamedAtOnce(t *testing.T) {
	text, code := said(map[string]string{"WELCOMED_IDLE": "1m", "WELCOMED_MAX_WAITS": "5", "WELCOMED_SHELF_AGE": "soon"}, "serve")
	if code != exitUsage || strings.Count(text, "\n") != 3 {
		t.Errorf("exit code %d, %q", code, text)
	}
}

func TestPartsOfASetting(t *testing.T) {
	for _, row := range []struct{ text, want, fails string }{
		{"a=1", "a=1,b=7", ""},
		{"b=2, a=1", "a=1,b=2", ""},
		{"a=1,a=2", "", "a is there twice"},
		{"c=1", "", `no number is called "c"; there are a, b`},
		{"a", "", `"a" is not like a=5`},
		{"", "", `"" is not like a=5`},
		{"a=1,", "", `"" is not like a=1`},
		{"a=x", "", "a=x: not a whole number of at least 0"},
		{"a=", "", "a=: not a whole number of at least 0"},
	} {
		a, b := 5, 7
		p := parts{"number", []part{{"a", number(&a, 0)}, {"b", number(&b, 0)}}}
		err := cli.Value(p).Set(row.text)
		switch {
		case row.fails != "" && (err == nil || err.Error() != row.fails):
			t.Errorf("%q: the error is %v, want %q", row.text, err, row.fails)
		case row.fails == "" && (err != nil || p.String() != row.want):
			t.Errorf("%q is %s, %v; want %s", row.text, p, err, row.want)
		}
	}
}

func TestHiddenFlagsAreOnlyForTests(t *testing.T) {
	hidden := 0
	for _, flag := range serveCommand(environment{lookup: func(string) (string, bool) { return "", false }}).Flags {
		if visible(flag) {
			continue
		}
		hidden++
		if name := flag.Names()[0]; !strings.HasPrefix(name, "test-") {
			t.Errorf("--%s is hidden", name)
		}
	}
	if hidden > 1 {
		t.Errorf("%d flags are hidden", hidden)
	}
}
