package store

import (
	"errors"
	"testing"
)

// The engine in memory finds an event that breaks its promises: one that fails after it has
// written, and one that changes an entry of which nobody is the owner.
func TestMemoryFindsEventsThatBreakTheirPromise(t *testing.T) {
	s := openTest(t)
	kp, number := publishOne(t, s, phone), uint64(0)
	for broken, run := range map[string]func(t *Txn) error{
		"it fails after it has written": func(t *Txn) error {
			t.touch(t.device(phone))
			t.put(kindNames, nameKey(tablet), numberKey(7))
			return errors.New("no")
		},
		"it changes the bytes of a KeyPackage": func(t *Txn) error {
			_, k := t.refOwner(kp.Ref)
			number = k.number
			t.put(kindKeyPackages, numberKey(k.number), []byte("others"))
			return nil
		},
	} {
		t.Run(broken, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was not found")
				}
			}()
			_ = s.run(t.Context(), run)
		})
	}
	must(t, s.View(t.Context(), func(txn *Txn) error {
		if txn.get(kindNames, nameKey(tablet)) != nil || string(txn.get(kindKeyPackages, numberKey(number))) != string(kp.Bytes) {
			t.Error("some of it was kept")
		}
		return nil
	}))
	publishOne(t, s, tablet) // what was locked is free
}
