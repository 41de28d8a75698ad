package bolt

import (
	"errors"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/store"
)

// A damaged state row is an error, not a panic, also for commands, which have no request that
// would turn a panic into an error.
func TestADamagedStateRowIsAnError(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "welcomed.db")
	s, err := Open(path, Options{Limits: delivery.DefaultLimits()})
	must(t, err)
	must(t, s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta.name).Delete(keyState) }))
	must(t, s.Close())
	if err := MarkRestored(t.Context(), path); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("MarkRestored says %v", err)
	}
	if err := Compact(t.Context(), path, filepath.Join(dir, "small.db"), nil); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Compact says %v", err)
	}
}
