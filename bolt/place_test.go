package bolt_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls/mlstest"
)

// Into a file that is no longer where it was nothing is written; once it is back,
// all goes on.
func TestAFileThatIsGoneTakesNoChanges(t *testing.T) {
	for _, row := range []struct {
		name   string
		remove func(t *testing.T, dir, path string)
		back   func(t *testing.T, dir, path string) // nil: it cannot be put back
		says   string
	}{
		{"removed", func(t *testing.T, _, path string) { must(t, os.Remove(path)) }, nil, "removed or renamed"},
		{"renamed", func(t *testing.T, _, path string) { must(t, os.Rename(path, path+".old")) },
			func(t *testing.T, _, path string) { must(t, os.Rename(path+".old", path)) }, "removed or renamed"},
		{"replaced", func(t *testing.T, _, path string) {
			must(t, os.Rename(path, path+".old"))
			write(t, path, []byte("another"))
		}, func(t *testing.T, _, path string) { must(t, os.Rename(path+".old", path)) }, "replaced by another file"},
		{"with its directory", func(t *testing.T, dir, _ string) { must(t, os.Rename(dir, dir+".old")) },
			func(t *testing.T, dir, _ string) { must(t, os.Rename(dir+".old", dir)) }, "removed or renamed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			must(t, os.Mkdir(dir, 0o700))
			path := filepath.Join(dir, "welcomed.db")
			s := open(t, path, bolt.Options{Clock: storetest.NewClock()})
			signer := mlstest.NewSigner(1, "alice")
			publish := func() error {
				_, err := s.Publish(t.Context(), delivery.Unauthenticated(), alice, []delivery.NewKeyPackage{newKeyPackage(t, signer)})
				return err
			}
			must(t, publish())
			row.remove(t, dir, path)
			_, swept := s.Sweep(t.Context())
			for what, err := range map[string]error{"publish": publish(), "ready": s.Ready(t.Context()), "sweep": swept} {
				if !errors.Is(err, delivery.ErrUnavailable) || !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: %v", what, err)
				}
			}
			if _, err := s.Inventory(t.Context(), delivery.Unauthenticated(), alice); err != nil {
				t.Errorf("reading: %v", err)
			}
			if row.back == nil {
				return
			}
			row.back(t, dir, path)
			must(t, publish())
			must(t, s.Ready(t.Context()))
		})
	}
}

// A file that is cut short is a fault to whoever reads what is mapped of it. It
// ends the store, not the process.
func TestAFileThatIsCutShortEndsTheStore(t *testing.T) {
	for what, use := range map[string]func(s *bolt.Store) error{
		"reading": func(s *bolt.Store) error {
			_, err := s.Inventory(t.Context(), delivery.Unauthenticated(), alice)
			return err
		},
		"writing":   func(s *bolt.Store) error { return s.RemoveDevice(t.Context(), delivery.Unauthenticated(), alice) },
		"readiness": func(s *bolt.Store) error { return s.Ready(t.Context()) },
	} {
		for size, name := range map[int64]string{0: "nothing is left", 2 * 4096: "the meta pages are left"} {
			t.Run(what+", "+name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "welcomed.db")
				makeStore(t, path)
				s, err := bolt.Open(path, bolt.Options{Limits: delivery.DefaultLimits()})
				must(t, err)
				must(t, os.Truncate(path, size))
				if err := use(s); !errors.Is(err, delivery.ErrOutcomeUnknown) {
					t.Errorf("got %v", err)
				}
				<-s.Failed()
				err = s.Close()
				if !errors.Is(err, delivery.ErrOutcomeUnknown) || !strings.Contains(err.Error(), "cut short") || strings.Contains(err.Error(), "\n") {
					t.Errorf("Close says %v", err)
				}
			})
		}
	}
}

// A file is made under another name; what a power cut left of that is in nobody's
// way.
func TestAnUnfinishedFileIsMadeAgain(t *testing.T) {
	for what, left := range map[string][]byte{"nothing": {}, "zeros": make([]byte, 16<<10), "half": []byte("half a page")} {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "welcomed.db")
			write(t, path+".new.part", left)
			makeStore(t, path)
			if _, err := os.Lstat(path + ".new"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the other name is still there: %v", err)
			}
		})
	}
}
