package bolt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/store"
)

// An overwrite is a way to write to a database that a server has open. It is given
// the path, and the file as it was in the middle of what was published.
type overwrite struct {
	name string
	do   func(t *testing.T, path string, older []byte)
	keep bool // the file can be opened afterwards, and is an older or another state
}

var overwrites = []overwrite{
	{"cp of an older copy", func(t *testing.T, path string, older []byte) { must(t, os.WriteFile(path, older, 0o600)) }, true},
	{"dd of an older copy", func(t *testing.T, path string, older []byte) { writeAt(t, path, older, 0) }, true},
	{"dd of the meta pages of an older copy", func(t *testing.T, path string, older []byte) { writeAt(t, path, older[:2*pageSize], 0) }, false},
	{"dd of zeros over the meta pages", func(t *testing.T, path string, _ []byte) { writeAt(t, path, make([]byte, 2*pageSize), 0) }, false},
	{"cp of another database", func(t *testing.T, path string, _ []byte) {
		other := filepath.Join(t.TempDir(), "other.db")
		publishSome(t, other, Options{Clock: storetest.NewClock()}, 3)
		must(t, os.WriteFile(path, readFile(t, other), 0o600))
	}, true},
	{"cp of a later state", func(t *testing.T, path string, _ []byte) {
		later := filepath.Join(t.TempDir(), "later.db")
		must(t, os.WriteFile(later, readFile(t, path), 0o600))
		publishSome(t, later, Options{Clock: storetest.NewClock()}, 3)
		must(t, os.WriteFile(path, readFile(t, later), 0o600))
	}, true},
	{"a second server that no lock keeps away", func(t *testing.T, path string, _ []byte) {
		later := filepath.Join(t.TempDir(), "later.db")
		must(t, os.WriteFile(later, readFile(t, path), 0o600))
		publishSome(t, later, Options{Clock: storetest.NewClock()}, 1)
		writeAt(t, path, readFile(t, later), 0)
	}, true},
	{"truncate to nothing and back", func(t *testing.T, path string, _ []byte) {
		size := int64(len(readFile(t, path)))
		must(t, errors.Join(os.Truncate(path, 0), os.Truncate(path, size)))
	}, false},
	{"cp of a text", func(t *testing.T, path string, _ []byte) { must(t, os.WriteFile(path, []byte("a text\n"), 0o600)) }, false},
}

func writeAt(t *testing.T, path string, b []byte, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(b, off)
	must(t, errors.Join(err, f.Close()))
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

func publishSome(t *testing.T, path string, opts Options, n int) {
	t.Helper()
	opts.Limits = delivery.DefaultLimits()
	s, err := Open(path, opts)
	must(t, err)
	for range n {
		must(t, publishNext(s))
	}
	must(t, s.Close())
}

// publishNext publishes a KeyPackage that was not published before.
func publishNext(s *Store) error {
	item := unsigned(int(nextItem.Add(1)))
	_, err := s.Publish(context.Background(), delivery.Unauthenticated(), phone, []delivery.NewKeyPackage{item})
	return err
}

var nextItem atomic.Int64

// A store whose file somebody writes to, in whatever way, answers nothing from it
// any more and writes nothing to it: it ends with one sentence, by itself where
// nobody asks it for anything.
func TestAFileThatIsOverwrittenEndsTheStore(t *testing.T) {
	uses := map[string]func(s *Store) error{
		"writing": publishNext,
		"reading": func(s *Store) error {
			_, err := s.Inventory(t.Context(), delivery.Unauthenticated(), phone)
			return err
		},
		"readiness": func(s *Store) error { return s.Ready(t.Context()) },
		"idle":      nil,
	}
	for _, o := range overwrites {
		for what, use := range uses {
			t.Run(o.name+"/"+what, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "welcomed.db")
				opts := Options{Limits: delivery.DefaultLimits(), Clock: storetest.NewClock(), lookEvery: time.Hour, idleAfter: time.Hour}
				if use == nil {
					opts.lookEvery = time.Millisecond
				}
				publishSome(t, path, opts, 5)
				older := readFile(t, path)
				s, err := Open(path, opts)
				must(t, err)
				for range 5 {
					must(t, publishNext(s))
				}
				o.do(t, path, older)
				if use != nil {
					if err := use(s); !errors.Is(err, delivery.ErrOutcomeUnknown) {
						t.Errorf("got %v", err)
					}
				}
				<-s.Failed()
				if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
					t.Errorf("it is ready: %v", err)
				}
				before := readFile(t, path)
				err = s.Close()
				if !errors.Is(err, delivery.ErrOutcomeUnknown) || !strings.Contains(err.Error(), "overwritten or cut short") || strings.Contains(err.Error(), "\n") {
					t.Errorf("Close says %v", err)
				}
				if string(readFile(t, path)) != string(before) {
					t.Error("it was written to")
				}
				if o.keep {
					isARestore(t, path, opts)
				}
			})
		}
	}
}

