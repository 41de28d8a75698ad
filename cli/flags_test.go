package cli

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/backup"
	"welcomed/mls"
)

func TestDurations(t *testing.T) {
	for _, test := range []struct {
		text string
		want time.Duration
		back string // how it is written in the help
	}{
		{"90d", 90 * day, "90d"},
		{"1d12h", 36 * time.Hour, "36h"},
		{"24h", day, "1d"},
		{"1h", time.Hour, "1h"},
		{"1h30m", 90 * time.Minute, "1h30m"},
		{"50s", 50 * time.Second, "50s"},
		{"1m", time.Minute, "1m"},
		{"10m", 10 * time.Minute, "10m"},
		{"0", 0, "0"},
		{"36500d", longest, "36500d"},
	} {
		got, err := parseDuration(test.text)
		if err != nil || got != test.want {
			t.Errorf("%s is %v, %v; want %v", test.text, got, err, test.want)
		}
		if back := formatDuration(test.want); back != test.back {
			t.Errorf("%v is written %s, want %s", test.want, back, test.back)
		}
	}
	for _, text := range []string{"", "d", "90", "-1d", "1d-1h", "-1h", "1.5d", "1h2d", "d1", "9999999d", "99999999999999999999d", "2000000h", "1d1d"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "65536": 64 << 10, "64KiB": 64 << 10, "4MiB": 4 << 20, "8GiB": 8 << 30, "10B": 10, "4 MiB": 4 << 20, "10GiB": 10 << 30, "10GB": 10e9, "4MB": 4e6, "2KB": 2000, "2kB": 2000,
	} {
		got, err := parseSize(text)
		if err != nil || got != want {
			t.Errorf("%s is %d, %v; want %d", text, got, err, want)
		}
		if again, err := parseSize(formatSize(want)); err != nil || again != want {
			t.Errorf("%d does not come back from %s", want, formatSize(want))
		}
	}
	for _, text := range []string{"", "KiB", "4Mb", "4mb", "4K", "-1", "1.5MiB", "99999999999GiB", "0x10"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is %d, want an error", text, got)
		}
	}
}

func TestCipherSuites(t *testing.T) {
	got, err := parseSuites("3, 1,7")
	if err != nil || !slices.Equal(got, []mls.CipherSuite{3, 1, 7}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"", "0", "8", "1,1", "1,", "one", "70000"} {
		if got, err := parseSuites(text); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}

func TestEveryFlagHasANameInTheEnvironmentAndItsDefaultIsValid(t *testing.T) {
	env := environment{lookup: func(string) (string, bool) { return "", false }, stdout: os.Stdout, stderr: os.Stderr}
	for _, command := range root(env).Commands {
		for _, flag := range command.Flags {
			doc, ok := flag.(cli.DocGenerationFlag)
			want := "WELCOMED_" + strings.ToUpper(strings.ReplaceAll(flag.Names()[0], "-", "_"))
			if !ok || !slices.Equal(doc.GetEnvVars(), []string{want}) {
				t.Errorf("%s --%s is not %s in the environment", command.Name, flag.Names()[0], want)
			}
			if generic, ok := flag.(*cli.GenericFlag); ok {
				if text := generic.Value.String(); text != "" && generic.Value.Set(text) != nil || generic.Value.String() != text {
					t.Errorf("%s --%s does not take its own default %s", command.Name, flag.Names()[0], text)
				}
			}
		}
	}
}

func TestRunReadsTheEnvironmentItIsGiven(t *testing.T) {
	lookup := func(name string) (string, bool) {
		if name == "WELCOMED_LOG_LEVEL" {
			return "bogus", true
		}
		return "", false
	}
	var stdout, stderr strings.Builder
	code := Run(context.Background(), []string{"welcomed", "serve"}, lookup, strings.NewReader(""), &stdout, &stderr)
	want := `welcomed: invalid value "bogus" for WELCOMED_LOG_LEVEL: it can be debug, info, warn, error` + "\n"
	if code != exitUsage || stderr.String() != want {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}

func TestHowManyBackupsAreKept(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"14+30d", "14+30d"}, {"14", "14+7d"}, {"2+0d", "2+0d"},
		{"0", ""}, {"8+7", ""}, {"8+d", ""}, {"8+-1d", ""}, {"", ""}, {"8+7d+1", ""},
	} {
		keep := backup.Retention{Newest: 8, Days: 7}
		v := retention(&keep)
		switch err := v.Set(row.text); {
		case (row.want == "") != (err != nil):
			t.Errorf("%q: the error is %v", row.text, err)
		case err == nil && v.String() != row.want:
			t.Errorf("%q is %s, want %s", row.text, v, row.want)
		case err != nil && v.String() != "8+7d":
			t.Errorf("%q has changed it to %s", row.text, v)
		}
	}
}
