//go:build unix

package safefile_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"welcomed/safefile"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content is what a file has; a link is not followed.
func content(t *testing.T, path string, perm fs.FileMode) string {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	if info.Mode() != perm {
		t.Errorf("%s has the mode %v, want %v", path, info.Mode(), perm)
	}
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

func TestAFileIsAlwaysANewOne(t *testing.T) {
	for _, row := range []struct {
		planted string
		plant   func(t *testing.T, path, victim string)
	}{
		{"nothing", func(*testing.T, string, string) {}},
		{"a link to a file", func(t *testing.T, path, victim string) { must(t, os.Symlink(victim, path)) }},
		{"a link to nothing", func(t *testing.T, path, victim string) { must(t, os.Symlink(victim+".none", path)) }},
		{"a second name of a file", func(t *testing.T, path, victim string) { must(t, os.Link(victim, path)) }},
		{"a file that others read", func(t *testing.T, path, _ string) {
			must(t, os.WriteFile(path, []byte("old, and longer than what is new"), 0o666))
			must(t, os.Chmod(path, 0o666))
		}},
		{"a pipe", func(t *testing.T, path, _ string) { must(t, syscall.Mkfifo(path, 0o666)) }},
	} {
		t.Run(row.planted, func(t *testing.T) {
			dir := t.TempDir()
			path, victim := filepath.Join(dir, "file"), filepath.Join(dir, "victim")
			must(t, os.WriteFile(victim, []byte("precious"), 0o644))
			must(t, os.Chmod(victim, 0o644))
			row.plant(t, path, victim)
			row.plant(t, path+safefile.PartSuffix, victim)
			check := func(want string) {
				t.Helper()
				if got := content(t, path, 0o600); got != want {
					t.Errorf("the file has %q, want %q", got, want)
				}
				if got := content(t, victim, 0o644); got != "precious" {
					t.Errorf("the target of the link has %q", got)
				}
				if _, err := os.Lstat(victim + ".none"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the target of the link was made: %v", err)
				}
			}
			must(t, safefile.Write(path, safefile.Private, func(f *os.File) error { _, err := f.WriteString("new"); return err }))
			check("new")
			if _, err := os.Lstat(path + safefile.PartSuffix); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the other name is still there: %v", err)
			}
			must(t, os.Remove(path))
			row.plant(t, path, victim)
			f, err := safefile.Create(path, safefile.Private)
			must(t, err)
			_, err = f.WriteString("newer")
			must(t, errors.Join(err, f.Close()))
			check("newer")
		})
	}
}

// What cannot be removed is not written.
func TestADirectoryWithFilesStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.MkdirAll(filepath.Join(path, "inside"), 0o700))
	if f, err := safefile.Create(path, safefile.Private); err == nil {
		t.Errorf("made %v", f.Name())
	}
}

func TestTheModeIsTheOneThatWasAskedFor(t *testing.T) {
	for _, umask := range []int{0, 0o22, 0o77, 0o777} {
		for _, perm := range []fs.FileMode{0o600, 0o640, 0o644} {
			before := syscall.Umask(umask)
			f, err := safefile.Create(filepath.Join(t.TempDir(), "file"), perm)
			syscall.Umask(before)
			must(t, err)
			info, err := f.Stat()
			must(t, errors.Join(err, f.Close()))
			if info.Mode() != perm {
				t.Errorf("with the umask %o: %v, want %v", umask, info.Mode(), perm)
			}
		}
	}
}

func TestWhatFailsLeavesTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, []byte("old"), 0o600))
	failed := errors.New("failed")
	err := safefile.Write(path, safefile.Private, func(f *os.File) error { _, _ = f.WriteString("new"); return failed })
	if !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	if got := content(t, path, 0o600); got != "old" {
		t.Errorf("the file has %q", got)
	}
	if _, err := os.Lstat(path + safefile.PartSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the unfinished file is still there: %v", err)
	}
}

func TestASocketIsForThisUserAndReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "socket")
	must(t, os.Symlink(filepath.Join(dir, "victim"), path))
	if l, err := safefile.Listen(path); err == nil {
		t.Errorf("listens on %v", l.Addr())
	}
	must(t, os.Remove(path))
	l, err := safefile.Listen(path)
	must(t, err)
	defer l.Close()
	info, err := os.Lstat(path)
	must(t, err)
	if info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the mode is %v", info.Mode())
	}
}

