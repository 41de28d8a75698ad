package cli

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

func manualPage(t *testing.T, variables map[string]string) string {
	t.Helper()
	var out, errs bytes.Buffer
	lookup := func(name string) (string, bool) { v, ok := variables[name]; return v, ok }
	if code := Run(context.Background(), []string{"welcomed", "man"}, lookup, strings.NewReader(""), &out, &errs); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	return out.String()
}

func TestTheManualNamesEveryFlagAndItsVariable(t *testing.T) {
	page := manualPage(t, nil)
	var look func(c *cli.Command)
	look = func(c *cli.Command) {
		for _, flag := range c.Flags {
			name := flag.Names()[0]
			if visible(flag) && (!strings.Contains(page, "\\fB"+roff("--"+name)+"\\fR") || !strings.Contains(page, envName(name))) {
				t.Errorf("the manual has no --%s of %s", name, c.Name)
			}
		}
		if strings.Contains(page, "test\\-times") {
			t.Error("the manual has a flag that is hidden")
		}
		for _, below := range c.Commands {
			look(below)
		}
	}
	for _, command := range root(environment{lookup: func(string) (string, bool) { return "", false }}).Commands {
		look(command)
	}
	if strings.Contains(page, "SS welcomed completion words") {
		t.Error("the manual has a command that is hidden")
	}
}

func TestTheManualIsOfNoMachine(t *testing.T) {
	const epoch = "1764115200"
	page := manualPage(t, map[string]string{"SOURCE_DATE_EPOCH": epoch, "STATE_DIRECTORY": "/var/lib/here", "WELCOMED_LISTEN": "127.0.0.1:1"})
	if page != manualPage(t, map[string]string{"SOURCE_DATE_EPOCH": epoch}) {
		t.Error("the manual is another one in another environment")
	}
	if !strings.HasPrefix(page, ".TH WELCOMED 1 \"2025-11-26\" \"welcomed ") {
		t.Errorf("it begins with %.60q", page)
	}
}

func TestTheManualIsGoodRoff(t *testing.T) {
	if _, err := exec.LookPath("mandoc"); err != nil {
		t.Skip("there is no mandoc")
	}
	file := filepath.Join(t.TempDir(), "welcomed.1")
	if err := os.WriteFile(file, []byte(manualPage(t, map[string]string{"SOURCE_DATE_EPOCH": "1764115200"})), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mandoc", "-Tlint", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
