package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const trial = `# A trial

` + "```console" + `
$ x=5; echo five is $x
five is 5
$ cat <<'EOF'
> two
> lines
> EOF
two
lines
$ echo "at 2026-11-26T01:02:03Z for 12.5 ms: 0123456789abcdef"
at 2020-01-01T00:00:00Z for 3.1 s: ffffffffffffffff
$ seq 9
1
…
9
` + "```" + `

` + "```sh" + `
$ exit 1
` + "```" + `
`

func operate(t *testing.T, text string, write bool) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "operate.md")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &config{document: path, shell: "bash", limit: time.Minute, write: write}
	_, err := c.Run(t.Context(), io.Discard)
	after, _ := os.ReadFile(path)
	return string(after), err
}

func TestADocumentThatSaysWhatIsPrintedPasses(t *testing.T) {
	if after, err := operate(t, trial, false); err != nil || after != trial {
		t.Errorf("%v; it is now\n%s", err, after)
	}
}

func TestADocumentThatSaysSomethingElseFails(t *testing.T) {
	for what, text := range map[string]string{
		"another word":     strings.Replace(trial, "five is 5", "five is 6", 1),
		"a line is gone":   strings.Replace(trial, "two\nlines\n$", "two\n$", 1),
		"a line too many":  strings.Replace(trial, "five is 5\n", "five is 5\nand six\n", 1),
		"the end is wrong": strings.Replace(trial, "…\n9", "…\n8", 1),
		"a command fails":  strings.Replace(trial, "seq 9", "seq 9; false", 1),
	} {
		if _, err := operate(t, text, false); err == nil {
			t.Errorf("%s: it passes", what)
		}
	}
}

func TestWhatIsPrintedIsWrittenIntoTheDocument(t *testing.T) {
	after, err := operate(t, strings.Replace(trial, "five is 5", "five is six", 1), true)
	if err != nil || after != trial {
		t.Errorf("%v; it is now\n%s", err, after)
	}
}
