package bolt_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/store"
)

// commits returns the file after each of n publications of one KeyPackage, and what
// had been published then.
func commits(t *testing.T, n int, opts bolt.Options) (files [][]byte, refs [][]mls.KeyPackageRef) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "welcomed.db")
	s := open(t, path, opts)
	signer := mlstest.NewSigner(1, "alice")
	var published []mls.KeyPackageRef
	for range n {
		item := newKeyPackage(t, signer)
		_, err := s.Publish(t.Context(), delivery.Unauthenticated(), alice, []delivery.NewKeyPackage{item})
		must(t, err)
		b, err := os.ReadFile(path)
		must(t, err)
		published = append(published, item.Ref)
		files, refs = append(files, b), append(refs, slices.Clone(published))
	}
	return files, refs
}

// lie is what a disk has that wrote the meta page of the last commit and nothing else
// of it: what was there before is there, or zeros.
func lie(before, after []byte, zeros bool) []byte {
	const page = 4096
	b := slices.Clone(after)
	for at := 2 * page; at < len(after); at += page {
		old := make([]byte, page)
		if !zeros && at < len(before) {
			copy(old, before[at:])
		}
		if at >= len(before) || string(after[at:at+page]) != string(before[at:at+page]) {
			copy(b[at:], old)
		}
	}
	return b
}

// A disk that had not kept the last commit costs that commit and no other, and what it
// may have handed out is not handed out again.
func TestADiskThatLostTheLastCommit(t *testing.T) {
	opts := bolt.Options{Clock: storetest.NewClock()}
	files, refs := commits(t, 12, opts)
	stepped, repaired := 0, 0
	for i := 1; i < len(files); i++ {
		for _, zeros := range []bool{false, true} {
			path := filepath.Join(t.TempDir(), "welcomed.db")
			write(t, path, lie(files[i-1], files[i], zeros))
			limited := opts
			limited.Limits = delivery.DefaultLimits()
			report, err := bolt.Examine(t.Context(), path, store.CheckOptions{})
			must(t, err)
			if !report.LostCommit || report.Sound() {
				t.Fatalf("commit %d, zeros %v: check says %+v", i, zeros, report)
			}
			s, err := bolt.Open(path, limited)
			if err == nil {
				stepped++
				if !strings.Contains(s.RestoredBecause(), "had not kept the last commit") {
					t.Errorf("commit %d: it is restored because %q", i, s.RestoredBecause())
				}
			} else {
				repaired++
				if !strings.Contains(err.Error(), "check --repair") || strings.Contains(err.Error(), "\n") {
					t.Fatalf("commit %d, zeros %v: %v", i, zeros, err)
				}
				report, err := bolt.Repair(t.Context(), path, store.CheckOptions{})
				must(t, err)
				if !report.LostCommit || !report.Sound() || report.Copy == "" {
					t.Errorf("commit %d: repair says %+v", i, report)
				}
				s = open(t, path, opts)
			}
			if !s.Restored() {
				t.Errorf("commit %d: it does not count as a restored one", i)
			}
			inv, err := s.Inventory(t.Context(), delivery.Unauthenticated(), alice)
			must(t, err)
			slices.Sort(inv.Refs)
			want := slices.Sorted(slices.Values(refs[i-1]))
			if !slices.Equal(inv.Refs, want) || inv.Counts[0].Available != 0 {
				t.Errorf("commit %d: %d KeyPackages are there, want %d, none on the shelf: %+v", i, len(inv.Refs), len(want), inv.Counts)
			}
			must(t, errors.Join(s.Close(), bolt.Check(t.Context(), path)))
		}
	}
	t.Logf("%d opened by themselves, %d were repaired", stepped, repaired)
	if stepped == 0 || repaired == 0 {
		t.Error("one of the ways was not tried")
	}
}

// A file whose last commit is there opens as it is, whoever wrote it.
func TestEveryWriterNumbersItsCommit(t *testing.T) {
	opts := bolt.Options{Clock: storetest.NewClock(), Limits: delivery.DefaultLimits()}
	path := filepath.Join(t.TempDir(), "welcomed.db")
	makeStore(t, path)
	for what, do := range map[string]func() error{
		"mark":    func() error { return bolt.MarkRestored(t.Context(), path) },
		"compact": func() error { return bolt.CompactInPlace(t.Context(), path, nil) },
		"repair":  func() error { _, err := bolt.Repair(t.Context(), path, store.CheckOptions{}); return err },
		"export":  func() error { export(t, path, true); return bolt.MarkRestored(t.Context(), path) },
	} {
		must(t, do())
		report, err := bolt.Examine(t.Context(), path, store.CheckOptions{})
		if err != nil || !report.Sound() {
			t.Errorf("after %s: %+v, %v", what, report, err)
		}
		s, err := bolt.Open(path, opts)
		must(t, err)
		if because := s.RestoredBecause(); because != "" && because != "it is a copy" {
			t.Errorf("after %s: %s", what, because)
		}
		must(t, s.Close())
	}
}
