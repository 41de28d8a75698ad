package bolt_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"welcomed/bolt"
	"welcomed/delivery/storetest"
	"welcomed/store"
)

// sampleFile makes a file of this format and closes it.
func sampleFile(t *testing.T) (path string, v sample) {
	t.Helper()
	path, v = oldSample(t, 3)
	must(t, v.open(t, path).Close())
	must(t, os.Remove(copyOf(path)))
	return path, v
}

// A fileDamage is one thing that is wrong with a file, in the terms of doc.go. All that can
// be wrong with rows is in package store.
type fileDamage struct {
	name       string
	says       string // the finding
	repairable bool
	differs    bool // some answers are others after the repair
	do         func(rows, welcomes *bbolt.Bucket) error
}

// damages are done to what sampleFile returns. Its Welcomes are of an older format, in
// which rows have no checksums.
var damages = []fileDamage{
	{"a name is gone", "is not found by its name", true, false, func(rows, _ *bbolt.Bucket) error {
		return rows.Delete([]byte("nalice\x00phone"))
	}},
	{"a name is of no device", "has no device", true, false, func(rows, _ *bbolt.Bucket) error {
		return rows.Put([]byte("nzoe\x00phone"), []byte{0, 0, 0, 9, 9, 9})
	}},
	{"a ref is gone", "is not found by its ref", true, false, func(rows, _ *bbolt.Bucket) error {
		key, _ := firstOf(rows, "r")
		return rows.Delete(key)
	}},
	{"a ref is of nothing", "has no KeyPackage", true, false, func(rows, _ *bbolt.Bucket) error {
		_, device := firstOf(rows, "n")
		return rows.Put([]byte("r12345678"), append(device, 0, 0, 0, 9, 9, 9, 2))
	}},
	{"an id is gone", "is not found by its id", true, false, func(rows, _ *bbolt.Bucket) error {
		key, _ := firstOf(rows, "i")
		return rows.Delete(key)
	}},
	{"an owner does not have a token", "is not among its owner's", true, false, func(rows, _ *bbolt.Bucket) error {
		key, _ := firstOf(rows, "o")
		return rows.Delete(key)
	}},
	{"a row is of no kind", "is of no kind that there is", false, false, func(rows, _ *bbolt.Bucket) error {
		return rows.Put([]byte("zz"), []byte("z"))
	}},
	{"a piece of a tree is gone", "the ratchet tree of Welcome", true, true, func(rows, welcomes *bbolt.Bucket) error {
		key, _ := firstOf(welcomes, waiting(rows)+"\x01")
		return welcomes.Delete(key)
	}},
	{"a bit of a tree is flipped", "the ratchet tree of Welcome", true, true, flipLast(1)},
	{"a bit of an encrypted_group_info is flipped", "the bytes of Welcome", true, true, flipLast(0)},
	{"a bit of a secret is flipped", "the bytes of Welcome", true, true, flipLast(2)},
}

// firstOf returns the first row whose key begins with prefix.
func firstOf(b *bbolt.Bucket, prefix string) (key, row []byte) {
	key, row = b.Cursor().Seek([]byte(prefix))
	if !bytes.HasPrefix(key, []byte(prefix)) {
		panic("there is no such row to damage")
	}
	return bytes.Clone(key), bytes.Clone(row)
}

// waiting is the number of a Welcome that somebody may still claim.
func waiting(rows *bbolt.Bucket) string {
	c := rows.Cursor()
	for key, _ := c.Seek([]byte{'d'}); key[0] == 'd'; key, _ = c.Next() {
		if key[7] == 0x10 {
			return string(key[8:14])
		}
	}
	panic("no Welcome waits")
}

// flipLast flips a bit at the end of a part of a Welcome that somebody may still claim.
func flipLast(part byte) func(rows, welcomes *bbolt.Bucket) error {
	return func(rows, welcomes *bbolt.Bucket) error {
		key, row := firstOf(welcomes, waiting(rows)+string(rune(part)))
		row[len(row)-1] ^= 1
		return welcomes.Put(key, row)
	}
}

// doTo damages the file at path in one commit, which is whole.
func doTo(t *testing.T, path string, all ...fileDamage) {
	t.Helper()
	update(t, path, func(tx *bbolt.Tx) error {
		meta := tx.Bucket([]byte("meta"))
		commit := binary.BigEndian.AppendUint64(nil, uint64(tx.ID()))
		err := meta.Put([]byte("commit"), append(commit, meta.Get([]byte("commit"))[8:]...))
		for _, d := range all {
			err = errors.Join(err, d.do(tx.Bucket([]byte("rows")), tx.Bucket([]byte("welcomes"))))
		}
		return err
	})
}

