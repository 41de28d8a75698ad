package bolt

import (
	"bytes"
	"os"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
)

// FlipPart is a storetest.Fixture's Damage: it flips a bit in the file at path, where the
// disk has it. Nothing is written by bbolt.
func FlipPart(t *testing.T, path string, d storetest.Damage) {
	t.Helper()
	db, err := openFile(path, Options{LockTimeout: time.Second, readOnly: true})
	must(t, err)
	var row []byte
	var at int
	err = db.View(func(tx *bbolt.Tx) error {
		x, _, err := snapshot(tx, delivery.DefaultLimits())
		if err != nil {
			return err
		}
		kind, key, place := x.Place(string(d.Part), d.Ref, d.Welcome)
		row, at = bytes.Clone(x.Rows().Get(kind, key)), place
		return nil
	})
	must(t, err)
	must(t, db.Close())
	file, err := os.ReadFile(path)
	must(t, err)
	if at < 0 {
		at += len(row)
	}
	// Also in pages that are free.
	if len(row) < 8 || bytes.Count(file, row) == 0 {
		t.Fatalf("the row %x is not in the file, or many are", row)
	}
	flipped := bytes.Clone(row)
	flipped[at] ^= 0x10
	must(t, os.WriteFile(path, bytes.ReplaceAll(file, row, flipped), 0o600))
}
