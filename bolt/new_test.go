package bolt

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
)

// Where a database may once have been none begins anew without a word.
func TestADatabaseIsNewOnlyWhereThereWasNone(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(at("empty"), nil, 0o600))
	must(t, os.Symlink(at("nowhere"), at("link")))
	db, err := bbolt.Open(at("rowless"), 0o600, nil)
	must(t, errors.Join(err, db.Close()))
	opts := Options{Limits: delivery.DefaultLimits()}
	for name, says := range map[string]string{
		"empty":      "is an empty file, and no database ever is",
		"link":       "is a link to " + at("nowhere") + ", which does not exist",
		"rowless":    "not a welcomed database",
		"none/w.db":  "the directory of database " + at("none/w.db") + " does not exist",
		"empty/w.db": "not a directory",
	} {
		s, err := Open(at(name), opts)
		if err == nil {
			t.Errorf("%s was opened: %v", name, s.Close())
			continue
		}
		if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	opts.MustExist = true
	if _, err := Open(at("first"), opts); !errors.Is(err, ErrNone) {
		t.Errorf("one that must exist: %v", err)
	}
	if _, err := os.Lstat(at("first")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
	opts.MustExist = false
	for _, created := range []bool{true, false} {
		s, err := Open(at("first"), opts)
		must(t, err)
		if s.Created() != created {
			t.Errorf("created: %t", s.Created())
		}
		must(t, s.Close())
	}
}

// What an error of the system means for a database.
func TestOpenErrorsSayWhatToDo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.db")
	must(t, os.WriteFile(path, []byte("x"), 0o640))
	of := func(errno syscall.Errno) error { return &fs.PathError{Op: "open", Path: path, Err: errno} }
	for _, row := range []struct {
		err  error
		says string
	}{
		{syscall.ENOLCK, "probably on a network share without locks, put it on a local disk"}, // as flock has it
		{syscall.EACCES, "probably on a network share without locks"},
		{syscall.ENOTSUP, "probably on a network share without locks"},
		{of(syscall.EROFS), "is on a file system that is mounted read-only"},
		{of(syscall.EACCES), "belongs to "},
	} {
		if err := openError(path, row.err); !strings.Contains(err.Error(), row.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%#v: %v", row.err, err)
		}
	}
}
