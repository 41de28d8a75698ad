package store

import (
	"time"

	"welcomed/delivery"
)

// FormatVersion is the version of the format of the rows. Migrate brings an older one to it. A
// newer one is refused.
const FormatVersion = 5

// oldestFormat is the first version that was released.
const oldestFormat = 3

// migrations has one step for each format from oldestFormat on, which leads to the next one. A
// new format appends a step. Each step finds the rows as the step before has left them.
var migrations = [...]func(t *Txn) error{
	countShelves, // 3 → 4
	nameRestore,  // 4 → 5
}

// Migrate brings the rows of a store from their format to FormatVersion.
func (t *Txn) Migrate() error {
	for _, migration := range migrations[t.store.meta.Format-oldestFormat:] {
		if err := migration(t); err != nil {
			return err
		}
	}
	t.put(KindMeta, keyFormat, encodeFormat(FormatVersion))
	t.put(KindMeta, keySummedFrom, encodeSummedFrom(t.rows.Last()+1))
	return nil
}

// countShelves counts the KeyPackages on shelves in the totals, by kind.
func countShelves(t *Txn) error {
	for i, n := range t.rows.Totals().shelves { // of a file that has been of a later format
		t.counted.shelves[i] -= n
	}
	for key := range t.scan(kindDevices, nil, nil) {
		if len(key) <= numberBytes {
			return ErrCorrupt
		}
		if kind := key[numberBytes]; kind&^byte(lastShelf) == rowShelf {
			t.counted.shelves[kind&byte(lastShelf)]++
		}
	}
	return nil
}

// rowDoubts is the kind of a row that format 5 has no more: after a restore, starts
// of refs that a device might have published before it.
const rowDoubts = 0x70

// nameRestore gives the file a restore epoch, and removes the rows of format 4 that it
// replaces. All other fields that format 5 added are behind flags that rows of format 4 do not
// set, or behind the end of those rows. The number of the format keeps an older welcomed from
// reading the new rows.
func nameRestore(t *Txn) error {
	var gone [][]byte
	for key := range t.scan(kindDevices, nil, nil) {
		if len(key) > numberBytes && key[numberBytes] == rowDoubts {
			gone = append(gone, cloneBytes(key))
		}
	}
	for _, key := range gone {
		t.del(kindDevices, key)
	}
	nameGone(t)
	t.put(KindMeta, keyRestoreEpoch, newEpoch())
	return countLastResorts(t)
}

// countLastResorts counts the last resorts on the shelf of each device. They were not counted
// in format 4. It works in parts, because a cursor skips rows when its kind is written to.
func countLastResorts(t *Txn) error {
	const most = 10_000 // devices in a part
	for from := []byte(nil); ; {
		found, next, err := t.lastResortsFrom(from, most)
		if err != nil {
			return err
		}
		for _, d := range found {
			level := d.level
			if d.level = d.stockLevel(t.limits); level != stockNone && level != d.level {
				t.counted.stock[level]--
				t.counted.stock[d.level]++
			}
			t.put(kindDevices, d.key(rowDevice), d.encode())
		}
		if from = next; from == nil {
			return nil
		}
	}
}

// lastResortsFrom returns devices that have last resorts on their shelves. It starts at a key,
// and returns the key at which to go on.
func (t *Txn) lastResortsFrom(from []byte, most int) (found []*device, next []byte, err error) {
	var d *device
	others := false
	end := func() {
		if d != nil && !d.removed && d.lastResorts > 0 {
			if others {
				d.onlySince = time.Time{}
			}
			found = append(found, d)
		}
	}
	for key, row := range t.scan(kindDevices, nil, from) {
		kind := key[numberBytes]
		if kind == rowDevice {
			if end(); len(found) == most {
				return found, cloneBytes(key), nil
			}
			d, others = t.deviceByNumber(readNumber(key)), false
			t.devices = nil // remembers none
			continue
		}
		if kind != rowKeyPackage && kind != rowTombstone && kind&^byte(lastShelf) != rowShelf {
			continue
		}
		switch k := keyPackageAt(key, row); {
		case d == nil:
			return nil, nil, ErrCorrupt
		case !k.rec.LastResort:
			others = true
		case k.rec.State == delivery.Available:
			d.lastResorts++
			if d.onlySince.IsZero() || k.rec.PublishedAt.Before(d.onlySince) {
				d.onlySince = k.rec.PublishedAt
			}
		}
	}
	end()
	return found, nil, nil
}

// nameGone moves the names of removed devices from names to gone.
func nameGone(t *Txn) {
	names := make(map[string][]byte)
	for key, number := range t.scan(kindNames, nil, nil) {
		d := t.deviceByNumber(readNumber(number))
		t.devices = nil // remembers none
		if d != nil && d.removed {
			names[string(key)] = cloneBytes(number)
		}
	}
	for name, number := range names {
		t.del(kindNames, []byte(name))
		t.put(kindGone, appendNumber(append([]byte(name), 0), ^uint64(0)), number)
	}
}