// What is wrong with a file is found, and nothing else; what can be repaired is, after a
// copy was kept, and then the file answers as it did before.
func TestADamagedFileIsRepaired(t *testing.T) {
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) { findAndRepair(t, d) })
	}
}

func findAndRepair(t *testing.T, d fileDamage) {
	path, v := sampleFile(t)
	doTo(t, path, d)
	found, err := bolt.Examine(t.Context(), path, store.CheckOptions{})
	must(t, err)
	requireFinding(t, found, d)
	if err := bolt.Check(t.Context(), path); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("Check says %v", err)
	}
	damaged, err := os.ReadFile(path)
	must(t, err)
	repaired, err := bolt.Repair(t.Context(), path, store.CheckOptions{})
	must(t, err)
	if found.Repairable > 0 {
		requireCopy(t, repaired.Copy, path, damaged)
	}
	if !d.repairable {
		if repaired.Sound() || repaired.Repairable > 0 {
			t.Errorf("after a repair: %+v", repaired)
		}
		return
	}
	if !repaired.Sound() || repaired.Repaired == 0 {
		t.Fatalf("after a repair: %+v", repaired)
	}
	must(t, bolt.Check(t.Context(), path))
	if !d.differs {
		storetest.SameAnswers(t, v.Ask(t, v.open(t, path)), v.Answers)
	}
}

func requireFinding(t *testing.T, r *store.Report, d fileDamage) {
	t.Helper()
	for _, f := range r.Findings {
		if strings.Contains(f.Text, "\n") {
			t.Errorf("a finding is %q", f.Text)
		}
		if strings.Contains(f.Text, d.says) && f.Repairable == d.repairable {
			return
		}
	}
	t.Fatalf("not found: %+v", r.Findings)
}

func requireCopy(t *testing.T, copied, path string, damaged []byte) {
	t.Helper()
	if copied != path+".before-repair" {
		t.Fatalf("the copy is %q", copied)
	}
	b, err := os.ReadFile(copied)
	must(t, err)
	if len(b) > len(damaged) || string(b[8192:]) != string(damaged[8192:len(b)]) {
		t.Error("the copy is another file")
	}
}

// What is found is counted, and shown up to a number.
func TestAReportIsBounded(t *testing.T) {
	path, _ := sampleFile(t)
	doTo(t, path, damages[:6]...)
	r, err := bolt.Examine(t.Context(), path, store.CheckOptions{Most: 2})
	must(t, err)
	if len(r.Findings) != 2 || r.Found < 4 || r.Repairable != r.Found {
		t.Errorf("%+v", r)
	}
}

// A sound file is not touched, by a check or by a repair.
func TestASoundFileIsNotTouched(t *testing.T) {
	path, _ := sampleFile(t)
	before, err := os.ReadFile(path)
	must(t, err)
	for _, examine := range []func() (*store.Report, error){
		func() (*store.Report, error) { return bolt.Examine(t.Context(), path, store.CheckOptions{}) },
		func() (*store.Report, error) { return bolt.Repair(t.Context(), path, store.CheckOptions{}) },
	} {
		r, err := examine()
		must(t, err)
		if !r.Sound() || r.Copy != "" || r.Devices < 5 || r.KeyPackages < 70 || r.Welcomes < 20 {
			t.Errorf("%+v", r)
		}
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if string(before) != string(after) {
		t.Error("it was changed")
	}
	requireFiles(t, filepath.Dir(path), "welcomed.db", "welcomed.db.revoked")
}

// A file is compacted in its place, and nothing else is left.
func TestAFileIsCompactedInPlace(t *testing.T) {
	path, v := sampleFile(t)
	before := size(t, path)
	must(t, os.WriteFile(path+".compact.part", []byte("of a compaction that was killed"), 0o600))
	must(t, bolt.CompactInPlace(t.Context(), path, nil))
	if after := size(t, path); after >= before {
		t.Errorf("it has %d bytes and had %d", after, before)
	}
	requireFiles(t, filepath.Dir(path), "welcomed.db", "welcomed.db.revoked")
	storetest.SameAnswers(t, v.Ask(t, v.open(t, path)), v.Answers)

	path, v = sampleFile(t)
	doTo(t, path, damages[0])
	damaged, err := os.ReadFile(path)
	must(t, err)
	if err := bolt.CompactInPlace(t.Context(), path, nil); err == nil {
		t.Error("what was made of a damaged file took its place")
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(damaged) {
		t.Error("the damaged file is another")
	}
	requireFiles(t, filepath.Dir(path), "welcomed.db", "welcomed.db.revoked")
}
