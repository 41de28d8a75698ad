package malformed_test

import (
	"errors"
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