// isARestore opens the file at path, which is not what a server had committed to it.
func isARestore(t *testing.T, path string, opts Options) {
	t.Helper()
	moved := filepath.Join(t.TempDir(), "welcomed.db") // the old store keeps its lock
	must(t, os.WriteFile(moved, readFile(t, path), 0o600))
	must(t, os.Rename(path+committedSuffix, moved+committedSuffix))
	for _, want := range []bool{true, false} {
		s, err := Open(moved, opts)
		must(t, err)
		if s.Restored() != want {
			t.Errorf("taken for a restored one: %v, want %v", s.Restored(), want)
		}
		must(t, s.Close())
	}
}

// If the meta page cannot be read after a commit, the store ends, and nobody is said to
// have written to the file: what the next start finds is no restored backup.
func TestAMetaPageThatCannotBeReadAfterACommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "welcomed.db")
	opts := Options{Limits: delivery.DefaultLimits(), Clock: storetest.NewClock(), lookEvery: time.Hour, idleAfter: time.Hour}
	publishSome(t, path, opts, 5)
	s, err := Open(path, opts)
	must(t, err)
	directory, err := os.Open(filepath.Dir(path)) // reading it fails, as reading a disk may
	must(t, err)
	defer directory.Close()
	head, file := s.head, s.file
	err = s.writer.holding(func() error {
		tx, err := s.writer.begin()
		if err != nil {
			return err
		}
		x := s.newTxn(tx, s.writer.rows.Copy())
		x.Rows().Put(store.KindMeta, []byte("a test"), []byte{1})
		tx.OnCommit(func() { s.head, s.file = nil, directory })
		return s.writer.persist(x, func() int { return 0 })
	})
	s.head, s.file = head, file
	if !errors.Is(err, delivery.ErrOutcomeUnknown) {
		t.Errorf("got %v", err)
	}
	<-s.Failed()
	if err := s.Close(); !errors.Is(err, delivery.ErrOutcomeUnknown) || strings.Contains(err.Error(), "another program") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Close says %v", err)
	}
	s, err = Open(path, opts)
	must(t, err)
	if s.Restored() {
		t.Error("it counts as a restored backup")
	}
	must(t, s.View(t.Context(), func(x *store.Txn) error {
		if x.Rows().Get(store.KindMeta, []byte("a test")) == nil {
			t.Error("what was committed is gone")
		}
		return nil
	}))
	must(t, s.Close())
}

// If the meta pages cannot be read before a commit, its events fail and no other does: the log
// in memory is that of the file again.
func TestMetaPagesThatCannotBeReadBeforeACommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "welcomed.db")
	opts := Options{Limits: delivery.DefaultLimits(), Clock: storetest.NewClock(), lookEvery: time.Hour, idleAfter: time.Hour}
	publishSome(t, path, opts, 5)
	s, err := Open(path, opts)
	must(t, err)
	directory, err := os.Open(filepath.Dir(path)) // reading it fails, as reading a disk may
	must(t, err)
	defer directory.Close()
	head, file := s.head, s.file
	logged := store.Kinds[slices.IndexFunc(store.Kinds[:], func(k *store.Kind) bool { return k.Name == "idempotency" })]
	put := func(name string, persist func(*fileTxn) error) error {
		return s.writer.holding(func() error {
			tx, err := s.writer.begin()
			if err != nil {
				return err
			}
			x := s.newTxn(tx, s.writer.rows.Copy())
			x.Rows().Put(logged, []byte(name), []byte{1})
			return persist(x)
		})
	}
	persist := func(x *fileTxn) error { return s.writer.persist(x, func() int { return 0 }) }
	must(t, put("before", persist))
	err = put("fails", func(x *fileTxn) error {
		s.head, s.file = nil, directory
		defer func() { s.head, s.file = head, file }()
		return persist(x)
	})
	if err == nil || errors.Is(err, delivery.ErrOutcomeUnknown) {
		t.Errorf("got %v", err)
	}
	must(t, put("succeeds", persist))
	now, err := os.ReadFile(path) // as after a kill: Close empties the log
	must(t, err)
	must(t, s.Close())
	must(t, os.WriteFile(path, now, 0o600))
	s, err = Open(path, opts)
	must(t, err)
	must(t, s.View(t.Context(), func(x *store.Txn) error {
		if x.Rows().Get(logged, []byte("fails")) != nil || x.Rows().Get(logged, []byte("succeeds")) == nil {
			t.Error("the file has what failed, or not what succeeded")
		}
		return nil
	}))
	must(t, s.Close())
}
