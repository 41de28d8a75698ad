package bolt_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
)

// oldFormats are the formats of which there is a file.
var oldFormats = []int{3, 4}

// eachOldFormat runs a test with a file of each older format.
func eachOldFormat(t *testing.T, test func(t *testing.T, format int)) {
	for _, format := range oldFormats {
		t.Run(fmt.Sprintf("format %d", format), func(t *testing.T) { test(t, format) })
	}
}

// oldSample copies a file of an older format into a directory of its own.
func oldSample(t *testing.T, format int) (path string, v sample) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "welcomed.db")
	kept := fmt.Sprintf("testdata/format%d/", format)
	must(t, os.WriteFile(path, unzipped(t, kept+"welcomed.db.gz"), 0o600))
	must(t, json.Unmarshal(unzipped(t, kept+"answers.json.gz"), &v.Sample))
	return path, v
}

func copyOf(path string) string { return path + ".before-format-5" }

// A file of an older format, made by the server that wrote it, gives the same
// answers, and a copy of it is kept that gives them too.
func TestAFileOfAnOlderFormatIsBroughtToThisOne(t *testing.T) {
	eachOldFormat(t, requireUpgrade)
}

func requireUpgrade(t *testing.T, format int) {
	path, v := oldSample(t, format)
	s := v.open(t, path)
	up, ok := s.Upgraded()
	if want := (bolt.Upgrade{From: format, To: 5, Copy: copyOf(path)}); !ok || up != want {
		t.Errorf("upgraded %v, %v", up, ok)
	}
	requireShelves(t, s)
	storetest.SameAnswers(t, v.Ask(t, s), v.Answers)
	requireShelves(t, s)
	must(t, s.Close())
	must(t, bolt.Check(t.Context(), path))
	s = v.open(t, path)
	if _, again := s.Upgraded(); again {
		t.Error("it was upgraded again")
	}
	must(t, bolt.Check(t.Context(), copyOf(path)))
	storetest.SameAnswers(t, v.Ask(t, v.open(t, copyOf(path))), v.Answers)
}

// requireShelves compares what is counted by suite with what is listed.
func requireShelves(t *testing.T, s *bolt.Store) {
	t.Helper()
	stats, err := s.Stats(t.Context())
	must(t, err)
	want, n := map[mls.CipherSuite]delivery.Shelf{}, 0
	for _, id := range append(storetest.SampleDevices, storetest.LastDevice) {
		inv, err := s.Inventory(t.Context(), delivery.Unauthenticated(), id)
		must(t, err)
		for _, c := range inv.Counts {
			shelf := want[c.Suite]
			shelf.Available += c.Available
			want[c.Suite] = shelf
			n += c.Available
		}
		for _, k := range inv.LastResort {
			shelf := want[k.Suite]
			shelf.LastResort, shelf.Available = shelf.LastResort+1, shelf.Available-1
			want[k.Suite] = shelf
		}
	}
	if fmt.Sprint(stats.Shelves) != fmt.Sprint(want) || n == 0 {
		t.Errorf("on the shelves: %v, want %v", stats.Shelves, want)
	}
}

// A start that is interrupted begins again: a copy that it has made is kept once,
// one that it has half made is made anew, and another's is not written over.
func TestACopyBeforeAnUpgradeIsKeptOnce(t *testing.T) {
	path, v := oldSample(t, 3)
	old, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(copyOf(path)+".part", old[:5000], 0o600))
	must(t, v.open(t, path).Close())
	kept, err := os.ReadFile(copyOf(path))
	must(t, err)

	must(t, os.WriteFile(path, old, 0o600)) // as if it had been killed after the copy
	must(t, v.open(t, path).Close())
	requireFiles(t, filepath.Dir(path), "welcomed.db", "welcomed.db.before-format-5", "welcomed.db.revoked")

	must(t, os.WriteFile(copyOf(path), []byte("another"), 0o600))
	must(t, os.WriteFile(path, old, 0o600))
	s := v.open(t, path)
	if up, _ := s.Upgraded(); up.Copy != copyOf(path)+".2" {
		t.Errorf("the copy is %s", up.Copy)
	}
	requireFiles(t, filepath.Dir(path), "welcomed.db", "welcomed.db.before-format-5", "welcomed.db.before-format-5.2", "welcomed.db.revoked")
	if second, err := os.ReadFile(copyOf(path) + ".2"); err != nil || !bytes.Equal(second, kept) {
		t.Errorf("the second copy is another, %v", err)
	}
}

func requireFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if fmt.Sprint(names) != fmt.Sprint(want) {
		t.Errorf("the files are %v, want %v", names, want)
	}
}

