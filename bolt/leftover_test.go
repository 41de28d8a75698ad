package bolt

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
)

// A store that gives up after its writer has started takes it along.
func TestAStoreThatDoesNotOpenLeavesNoWriter(t *testing.T) {
	clock := storetest.NewClock()
	clock.Jump(time.Unix(0, 0).Sub(clock.Now()))
	opts := Options{Limits: delivery.DefaultLimits(), Clock: clock}
	path := filepath.Join(t.TempDir(), "welcomed.db")
	s, err := Open(path, opts)
	must(t, err)
	must(t, errors.Join(s.Close(), MarkRestored(t.Context(), path)))
	before := writers()
	if s, err := Open(path, opts); !errors.Is(err, delivery.ErrClock) {
		t.Errorf("opened %v, %v", s, err)
	}
	if n := writers(); n != before {
		t.Errorf("%d writers, %d before", n, before)
	}
}

func writers() int {
	b := make([]byte, 1<<20)
	return strings.Count(string(b[:runtime.Stack(b, true)]), "(*committer).loop(")
}

// An operator's own copy beside the database is not written over.
func TestABackupLeavesOtherCopiesAlone(t *testing.T) {
	s := openAt(t, storetest.NewClock())
	own := s.Path() + ".copy"
	must(t, os.WriteFile(own, []byte("a copy"), 0o600))
	f, err := s.Backup(t.Context())
	must(t, err)
	must(t, f.Close())
	if b, err := os.ReadFile(own); string(b) != "a copy" {
		t.Errorf("the copy is %q, %v", b, err)
	}
}
