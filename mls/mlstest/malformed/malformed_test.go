package malformed_test

import (
	"errors"
	"slices"
	"testing"

	"welcomed/mls"
	"welcomed/mls/mlstest/malformed"
)

// codeOf reads and verifies, as a server does.
func codeOf(err error) mls.Code {
	if refused, ok := errors.AsType[*mls.Error](err); ok {
		return refused.Code
	}
	return ""
}

func readKeyPackage(b []byte) error {
	kp, err := mls.ReadKeyPackage(b)
	if err != nil {
		return err
	}
	return kp.Verify()
}

func readWelcome(b []byte) error {
	w, err := mls.ReadWelcome(b)
	if err != nil {
		return err
	}
	return w.Verify()
}

func TestEveryDefectHasItsCodeAndIsTheOnlyOne(t *testing.T) {
	for _, table := range []struct {
		name string
		rows []malformed.Row
		read func([]byte) error
	}{
		{"KeyPackages", malformed.KeyPackages(), readKeyPackage},
		{"Welcomes", malformed.Welcomes(), readWelcome},
	} {
		names := map[string]bool{}
		for _, row := range table.rows {
			if names[row.Name] {
				t.Errorf("%s: there are two rows of this name", row.Name)
			}
			names[row.Name] = true
			if err := table.read(row.Broken); codeOf(err) != row.Code || err == nil {
				t.Errorf("%s: %v (%s), want %s", row.Name, err, codeOf(err), row.Code)
			}
			if err := table.read(row.Sound); err != nil {
				t.Errorf("%s: without the defect: %v", row.Name, err)
			}
		}
		t.Logf("%d %s", len(table.rows), table.name)
	}
}

// A reader that is a few bytes off, because of a defect in the framing or in a length,
// never takes a byte of a key for a length: what it reads would be sound by chance.
func TestNoByteOfAKeyIsALength(t *testing.T) {
	for _, row := range malformed.KeyPackages() {
		if row.Suite != 1 {
			continue
		}
		kp, err := mls.ReadKeyPackage(row.Sound)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range slices.Concat(kp.InitKey, kp.LeafNode.EncryptionKey) {
			if b < 0xc0 {
				t.Fatalf("%s: a key has the byte %#x", row.Name, b)
			}
		}
	}
}