// Where a copy cannot be kept, or the file cannot be read to its end, it stays as
// it is and the server does not start.
func TestAnUpgradeThatFailsLeavesTheFile(t *testing.T) {
	for name, row := range map[string]struct {
		spoil func(t *testing.T, path string)
		says  string
	}{
		"there is something else in the place of the copy": {func(t *testing.T, path string) {
			must(t, os.Mkdir(copyOf(path)+".part", 0o700))
			must(t, os.WriteFile(filepath.Join(copyOf(path)+".part", "x"), nil, 0o600))
		}, "a copy could not be kept"},
		"a piece of the log cannot be read": {func(t *testing.T, path string) {
			damage(t, path, func(tx *bbolt.Tx) error {
				log := tx.Bucket([]byte("log"))
				var slot, newest []byte // a piece begins with its number
				must(t, log.ForEach(func(k, v []byte) error {
					if bytes.Compare(v, newest) > 0 {
						slot, newest = bytes.Clone(k), bytes.Clone(v[:8])
					}
					return nil
				}))
				return log.Put(slot, append(newest, 0xff, 0xff, 0xff))
			})
		}, "corrupt"},
	} {
		t.Run(name, func(t *testing.T) {
			path, _ := oldSample(t, 3)
			row.spoil(t, path)
			before, err := os.ReadFile(path)
			must(t, err)
			_, err = bolt.Open(path, bolt.Options{Limits: delivery.DefaultLimits()})
			if err == nil || !strings.Contains(err.Error(), row.says) || !strings.Contains(err.Error(), "left as it is") && !strings.Contains(err.Error(), "left as it was") || strings.Contains(err.Error(), "\n") {
				t.Errorf("it says %v", err)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
				t.Errorf("the file was changed, %v", err)
			}
		})
	}
}

func damage(t *testing.T, path string, fn func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, PageSize: 4096, FreelistType: bbolt.FreelistArrayType})
	must(t, err)
	must(t, errors.Join(db.Update(fn), db.Close()))
}

// A backup of an older format can be restored, and so can a copy from before the
// upgrade.
func TestABackupOfAnOlderFormatIsRestored(t *testing.T) {
	eachOldFormat(t, requireRestore)
}

func requireRestore(t *testing.T, format int) {
	path, v := oldSample(t, format)
	must(t, bolt.Check(t.Context(), path))
	must(t, bolt.MarkRestored(t.Context(), path))
	s := v.open(t, path)
	if _, ok := s.Upgraded(); !ok || !s.Restored() {
		t.Errorf("upgraded %v, restored %v", ok, s.Restored())
	}
	stats, err := s.Stats(t.Context())
	must(t, err)
	for suite, shelf := range stats.Shelves {
		if shelf.Available != 0 || shelf.LastResort == 0 {
			t.Errorf("suite %d after a restore: %v", suite, shelf)
		}
	}
	must(t, s.Close())
	must(t, bolt.Check(t.Context(), path))
}

// A file of an older format can be compacted, and is of that format then.
func TestAFileOfAnOlderFormatIsCompacted(t *testing.T) {
	eachOldFormat(t, requireCompaction)
}

func requireCompaction(t *testing.T, format int) {
	path, v := oldSample(t, format)
	small := filepath.Join(t.TempDir(), "small.db")
	must(t, bolt.Compact(t.Context(), path, small, nil))
	s := v.open(t, small)
	if _, ok := s.Upgraded(); !ok {
		t.Error("it was not upgraded")
	}
	storetest.SameAnswers(t, v.Ask(t, s), v.Answers)
	if _, err := os.Stat(copyOf(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the source was upgraded too: %v", err)
	}
}

// When a backup was safe is known after a restart.
func TestANotedBackupIsKept(t *testing.T) {
	path, v := oldSample(t, 3)
	s := v.open(t, path)
	stats, err := s.Stats(t.Context())
	must(t, err)
	if !stats.BackedUpAt.IsZero() {
		t.Errorf("backed up at %v", stats.BackedUpAt)
	}
	must(t, s.NoteBackup(t.Context()))
	must(t, s.Close())
	stats, err = v.open(t, path).Stats(t.Context())
	must(t, err)
	if want := time.Date(2030, time.March, 4+v.Days, 9, 0, 0, 0, time.UTC); !stats.BackedUpAt.Equal(want) {
		t.Errorf("backed up at %v, want %v", stats.BackedUpAt, want)
	}
	if stats.DiskFreeBytes == 0 || stats.DiskFreeBytes < -1 {
		t.Errorf("%d bytes are free on the disk", stats.DiskFreeBytes)
	}
}

// A file of format 4 that was restored has rows, merged and in the log, that format 5
// has no more.
func TestRowsOfDoubtsAreRemoved(t *testing.T) {
	path, v := oldSample(t, 4)
	damage(t, path, func(tx *bbolt.Tx) error {
		rows, log := tx.Bucket([]byte("rows")), tx.Bucket([]byte("log"))
		var keys [][]byte // of two devices
		c := rows.Cursor()
		for k, _ := c.Seek([]byte{'d'}); len(keys) < 2 && k[0] == 'd'; k, _ = c.Next() {
			if k[7] == 0 {
				keys = append(keys, append(bytes.Clone(k[:7]), 0x70))
			}
		}
		newest, slot := uint64(0), uint32(0)
		must(t, log.ForEach(func(k, v []byte) error {
			newest = max(newest, binary.BigEndian.Uint64(v))
			slot = max(slot, binary.BigEndian.Uint32(k))
			return nil
		}))
		piece := append(binary.BigEndian.AppendUint64(nil, newest+1), byte(len(keys[1])))
		piece = append(append(piece, keys[1]...), 9, 1, 2, 3, 4, 5, 6, 7, 8)
		return errors.Join(rows.Put(keys[0], make([]byte, 8)), log.Put(binary.BigEndian.AppendUint32(nil, slot+1), piece))
	})
	must(t, bolt.Check(t.Context(), path))
	must(t, v.open(t, path).Close())
	must(t, bolt.Check(t.Context(), path))
}
