package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWordsAreCompleted(t *testing.T) {
	none := environment{lookup: func(string) (string, bool) { return "", false }}
	for _, row := range []struct {
		line  string // the last word of which is completed
		want  string // candidates that have to be there, and ! before those that may not
		paths string
	}{
		{"", "serve bench token man !words", ""},
		{"se", "serve !bench", ""},
		{"token ", "add list revoke !serve", ""},
		{"serve --au", "--auth !--listen", ""},
		{"serve -", "--auth --listen --help !--test-times", ""},
		{"serve --auth ", "none token oidc", ""},
		{"serve --auth t", "token !none", ""},
		{"serve --auth=t", "--auth=token !--auth=none", ""},
		{"serve --match ", "any reserved", ""},
		{"serve --pprof ", "!true", ""},
		{"serve --pprof=", "--pprof=true --pprof=false", ""},
		{"serve --db ", "", "files"},
		{"serve --db=", "", "files"},
		{"serve --listen 127.0.0.1:9420 --auth t", "token", ""},
		{"serve --db token --au", "--auth", ""},
		{"bench --dir ", "", "directories"},
		{"token add --user ", "!add", ""},
		{"inspect ", "", "files"},
		{"inspect -- --", "!--json", "files"},
		{"restore ", "", "files"},
		{"serve --nothing ", "", ""},
		{"completion ", "bash zsh fish !words", ""},
	} {
		c := complete(root(none), strings.Split(row.line, " "))
		if c.paths != row.paths {
			t.Errorf("%q: paths %q, want %q", row.line, c.paths, row.paths)
		}
		for want := range strings.FieldsSeq(row.want) {
			word, absent := strings.CutPrefix(want, "!")
			has := slices.ContainsFunc(c.candidates, func(one candidate) bool { return one.word == word })
			if has == absent {
				t.Errorf("%q: %q, candidates %v", row.line, want, c.candidates)
			}
		}
	}
}

func TestAskingForACompletionRunsNothing(t *testing.T) {
	dir := t.TempDir()
	command := exec.Command("welcomed", "completion", "words", "backup", "-o", filepath.Join(dir, "copy"), "--", "--help")
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil || string(out) != "\n" {
		t.Errorf("%q, %v", out, err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// typed are keys that are pressed in a shell, and the words that the line has
// then.
var typed = []struct{ keys, words string }{
	{"welcomed serv\t", "welcomed|serve"},
	{"welcomed serve --auth o\t", "welcomed|serve|--auth|oidc"},
	{"welcomed serve --auth=to\t", "welcomed|serve|--auth=token"},
	{"welcomed serve --listen 127.0.0.1:1 --log-f\t", "welcomed|serve|--listen|127.0.0.1:1|--log-format"},
	{"welcomed token li\t", "welcomed|token|list"},
	{"welcomed inspect so\t", "welcomed|inspect|some file.mls"},
	{"welcomed serve --db so\t", "welcomed|serve|--db|some file.mls"},
	{"welcomed serve --db=so\t", "welcomed|serve|--db=some file.mls"},
	{"welcomed bench --dir a\t", "welcomed|bench|--dir|a place"},
}

func TestShellsComplete(t *testing.T) {
	for name, shell := range map[string]struct{ start, setup string }{
		"bash": {"bash --noprofile --norc -i", "bind 'set enable-bracketed-paste off'; eval \"$(welcomed completion bash)\""},
		"zsh":  {"zsh -f -i", "bindkey -e; autoload -U compinit; compinit -u -D; eval \"$(welcomed completion zsh)\""},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() {
				t.Skip("a shell takes seconds")
			}
			for _, program := range []string{name, "script"} {
				if _, err := exec.LookPath(program); err != nil {
					t.Skipf("there is no %s", program)
				}
			}
			dir := typingPlace(t)
			var keys, want []string
			for _, row := range typed {
				keys = append(keys, row.keys+toStart+"printf '<%s>' "+toEnd+" >> typed; echo >> typed\n")
				want = append(want, "<"+strings.ReplaceAll(row.words, "|", "><")+">")
			}
			keys = append(keys, "welcomed inspect $(touch ran) so\t"+eraseLine)
			typeIn(t, dir, shell.start, shell.setup, strings.Join(keys, ""))
			text, err := os.ReadFile(filepath.Join(dir, "typed"))
			if err != nil {
				t.Fatal(err)
			}
			// zsh takes away the slash that it has put behind a directory.
			got := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(text), "/>", ">")), "\n")
			for i, row := range typed {
				if i >= len(got) || got[i] != want[i] {
					t.Errorf("%q gives %q, want %q", row.keys, got[min(i, len(got)-1)], want[i])
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
				t.Error("a part of the line was run when it was completed")
			}
		})
	}
}

func TestFishCompletes(t *testing.T) {
	if _, err := exec.LookPath("fish"); err != nil {
		t.Skip("there is no fish")
	}
	dir := typingPlace(t)
	for _, row := range []struct{ line, want string }{
		{"welcomed serv", "serve\trun the server until SIGTERM or SIGINT\n"},
		{"welcomed serve --auth o", "oidc\n"},
		{"welcomed serve --auth=to", "--auth=token\n"},
		{"welcomed inspect some\\ f", "some file.mls\n"},
		{"welcomed serve --db some\\ f", "some file.mls\n"},
		{"welcomed bench --dir a", "a place/\tDirectory\n"},
	} {
		command := exec.Command("fish", "--no-config", "-c", "welcomed completion fish | source; complete -C '"+row.line+"'")
		command.Dir, command.Env = dir, append(os.Environ(), "HOME="+dir)
		out, err := command.CombinedOutput()
		if err != nil || string(out) != row.want {
			t.Errorf("%q gives %q, %v, want %q", row.line, out, err, row.want)
		}
	}
}

func typingPlace(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "some file.mls"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "a place"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

const toStart, toEnd, eraseLine = "\x01", "\x05", "\x15"

// typeIn presses keys in a shell on a terminal.
func typeIn(t *testing.T, dir, start, setup, keys string) {
	t.Helper()
	const ready = "ready> "
	shell := exec.Command("script", "-qec", start, "/dev/null")
	shell.Dir, shell.Env = dir, append(os.Environ(), "TERM=dumb", "HOME="+dir, "LC_ALL=C.UTF-8")
	shell.Stderr = os.Stderr
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(2*time.Minute, func() { shell.Process.Kill() }).Stop()
	// The words of the prompt are not what the terminal shows while it is typed.
	fmt.Fprintf(in, "%s; PS1='rea''dy> '\n", setup)
	var seen []byte
	for buffer := make([]byte, 4096); !bytes.Contains(seen, []byte(ready)); {
		n, err := out.Read(buffer)
		if seen = append(seen, buffer[:n]...); err != nil {
			t.Fatalf("%v:\n%s", err, seen)
		}
	}
	fmt.Fprintf(in, "%sexit\n", keys)
	rest, _ := io.ReadAll(out)
	if err := shell.Wait(); err != nil {
		t.Fatalf("%v:\n%s%s", err, seen, rest)
	}
}
