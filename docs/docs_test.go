// Package docs has what people read. Its tests compare the map of the code with the code.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maps are the documents that send a reader into the code.
var maps = []string{"../docs/architecture.md", "../CONTRIBUTING.md"}

var (
	quoted = regexp.MustCompile("`([^`]+)`")
	// inCode is a file, or a pattern of files. Without a folder it is in that of the file
	// named before.
	inCode = regexp.MustCompile(`^(?:[\w.*-]+/)*[\w*-]+\.(?:go|md|yml|json)$`)
	folder = regexp.MustCompile(`^(?:[\w.-]+/)+$`)
	// declared is a file of Go and the names behind it, which it declares.
	declared = regexp.MustCompile("`([\\w/.-]+\\.go)`((?:,? `[A-Za-z]\\w*`)+)")
)

// folderRow is one of the table of folders: its name, what it is, what it imports.
var folderRow = regexp.MustCompile("(?m)^\\| `([a-z]+)/` \\|.*\\| ?(.*) \\|$")

// read returns a document with its lines and paragraphs made one line.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

// Each file and folder that a map names is there.
func TestTheFilesOfTheMapAreThere(t *testing.T) {
	for _, name := range maps {
		dir, seen := "", 0
		for _, m := range quoted.FindAllStringSubmatch(read(t, name), -1) {
			text := m[1]
			switch {
			case folder.MatchString(text):
				if info, err := os.Stat("../" + text); (err != nil || !info.IsDir()) && !besides(text) {
					t.Errorf("%s names the folder %s, which is not there", name, text)
				}
			case inCode.MatchString(text):
				if strings.Contains(text, "/") {
					dir = path.Dir(text)
				}
				found, err := filepath.Glob(filepath.Join("..", dir, path.Base(text)))
				if _, atTop := os.Stat("../" + text); err != nil || len(found) == 0 && atTop != nil {
					t.Errorf("%s names %s, which is not in %s/", name, text, dir)
				}
				seen++
			}
		}
		if seen < 30 {
			t.Errorf("%s names %d files", name, seen)
		}
	}
}

// besides reports whether a folder is one inside another.
func besides(text string) bool { return text == "mlstest/" }

// Each name that a map has behind a file is declared there.
func TestTheNamesOfTheMapAreDeclaredThere(t *testing.T) {
	for _, name := range maps {
		seen := 0
		for _, m := range declared.FindAllStringSubmatch(read(t, name), -1) {
			names := declarations(t, "../"+m[1])
			for _, n := range quoted.FindAllStringSubmatch(m[2], -1) {
				if seen++; !slices.Contains(names, n[1]) {
					t.Errorf("%s names %s of %s, which does not declare it", name, n[1], m[1])
				}
			}
		}
		if seen < 30 {
			t.Errorf("%s names %d declarations", name, seen)
		}
	}
}

// declarations are what a file declares: functions, methods, types, variables, constants.
func declarations(t *testing.T, file string) (names []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return nil
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names = append(names, d.Name.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, spec.Name.Name)
				case *ast.ValueSpec:
					for _, n := range spec.Names {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return names
}

// The table of folders has each folder with code, above all that it imports.
func TestTheArrowsOfTheMapAreTheImports(t *testing.T) {
	text, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## Folders")
	table, _, _ = strings.Cut(table, "\n### ")
	rows := folderRow.FindAllStringSubmatch(table, -1)
	actual := imports(t)
	for i, row := range rows {
		var below, want []string
		for _, other := range rows[i+1:] {
			below = append(below, other[1])
		}
		for _, q := range quoted.FindAllStringSubmatch(row[2], -1) {
			want = append(want, strings.TrimSuffix(q[1], "/"))
		}
		if row[2] == "all below" {
			want = below
		}
		slices.Sort(want)
		got, there := actual[row[1]]
		delete(actual, row[1])
		if !there || !slices.Equal(got, want) {
			t.Errorf("%s/ imports %v, and the map says %v", row[1], got, want)
		}
		for _, to := range got {
			if !slices.Contains(below, to) {
				t.Errorf("%s/ imports %s/, which stands above it", row[1], to)
			}
		}
	}
	for name := range actual {
		t.Errorf("the map has no %s/", name)
	}
}

// imports are the folders that each folder imports, but for itself. Tests may import any.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	of := map[string][]string{}
	err := fs.WalkDir(os.DirFS(".."), ".", func(name string, d fs.DirEntry, err error) error {
		top, rest, inFolder := strings.Cut(name, "/")
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && name != "." || d.Name() == "node_modules" || name == "build"):
			return fs.SkipDir
		case !inFolder || !strings.HasSuffix(rest, ".go") || strings.HasSuffix(rest, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", name), nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		if of[top] == nil {
			of[top] = []string{}
		}
		for _, spec := range f.Imports {
			to, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), "welcomed/")
			to, _, _ = strings.Cut(to, "/")
			if ours && to != top && !slices.Contains(of[top], to) {
				of[top] = append(of[top], to)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range of {
		slices.Sort(to)
	}
	return of
}
