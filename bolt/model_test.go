package bolt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/delivery/storetest/model"
	"welcomed/store"
)

// Random sequences of events find the store and the reference in agreement,
// also when each commit merges a part of the log.
func TestModel(t *testing.T) {
	root, n := t.TempDir(), 0
	model.Check(t, func(rt *rapid.T) model.Fixture {
		n++
		dir := filepath.Join(root, strconv.Itoa(n))
		must(t, os.Mkdir(dir, 0o700))
		logSize := rapid.SampledFrom([]int64{0, 1, 4096}).Draw(rt, "log size")
		f := modelFixture(t, dir, Options{LogSize: logSize, idleAfter: time.Hour})
		if rapid.IntRange(0, 3).Draw(rt, "what was revoked is lost") == 0 {
			f = losing(f, filepath.Join(dir, "welcomed.db"))
		}
		return f
	})
}

// losing is a fixture that loses what was revoked when an older copy is put back.
func losing(f model.Fixture, path string) model.Fixture {
	put := f.Put
	f.KeepsRevoked = false
	f.Put = func(kept any, restored bool) error {
		if restored {
			if err := os.Remove(path + RevokedSuffix); err != nil {
				return err
			}
		}
		return put(kept, restored)
	}
	return f
}

// markUnchecked is MarkRestored where KeyPackages are words and not objects.
func markUnchecked(path string) error {
	db, err := openFile(path, Options{LockTimeout: time.Second})
	if err != nil {
		return err
	}
	return errors.Join(mark(db), db.Close())
}

// modelFixture keeps a store in dir. A power cut at a quiet moment leaves the
// bytes of the file as they are; that they have reached the disk is left to the
// tests of faults, so nothing is synced.
func modelFixture(t *testing.T, dir string, opts Options) model.Fixture {
	path := filepath.Join(dir, "welcomed.db")
	var last *Store
	closed, damaged := 0, false
	return model.Fixture{
		Damage: func(d storetest.Damage) { damaged = true; FlipPart(t, path, d) },
		Open: func(clock delivery.Clock, limits delivery.Limits, trust bool) (delivery.Store, error) {
			opts.Clock, opts.Limits, opts.TrustClock = clock, limits, trust
			if last != nil {
				closed += last.Commits()
			}
			s, err := Open(path, Small(opts))
			if err != nil {
				return nil, err
			}
			s.db.NoSync = true
			last = s
			return s, nil
		},
		Commits:      func() int { return closed + last.Commits() },
		KeepsRevoked: true,
		Copy:         func() (any, error) { return os.ReadFile(path) },
		Put: func(kept any, restored bool) error {
			err := os.WriteFile(path, kept.([]byte), 0o600)
			if err == nil && restored {
				err = markUnchecked(path)
			}
			return err
		},
		Compact: func() error {
			if err := Check(context.Background(), path); err != nil {
				return err
			}
			if err := Compact(context.Background(), path, path+".small", nil); err != nil {
				return err
			}
			return os.Rename(path+".small", path)
		},
		Remove: func() {
			_ = last.Close()
			if damaged {
				if r, err := Repair(context.Background(), path, store.CheckOptions{}); err != nil || !r.Sound() {
					t.Error(err, r)
				}
			}
			if err := Check(context.Background(), path); err != nil {
				t.Error(err)
			}
			_ = os.RemoveAll(dir)
		},
	}
}
