package bolt_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

// What others made of the compacted file is what the suite says in TestStore;
// here it is what becomes of its size and of the files.
func TestCompactGivesRoomBack(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "welcomed.db"), filepath.Join(dir, "small.db")
	s := open(t, from, bolt.Options{})
	signer := mlstest.NewSigner(1, "alice")
	for range 20 {
		item := newKeyPackage(t, signer, mlstest.WithPadding(60<<10))
		_, err := s.Replace(t.Context(), delivery.Unauthenticated(), alice, 0, []delivery.NewKeyPackage{item})
		must(t, err)
	}
	before, err := s.Inventory(t.Context(), delivery.Unauthenticated(), alice)
	must(t, err)
	must(t, s.RemoveUser(t.Context(), delivery.Unauthenticated(), "bob"))
	must(t, s.Close())
	must(t, bolt.Compact(t.Context(), from, to, nil))
	if was, is := size(t, from), size(t, to); is >= was || is > 21*64<<10 {
		t.Errorf("%d bytes of %d are left", is, was)
	}
	after, err := open(t, to, bolt.Options{}).Inventory(t.Context(), delivery.Unauthenticated(), alice)
	must(t, err)
	if after.Digest != before.Digest {
		t.Error("the inventory is another")
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.Size()
}

func TestCompactLeavesNoHalfFile(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "welcomed.db"), filepath.Join(dir, "small.db")
	makeStore(t, from)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := bolt.Compact(ctx, from, to, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != 2 { // and what was revoked
		t.Errorf("left behind: %v", left)
	}
	must(t, bolt.Compact(t.Context(), from, to, nil))
	if err := bolt.Compact(t.Context(), from, to, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file that is there: %v", err)
	}
	if err := bolt.Compact(t.Context(), filepath.Join(dir, "none.db"), filepath.Join(dir, "new.db"), nil); err == nil {
		t.Error("of a file that is not there")
	}
	s := open(t, from, bolt.Options{})
	if err := bolt.Compact(t.Context(), from, filepath.Join(dir, "new.db"), nil); err == nil {
		t.Error("while it is in use")
	}
	must(t, s.Close())
}
