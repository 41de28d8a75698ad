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

// What is over leaves nothing in the file: a service that makes tokens for a year
// and revokes them every day would fill it.
func TestARevokedTokenLeavesNothing(t *testing.T) {
	clock := storetest.NewClock()
	s := openAt(t, clock)
	owner := delivery.TokenOwner{User: "alice", Device: "phone"}
	add := func(id string) {
		_, err := s.AddToken(t.Context(), delivery.Token{ID: id, Owner: owner, Expires: clock.Now().Add(10000 * time.Hour)})
		must(t, err)
	}
	add("revoked")
	must(t, s.RevokeToken(t.Context(), owner, "revoked"))
	add("removed")
	must(t, s.RemoveDevice(t.Context(), delivery.Unauthenticated(), phone))
	left := 0
	must(t, s.View(t.Context(), func(x *txn) error {
		for _, b := range []*Kind{kindTokens, kindOwners, kindTimers} {
			left += len(x.keys(b, nil, 0))
		}
		return nil
	}))
	if left > 0 {
		t.Errorf("%d rows are left", left)
	}
}

// restoredStore is a store that was put back to a backup.
func restoredStore(t *testing.T, opts Options) *Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "welcomed.db")
	s, err := Open(path, opts)
	must(t, err)
	must(t, errors.Join(s.Close(), MarkRestored(t.Context(), path)))
	s, err = Open(path, opts)
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// After a restore a device could publish old KeyPackages without end, and all of
// them would be kept beside its shelf. They are no part of its shelf.
func TestWhatIsNotAfterARestoreCountsAsRetired(t *testing.T) {
	limits := delivery.DefaultLimits()
	limits.RetiredPerDevice, limits.KeyPackagesPerDevice = 3, 2
	s := restoredStore(t, Options{Limits: limits, Clock: storetest.NewClock()})
	publish := func(n int, epoch string) error {
		item := unsigned(n)
		item.RestoreEpoch = epoch
		_, err := s.Publish(t.Context(), delivery.Unauthenticated(), phone, []delivery.NewKeyPackage{item})
		return err
	}
	for n := range limits.RetiredPerDevice {
		must(t, publish(n, ""))
	}
	full, ok := errors.AsType[*delivery.StockFullError](publish(9, ""))
	if !ok || full.Full != delivery.FullRetired {
		t.Errorf("one more: %v", full)
	}
	must(t, publish(10, s.restore.Epoch))
	must(t, publish(11, s.restore.Epoch))
}

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
