package bolt_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"welcomed/bolt"
)

// oneVillage is a file of this format, closed.
func oneVillage(t *testing.T) (path string, v village) {
	t.Helper()
	path, v = oldVillage(t, 3)
	must(t, v.open(t, path).Close())
	must(t, os.Remove(copyOf(path)))
	return path, v
}

// Everything that can be wrong is found, and nothing else; what can be repaired is,
// and then the file answers as it did before.
func TestDamageIsFoundAndRepaired(t *testing.T) {
	for _, damage := range bolt.Damages {
		t.Run(damage.Name, func(t *testing.T) { findAndRepair(t, newVillage, damage) })
		if says := bolt.SaysOlder[damage.Name]; says != "" {
			damage.Says = says
			t.Run(damage.Name+" of an older format", func(t *testing.T) { findAndRepair(t, oneVillage, damage) })
		}
	}
}

func findAndRepair(t *testing.T, village func(t *testing.T) (string, village), damage bolt.Damage) {
	path, v := village(t)
	damage.Do(t, path)
	found, err := bolt.Examine(t.Context(), path, bolt.CheckOptions{})
	must(t, err)
	requireFinding(t, found, damage)
	if err := bolt.Check(t.Context(), path); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("Check says %v", err)
	}
	damaged, err := os.ReadFile(path)
	must(t, err)
	repaired, err := bolt.Repair(t.Context(), path, bolt.CheckOptions{})
	must(t, err)
	if found.Repairable > 0 {
		requireCopy(t, repaired.Copy, path, damaged)
	}
	if !damage.Repairable {
		if repaired.Sound() || repaired.Repairable > 0 {
			t.Errorf("after a repair: %+v", repaired)
		}
		return
	}
	if !repaired.Sound() || repaired.Repaired == 0 {
		t.Fatalf("after a repair: %+v", repaired)
	}
	must(t, bolt.Check(t.Context(), path))
	if !damage.Differs {
		requireSame(t, v.ask(t, v.open(t, path)), v.Answers)
	}
}

func requireFinding(t *testing.T, r *bolt.Report, damage bolt.Damage) {
	t.Helper()
	for _, f := range r.Findings {
		if strings.Contains(f.Text, "\n") {
			t.Errorf("a finding is %q", f.Text)
		}
		if strings.Contains(f.Text, damage.Says) && f.Repairable == damage.Repairable {
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
	path, _ := oneVillage(t)
	for _, damage := range bolt.Damages[:6] {
		damage.Do(t, path)
	}
	r, err := bolt.Examine(t.Context(), path, bolt.CheckOptions{Most: 2})
	must(t, err)
	if len(r.Findings) != 2 || r.Found < 4 || r.Repairable != r.Found {
		t.Errorf("%+v", r)
	}
}

// A sound file is not touched, by a check or by a repair.
func TestASoundFileIsNotTouched(t *testing.T) {
	path, _ := oneVillage(t)
	before, err := os.ReadFile(path)
	must(t, err)
	for _, examine := range []func() (*bolt.Report, error){
		func() (*bolt.Report, error) { return bolt.Examine(t.Context(), path, bolt.CheckOptions{}) },
		func() (*bolt.Report, error) { return bolt.Repair(t.Context(), path, bolt.CheckOptions{}) },
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
	path, v := oneVillage(t)
	before := size(t, path)
	must(t, os.WriteFile(path+".compact.part", []byte("of a compaction that was killed"), 0o600))
	must(t, bolt.CompactInPlace(t.Context(), path, nil))
	if after := size(t, path); after >= before {
		t.Errorf("it has %d bytes and had %d", after, before)
	}
	requireFiles(t, filepath.Dir(path), "welcomed.db", "welcomed.db.revoked")
	requireSame(t, v.ask(t, v.open(t, path)), v.Answers)

	path, v = oneVillage(t)
	bolt.Damages[0].Do(t, path)
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
