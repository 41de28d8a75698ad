package store

import (
	"context"
	"errors"
	"testing"

	"welcomed/delivery"
)

// TestInitKeysAreFoundThatComeWhileOthersAreSearched: what the device publishes
// between the search outside the writer and the decision in it counts as well,
// wherever it goes.
func TestInitKeysAreFoundThatComeWhileOthersAreSearched(t *testing.T) {
	const before = initRowEntries + 8 // two rows
	for sentence, meanwhile := range map[string]func(tx *Txn, d *device, kps []uint64, publish func()){
		"nothing else happens": func(_ *Txn, _ *device, _ []uint64, publish func()) { publish() },
		"the last row is forgotten, and the one before it has room": func(tx *Txn, d *device, kps []uint64, publish func()) {
			tx.forgetInitKeys(d, kps[initRowEntries-3:])
			publish()
		},
		"all rows are forgotten": func(tx *Txn, d *device, kps []uint64, publish func()) {
			tx.forgetInitKeys(d, kps)
			publish()
		},
		"the device begins again": func(tx *Txn, d *device, kps []uint64, publish func()) {
			tx.forgetInitKeys(d, kps)
			tx.del(kindDevices, d.key(rowDevice))
			tx.del(kindNames, nameKey(d.id))
			delete(tx.devices, d.number)
			publish()
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			s, id := openTest(t), deviceNo(0)
			event := func(run func(*Txn) error) error { return s.run(context.Background(), run) }
			var kps []uint64
			must(t, event(func(tx *Txn) error {
				_, err := tx.publish(publication{id: id, items: randomItems(before)})
				for _, k := range tx.onShelf(tx.device(id), 0) {
					kps = append(kps, k.number)
				}
				return err
			}))
			first, second := randomItems(1), randomItems(1)
			second[0].InitKey = first[0].InitKey

			var looked *publishLook
			err := s.Peek(t.Context(), func(tx *Txn) error {
				looked = tx.lookAt(publication{id: id, items: second})
				return nil
			})
			must(t, err)
			must(t, event(func(tx *Txn) error {
				meanwhile(tx, tx.device(id), kps, func() { _, err = tx.publish(publication{id: id, items: first}) })
				return err
			}))
			err = event(func(tx *Txn) error {
				_, err := tx.publish(publication{id: id, items: second, seen: looked.clone()})
				return err
			})
			if !errors.Is(err, delivery.ErrInitKeyReused) {
				t.Errorf("the init_key is used again: %v", err)
			}
		})
	}
}

// TestInitKeysAreForgottenOneByOne: of thousands of rows only those change that
// have one of them.
func TestInitKeysAreForgottenOneByOne(t *testing.T) {
	s, id := openTest(t), deviceNo(0)
	items := randomItems(5 * initRowEntries)
	var kps []uint64
	must(t, s.run(context.Background(), func(tx *Txn) error {
		_, err := tx.publish(publication{id: id, items: items})
		for _, k := range tx.onShelf(tx.device(id), 0) {
			kps = append(kps, k.number)
		}
		return err
	}))
	gone := map[int]bool{0: true, 31: true, 40: true, 64: true, 159: true}
	for i := 96; i < 128; i++ {
		gone[i] = true // a whole row
	}
	for i := range kps {
		if gone[i] {
			must(t, s.run(context.Background(), func(tx *Txn) error {
				tx.forgetInitKeys(tx.device(id), kps[i:i+1])
				return nil
			}))
		}
	}
	search := newInitKeySearch(items)
	err := s.Peek(t.Context(), func(tx *Txn) error { tx.searchInitKeys(id, search); return nil })
	must(t, err)
	for i, h := range search.hashes {
		if (search.used[h] != 0) == gone[i] {
			t.Errorf("init_key %d is remembered as that of %d", i, search.used[h])
		}
	}
}
