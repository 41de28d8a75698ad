package bolt_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

var alice = delivery.DeviceID{User: "alice", Name: "phone"}

func open(t *testing.T, path string, opts bolt.Options) *bolt.Store {
	t.Helper()
	opts.Limits = delivery.DefaultLimits()
	s, err := bolt.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newKeyPackage(t testing.TB, signer *mlstest.Signer, opts ...mlstest.Option) delivery.NewKeyPackage {
	t.Helper()
	kp, err := mls.ParseKeyPackage(signer.KeyPackage(opts...))
	if err != nil {
		t.Fatal(err)
	}
	return delivery.Publication(kp)
}

// A file that cannot be used is named in one sentence and left as it is.
func TestOpenRefuses(t *testing.T) {
	for _, row := range []struct {
		name string
		make func(t *testing.T, path string)
		says string
	}{
		{"a file of something else", func(t *testing.T, path string) { write(t, path, bytes.Repeat([]byte("no database "), 2000)) }, "is corrupt or not a database"},
		{"a short file", func(t *testing.T, path string) { write(t, path, []byte("x")) }, "is corrupt or not a database"},
		{"a file cut in half", func(t *testing.T, path string) { makeStore(t, path); truncate(t, path) }, "is corrupt or not a database"},
		{"another bbolt file", func(t *testing.T, path string) {
			update(t, path, func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
		}, "not a welcomed database"},
		{"a newer format", func(t *testing.T, path string) {
			makeStore(t, path)
			update(t, path, func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("meta")).Put([]byte("format"), binary.BigEndian.AppendUint32(nil, 99))
			})
		}, "version 99"},
		{"an older format", func(t *testing.T, path string) {
			makeStore(t, path)
			update(t, path, func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("meta")).Put([]byte("format"), binary.BigEndian.AppendUint32(nil, 2))
			})
		}, "version 2, which was never released"},
		{"a directory", func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, "database"},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "welcomed.db")
			row.make(t, path)
			before, _ := os.ReadFile(path)
			s, err := bolt.Open(path, bolt.Options{Limits: delivery.DefaultLimits()})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), path) {
				t.Errorf("says %q, want one line with the path and %q", err, row.says)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

// Wherever a page is damaged, opening says so in one line or goes well; it never
// dies.
func TestOpenSurvivesADamagedPage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "welcomed.db")
	makeStore(t, path)
	whole, err := os.ReadFile(path)
	must(t, err)
	refused := 0
	whole = whole[:(len(bytes.TrimRight(whole, "\x00"))+4095)/4096*4096] // without what is set aside
	for page := 0; page < len(whole)/4096; page++ {
		damaged := bytes.Clone(whole)
		copy(damaged[page*4096:], mlstest.Random(4096))
		path := filepath.Join(dir, fmt.Sprintf("%d.db", page))
		write(t, path, damaged)
		s, err := bolt.Open(path, bolt.Options{Limits: delivery.DefaultLimits()})
		if err == nil {
			must(t, s.Close())
			continue
		}
		refused++
		if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), path) {
			t.Errorf("page %d: %q is not one line with the path", page, err)
		}
	}
	if refused == 0 {
		t.Error("no damage was seen")
	}
}

func TestOpenRefusesAFileInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "welcomed.db")
	open(t, path, bolt.Options{})
	_, err := bolt.Open(path, bolt.Options{Limits: delivery.DefaultLimits(), LockTimeout: 10 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("got %v", err)
	}
}

func TestOpenRefusesAMissingDirectory(t *testing.T) {
	_, err := bolt.Open(filepath.Join(t.TempDir(), "gone", "welcomed.db"), bolt.Options{Limits: delivery.DefaultLimits()})
	if err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("got %v", err)
	}
}

func TestTheFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "welcomed.db")
	open(t, path, bolt.Options{})
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
}

// fill publishes KeyPackages of 60 KiB until the store refuses, and returns
// what was acknowledged.
func fill(t *testing.T, s *bolt.Store) (stored []mls.KeyPackageRef, err error) {
	t.Helper()
	signer := mlstest.NewSigner(1, "alice")
	for range 4000 {
		item := newKeyPackage(t, signer, mlstest.WithPadding(60<<10))
		if _, err := s.Publish(t.Context(), delivery.Unauthenticated(), alice, []delivery.NewKeyPackage{item}); err != nil {
			return stored, err
		}
		stored = append(stored, item.Ref)
	}
	t.Fatal("never full")
	return nil, nil
}

func checkFull(t *testing.T, s *bolt.Store, reopen func() *bolt.Store) {
	t.Helper()
	stored, err := fill(t, s)
	if !errors.Is(err, delivery.ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	if len(stored) == 0 {
		t.Fatal("full before anything was stored")
	}
	checkStored(t, s, stored)
	checkStored(t, reopen(), stored)
}

func checkStored(t *testing.T, s *bolt.Store, stored []mls.KeyPackageRef) {
	t.Helper()
	inv, err := s.Inventory(t.Context(), delivery.Unauthenticated(), alice)
	must(t, err)
	if len(inv.Refs) != len(stored) {
		t.Errorf("%d KeyPackages are there, %d were acknowledged", len(inv.Refs), len(stored))
	}
	must(t, s.Ready(t.Context()))
}

func TestTheSizeLimitLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "welcomed.db")
	s := open(t, path, bolt.Options{MaxSize: 4 << 20})
	checkFull(t, s, func() *bolt.Store {
		must(t, s.Close())
		return open(t, path, bolt.Options{})
	})
}

func TestAFullDiskLosesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	path, clock := filepath.Join(dir, "welcomed.db"), storetest.NewClock()
	s := open(t, path, bolt.Options{Clock: clock})
	checkFull(t, s, func() *bolt.Store {
		// With no block left on the disk, a device is answered all the same.
		_ = os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 4<<20), 0o600)
		clock.Advance(25 * time.Hour)
		_, err := s.Claim(t.Context(), delivery.Unauthenticated(), alice, delivery.ClaimOptions{})
		must(t, err)
		must(t, os.Remove(filepath.Join(dir, "ballast")))
		must(t, s.Close())
		return open(t, path, bolt.Options{Clock: clock})
	})
}

// At the size limit, what makes room goes on, and then there is room again.
func TestTheSizeLimitIsRecoveredFrom(t *testing.T) {
	clock := storetest.NewClock()
	s := open(t, filepath.Join(t.TempDir(), "welcomed.db"), bolt.Options{MaxSize: 8 << 20, Clock: clock})
	signer := mlstest.NewSigner(1, "bob")
	bob := delivery.DeviceID{User: "bob", Name: "phone"}
	item := newKeyPackage(t, signer)
	_, err := s.Publish(t.Context(), delivery.Unauthenticated(), bob, []delivery.NewKeyPackage{item})
	must(t, err)
	w, err := mls.ParseWelcome(mlstest.Welcome(1, item.Ref))
	must(t, err)
	posted, err := s.Post(t.Context(), delivery.Unauthenticated(), delivery.Posting{Welcome: w})
	must(t, err)
	if _, err := fill(t, s); !errors.Is(err, delivery.ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	r, err := s.Claim(t.Context(), delivery.Unauthenticated(), bob, delivery.ClaimOptions{})
	must(t, err)
	if len(r.Deliveries) != 1 {
		t.Fatalf("%d Welcomes", len(r.Deliveries))
	}
	must(t, s.Acknowledge(t.Context(), delivery.Unauthenticated(), bob, posted.ID, ""))
	must(t, s.RemoveDevice(t.Context(), delivery.Unauthenticated(), alice))
	clock.Advance(25 * time.Hour)
	_, err = s.Sweep(t.Context())
	must(t, err)
	_, err = s.Publish(t.Context(), delivery.Unauthenticated(), alice, []delivery.NewKeyPackage{newKeyPackage(t, signer)})
	must(t, err)
}

// What was on a shelf when a copy was made is not handed out again from the
// copy, but a Welcome for it is still matched; last-resort ones stay.
func TestARestoredFileRetiresItsShelves(t *testing.T) {
	dir := t.TempDir()
	path, restored := filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db")
	signer := mlstest.NewSigner(1, "alice")
	item, last := newKeyPackage(t, signer), newKeyPackage(t, signer, mlstest.LastResort())
	s := open(t, path, bolt.Options{})
	_, err := s.Publish(t.Context(), delivery.Unauthenticated(), alice, []delivery.NewKeyPackage{item, last})
	must(t, err)
	must(t, s.Close())
	copied, err := os.ReadFile(path)
	must(t, err)
	write(t, restored, copied)
	must(t, bolt.MarkRestored(t.Context(), restored))

	s = open(t, restored, bolt.Options{})
	answer, err := s.Reserve(t.Context(), delivery.Caller{User: "bob"}, delivery.ReserveRequest{Users: []delivery.UserID{"alice"}})
	must(t, err)
	if got := answer.Users[0].Devices[0]; got.Status != delivery.DeviceLastResort {
		t.Errorf("reserved %s from a restored shelf", got.Status)
	}
	w, err := mls.ParseWelcome(mlstest.Welcome(1, item.Ref))
	must(t, err)
	_, err = s.Post(t.Context(), delivery.Caller{User: "bob"}, delivery.Posting{Welcome: w})
	must(t, err)
	must(t, s.Close())

	// The mark is gone: what is made after the restore stays on the shelf.
	s = open(t, restored, bolt.Options{})
	inv, err := s.Inventory(t.Context(), delivery.Unauthenticated(), alice)
	must(t, err)
	fresh := newKeyPackage(t, signer)
	fresh.RestoreEpoch = inv.RestoreEpoch
	_, err = s.Publish(t.Context(), delivery.Unauthenticated(), alice, []delivery.NewKeyPackage{fresh})
	must(t, err)
	must(t, s.Close())
	s = open(t, restored, bolt.Options{})
	inv, err = s.Inventory(t.Context(), delivery.Unauthenticated(), alice)
	must(t, err)
	if inv.Counts[0].Available != 2 {
		t.Errorf("counts %+v, want 2 available", inv.Counts)
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	must(t, os.WriteFile(path, b, 0o600))
}

func truncate(t *testing.T, path string) {
	t.Helper()
	must(t, os.Truncate(path, 10*4096+100)) // what follows its last page is set aside
}

func makeStore(t *testing.T, path string) {
	t.Helper()
	s := open(t, path, bolt.Options{})
	signer := mlstest.NewSigner(1, "alice")
	for i := range 40 {
		_, err := s.Publish(t.Context(), delivery.Unauthenticated(), delivery.DeviceID{User: "alice", Name: fmt.Sprint(i)}, []delivery.NewKeyPackage{newKeyPackage(t, signer)})
		must(t, err)
	}
	must(t, s.Close())
}

func update(t *testing.T, path string, fn func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, PageSize: 4096})
	must(t, err)
	must(t, db.Update(fn))
	must(t, db.Close())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
