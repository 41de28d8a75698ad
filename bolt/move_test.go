package bolt

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"welcomed/delivery"
	"welcomed/delivery/archive"
	"welcomed/delivery/storetest"
	"welcomed/delivery/storetest/model"
)

// written returns the archive of a file that nobody has open.
func written(f File) (string, error) {
	var text bytes.Buffer
	w := archive.NewWriter(&text, "a test", time.Unix(0, 0))
	if err := f.Export(context.Background(), w.Write); err != nil {
		return "", err
	}
	_, err := w.Close()
	return text.String(), err
}

func readInto(f File, r io.Reader) error {
	return f.Import(context.Background(), archive.NewReader(r).Lines())
}

// move puts what is in the file at path into another that takes its place, and
// looks whether that would be written down in the same way.
func move(f File) error {
	f.Final, f.headroom = true, littleHeadroom
	text, err := written(f)
	if err != nil {
		return err
	}
	old := f.Path + ".old"
	if err := os.Rename(f.Path, old); err != nil {
		return err
	}
	defer os.Remove(old)
	if err := os.Remove(f.Path + RevokedSuffix); err != nil { // it is another database then
		return err
	}
	if err := readInto(f, strings.NewReader(text)); err != nil {
		return err
	}
	copied := f
	copied.Path += ".copied"
	b, err := os.ReadFile(f.Path)
	if err == nil {
		err = os.WriteFile(copied.Path, b, 0o600)
	}
	if err != nil {
		return err
	}
	defer os.Remove(copied.Path)
	again, err := written(copied)
	if err == nil && again != text {
		err = errDiffers(text, again)
	}
	return err
}

type differs struct{ was, is string }

func (d differs) Error() string {
	return "after the move it is written down in another way:\nwas " + d.was + "\n is " + d.is
}

// errDiffers shows the first line that differs.
func errDiffers(was, is string) error {
	a, b := strings.Split(was, "\n"), strings.Split(is, "\n")
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return differs{a[i], strings.Join(b[min(i, len(b)):min(i+1, len(b))], "")}
		}
	}
	return differs{"", b[len(a)]}
}

// Random sequences of events find the store and the reference in agreement, also
// when it is written to an archive and read from it between them.
func TestModelAgreesAfterMoves(t *testing.T) {
	root, n := t.TempDir(), 0
	model.Check(t, func(rt *rapid.T) model.Fixture {
		n++
		dir := filepath.Join(root, strconv.Itoa(n))
		must(t, os.Mkdir(dir, 0o700))
		// What was revoked in one database says nothing of the one that it becomes.
		f := losing(modelFixture(t, dir, Options{LogSize: 4096, idleAfter: time.Hour}), filepath.Join(dir, "welcomed.db"))
		open := f.Open
		var limits delivery.Limits
		f.Open = func(clock delivery.Clock, l delivery.Limits, trust bool) (delivery.Store, error) {
			limits = l
			return open(clock, l, trust)
		}
		f.Moves = true
		lines := rapid.IntRange(1, 8).Draw(rt, "lines of a transaction")
		f.Compact = func() error {
			return move(File{Path: filepath.Join(dir, "welcomed.db"), Limits: limits, unchecked: true, lines: lines})
		}
		return f
	})
}

// Every promise holds of a store that is moved whenever it is closed.
func TestStoreMoved(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		path, closed := filepath.Join(t.TempDir(), "welcomed.db"), 0
		var last *Store
		moved := func(t *testing.T) {
			_ = last.Close()
			must(t, move(File{Path: path, Limits: last.opts.Limits, lines: 3}))
			must(t, Check(context.Background(), path))
		}
		t.Cleanup(func() { moved(t) })
		return storetest.Fixture{
			Open: func(t *testing.T, clock delivery.Clock, limits delivery.Limits) delivery.Store {
				if last != nil {
					moved(t)
					closed += last.Commits()
				}
				s, err := Open(path, Small(Options{Limits: limits, Clock: clock}))
				must(t, err)
				last = s
				return s
			},
			Commits:      func() int { return closed + last.Commits() },
			MarkRestored: func(t *testing.T) { must(t, markUnchecked(path)) },
			Moves:        true,
		}
	})
}
