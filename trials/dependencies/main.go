// Command dependencies prints what each module that welcomed uses costs: processor
// time of a build from an empty cache, and bytes of the binary. It counts the
// packages that would go if welcomed did not import the module: those that something
// else needs too are nobody's.
//
// It builds with itself as -toolexec, which notes the processor time of each
// compiler: seconds on the clock say more about what else the machine does.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// notesFile names the file that compilers' times are appended to. It is set for a
// process that stands between the go command and a compiler.
const notesFile = "DEPENDENCIES_NOTES"

func main() {
	run := report
	if os.Getenv(notesFile) != "" {
		run = compile
	}
	if err := run(); err != nil {
		if ended, ok := errors.AsType[*exec.ExitError](err); ok {
			os.Exit(ended.ExitCode())
		}
		fmt.Fprintln(os.Stderr, "dependencies:", err)
		os.Exit(1)
	}
}

// compile runs the tool that the arguments name, and notes for which package and how
// long it has worked.
func compile() error {
	c := exec.Command(os.Args[1], os.Args[2:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return err
	}
	f, err := os.OpenFile(os.Getenv(notesFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	name := os.Getenv("TOOLEXEC_IMPORTPATH")
	if tool := filepath.Base(os.Args[1]); tool == "link" {
		name = tool
	}
	_, err = fmt.Fprintf(f, "%s %d\n", name, c.ProcessState.UserTime()+c.ProcessState.SystemTime())
	return errors.Join(err, f.Close())
}

// A goPackage is what go list says of one.
type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Module     *struct {
		Path string
		Main bool
	}
}

func (p goPackage) module() string {
	switch {
	case p.Standard:
		return "std"
	case p.Module.Main:
		return ""
	}
	return p.Module.Path
}

// A cost is what packages cost.
type cost struct {
	module   string
	packages int
	time     time.Duration
	bytes    int64
}

func report() error {
	dir, err := os.MkdirTemp("", "dependencies-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	packages, err := list()
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "building from an empty cache")
	began := time.Now()
	times, err := build(dir)
	if err != nil {
		return err
	}
	took := time.Since(began)
	sizes, err := symbols(filepath.Join(dir, "welcomed"))
	if err != nil {
		return err
	}
	print(packages, times, sizes)
	info, err := os.Stat(filepath.Join(dir, "welcomed"))
	if err != nil {
		return err
	}
	fmt.Printf("\nThe build took %.0f s on the clock, the binary has %.1f MB.\n", took.Seconds(), float64(info.Size())/1e6)
	return nil
}

func list() (map[string]goPackage, error) {
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,Module", ".").Output()
	if err != nil {
		return nil, fmt.Errorf("list the packages: %w", err)
	}
	packages := map[string]goPackage{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages[p.ImportPath] = p
	}
}

// build builds the program into dir, and returns how long each package took.
func build(dir string) (map[string]time.Duration, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	notes := filepath.Join(dir, "notes")
	c := exec.Command("go", "build", "-trimpath", "-toolexec", self, "-o", filepath.Join(dir, "welcomed"), ".")
	c.Env = append(os.Environ(), "GOFLAGS=", "GOCACHE="+filepath.Join(dir, "cache"), notesFile+"="+notes)
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	text, err := os.ReadFile(notes)
	if err != nil {
		return nil, err
	}
	times := map[string]time.Duration{}
	for line := range strings.Lines(string(text)) {
		name, number, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ") // without a name: of what the go command asks tools first
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the note %q: %w", line, err)
		}
		times[name] += time.Duration(n)
	}
	return times, nil
}

// symbols returns the bytes of code and data of each package in a binary.
func symbols(binary string) (map[string]int64, error) {
	out, err := exec.Command("go", "tool", "nm", "-size", binary).Output()
	if err != nil {
		return nil, fmt.Errorf("read the symbols: %w", err)
	}
	sizes := map[string]int64{}
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		fields := strings.Fields(s.Text()) // address, size, kind, name
		if len(fields) < 4 || strings.EqualFold(fields[2], "b") {
			continue // of zeros, which are not in the file
		}
		if size, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
			sizes[packageOf(fields[3])] += size
		}
	}
	return sizes, nil
}

// packageOf is the path of the package that a symbol is of.
func packageOf(symbol string) string {
	symbol = strings.TrimLeft(strings.TrimPrefix(symbol, "type:"), "*[]")
	symbol, _, _ = strings.Cut(symbol, "[")
	slash := strings.LastIndex(symbol, "/") + 1
	last, _, _ := strings.Cut(symbol[slash:], ".")
	return symbol[:slash] + strings.ReplaceAll(last, "%2e", ".")
}

func print(packages map[string]goPackage, times map[string]time.Duration, sizes map[string]int64) {
	sum := func(module string, names []string) cost {
		c := cost{module: module, packages: len(names)}
		for _, name := range names {
			c.time += times[name]
			c.bytes += sizes[name]
		}
		return c
	}
	var own, std, all []string
	direct := map[string]bool{}
	for name, p := range packages {
		all = append(all, name)
		switch p.module() {
		case "":
			own = append(own, name)
			for _, other := range p.Imports {
				if m := packages[other].module(); m != "" && m != "std" {
					direct[m] = true
				}
			}
		case "std":
			std = append(std, name)
		}
	}
	var rows []cost
	needed := reached(packages, "") // the linker wants some that nobody imports
	for module := range direct {
		left := reached(packages, module)
		var gone []string
		for _, name := range all {
			if needed[name] && !left[name] {
				gone = append(gone, name)
			}
		}
		rows = append(rows, sum(module, gone))
	}
	slices.SortFunc(rows, func(a, b cost) int { return cmp.Or(cmp.Compare(b.time, a.time), cmp.Compare(a.module, b.module)) })
	rows = append(rows, sum("(all of Go's own)", std), sum("(welcomed)", own), sum("(everything)", all))
	fmt.Println("| module | packages that only it brings | processor time | bytes |\n|---|---|---|---|")
	for _, r := range rows {
		size := fmt.Sprintf("%d KB", r.bytes/1000)
		if r.packages >= len(std) {
			size = "" // symbols of the runtime lie over those of others
		}
		fmt.Printf("| %s | %d | %.1f s | %s |\n", r.module, r.packages, r.time.Seconds(), size)
	}
	fmt.Printf("| (the linker) | | %.1f s | |\n", times["link"].Seconds())
}

// reached returns what the program needs if its own packages do not import module.
func reached(packages map[string]goPackage, module string) map[string]bool {
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		p, known := packages[name]
		if !known || seen[name] {
			return
		}
		seen[name] = true
		for _, other := range p.Imports {
			if module != "" && p.module() == "" && packages[other].module() == module {
				continue
			}
			visit(other)
		}
	}
	visit("welcomed")
	visit("runtime")
	return seen
}