// makers make files or give them names. Only this package may use them in what the
// program is built from.
var makers = map[string][]string{
	"os":      {"Create", "CreateTemp", "WriteFile", "O_CREATE", "Mkdir", "MkdirAll", "MkdirTemp", "Rename", "Symlink", "CopyFS", "OpenRoot"},
	"syscall": {"O_CREAT", "Open", "Openat", "Creat", "Mkdir", "Mkdirat", "Mknod", "Mkfifo", "Rename", "Renameat", "Symlink", "Bind"},
	"net":     {"ListenUnix", "ListenUnixgram"},
	"golang.org/x/sys/unix": {"O_CREAT", "Open", "Openat", "Openat2", "Creat", "Mkdir", "Mkdirat", "Mknod", "Mkfifo", "Rename", "Renameat",
		"Renameat2", "Symlink", "Bind", "MemfdCreate"},
	"io/ioutil": {"WriteFile", "TempFile", "TempDir"},
}

func TestNothingElseMakesFiles(t *testing.T) {
	seen := map[string]bool{}
	readPackage(t, seen, "welcomed")
	for _, name := range []string{"welcomed/bolt", "welcomed/backup", "welcomed/cli", "welcomed/server"} {
		if !seen[name] {
			t.Errorf("%s was not read", name)
		}
	}
}

// readPackage reads a package of the program, for every operating system, and those
// that it imports.
func readPackage(t *testing.T, seen map[string]bool, name string) {
	if seen[name] || name == "welcomed/safefile" {
		return
	}
	seen[name] = true
	files, err := filepath.Glob(filepath.Join("..", strings.TrimPrefix(name, "welcomed"), "*.go"))
	must(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, file, nil, 0)
		must(t, err)
		imports := map[string]string{}
		for _, spec := range tree.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			must(t, err)
			name := path[strings.LastIndexByte(path, '/')+1:]
			if spec.Name != nil {
				name = spec.Name.Name
			}
			imports[name] = path
			if path == "welcomed" || strings.HasPrefix(path, "welcomed/") {
				readPackage(t, seen, path)
			}
		}
		ast.Inspect(tree, func(node ast.Node) bool {
			if what := maker(node, imports); what != "" {
				t.Errorf("%s: %s makes a file or gives it a name: use safefile", set.Position(node.Pos()), what)
			}
			return true
		})
	}
}

// maker says what a piece of source makes files with, if it does.
func maker(node ast.Node, imports map[string]string) string {
	switch node := node.(type) {
	case *ast.SelectorExpr:
		of, ok := node.X.(*ast.Ident)
		if ok && slices.Contains(makers[imports[of.Name]], node.Sel.Name) {
			return of.Name + "." + node.Sel.Name
		}
	case *ast.CallExpr:
		called, ok := node.Fun.(*ast.SelectorExpr)
		if !ok {
			return ""
		}
		of, ok := called.X.(*ast.Ident)
		switch {
		case ok && imports[of.Name] == "net" && called.Sel.Name == "Listen" && literal(node.Args[0]) == "unix":
			return `net.Listen("unix")`
		case ok && imports[of.Name] == "go.etcd.io/bbolt" && called.Sel.Name == "Open" && !opensOnly(node):
			return "bbolt.Open without ReadOnly or OpenFile"
		}
	}
	return ""
}

func literal(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok {
		s, _ := strconv.Unquote(lit.Value)
		return s
	}
	return ""
}

// opensOnly reports whether a call of bbolt.Open says that it only reads, or how the
// file is opened.
func opensOnly(call *ast.CallExpr) (only bool) {
	ast.Inspect(call, func(node ast.Node) bool {
		pair, ok := node.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		key, _ := pair.Key.(*ast.Ident)
		value, _ := pair.Value.(*ast.Ident)
		only = only || key != nil && (key.Name == "OpenFile" || key.Name == "ReadOnly" && value != nil && value.Name == "true")
		return true
	})
	return only
}
