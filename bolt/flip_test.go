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

// flipIn flips a bit of a row in the file at path, where the disk has it: at is a place
// in the row, counted from its end if that is negative. Nothing is written by bbolt.
func flipIn(t *testing.T, path string, find func(*txn) (row []byte, at int)) {
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
		x.raw = true
		row, at = find(&x.txn)
		row = cloneBytes(row)
		return nil
	})
	must(t, err)
	must(t, db.Close())
	file, err := os.ReadFile(path)
	must(t, err)
	if at < 0 {
		at += len(row)
	}
	flipped, n := cloneBytes(row), 0
	flipped[at] ^= 0x10
	n = bytes.Count(file, row) // also in pages that are free
	if n == 0 || len(row) < 8 {
		t.Fatalf("the row %x is not in the file, or many are", row)
	}
	must(t, os.WriteFile(path, bytes.ReplaceAll(file, row, flipped), 0o600))
}

// FlipPart is a storetest.Fixture's Damage.
func FlipPart(t *testing.T, path string, d storetest.Damage) {
	t.Helper()
	flipIn(t, path, func(x *txn) (row []byte, at int) {
		if d.Part == storetest.PartKeyPackage {
			_, k := x.refOwner(d.Ref)
			return x.get(kindKeyPackages, numberKey(k.number)), 7
		}
		number := x.welcomeNumber(d.Welcome)
		header := x.header(number)
		switch d.Part {
		case storetest.PartGroupInfo:
			if header.apart {
				return x.get(kindWelcomes, appendIndex(partKey(number, partGroupInfo), 1)), 100
			}
			return x.get(kindWelcomes, partKey(number, partHeader)), -sumBytes - 3
		case storetest.PartContext:
			return x.get(kindWelcomes, partKey(number, partHeader)), -sumBytes - len(header.groupInfo) - 3
		case storetest.PartTree:
			return x.get(kindWelcomes, appendIndex(partKey(number, partTree), 2)), 100
		}
		x.eachRecipient(number, func(key mailKey, r *recipient) bool {
			if r.ref == d.Ref {
				row = x.get(kindWelcomes, recipientKey(key))
			}
			return row == nil
		})
		return row, -sumBytes - 3
	})
}
