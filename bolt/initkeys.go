package bolt

import (
	"crypto/sha256"

	"welcomed/delivery"
)

// The init_keys that a device has used are kept as hashes, many in a row: an
// entry for each would take more room than it holds. 8 bytes are enough, as
// only the device itself could make two of its keys collide.
const (
	initHashBytes  = 8
	initEntryBytes = numberBytes + initHashBytes
	initRowEntries = 32
)

type initHash [initHashBytes]byte

func hashInitKey(key []byte) initHash {
	sum := sha256.Sum256(key)
	return initHash(sum[:initHashBytes])
}

// usedInitKeys returns those of the items' init_keys that the device, which may
// be nil, has used before.
func (t *txn) usedInitKeys(d *device, items []delivery.NewKeyPackage) map[initHash]bool {
	used := make(map[initHash]bool)
	if d == nil {
		return used
	}
	asked := make(map[initHash]bool, len(items))
	for _, item := range items {
		asked[hashInitKey(item.InitKey)] = true
	}
	for _, row := range t.scan(bucketDevices, d.key(rowInitKeys), nil) {
		for ; len(row) >= initEntryBytes; row = row[initEntryBytes:] {
			if hash := initHash(row[numberBytes:]); asked[hash] {
				used[hash] = true
			}
		}
	}
	return used
}

// noteInitKeys keeps the init_keys of new KeyPackages, which are in the order
// of their numbers.
func (t *txn) noteInitKeys(d *device, numbers []uint64, hashes []initHash) {
	var key, row []byte
	for k, v := range t.scan(bucketDevices, d.key(rowInitKeys), nil) {
		key, row = k, v
	}
	if len(row) < initRowEntries*initEntryBytes {
		key, row = cloneBytes(key), cloneBytes(row)
	} else {
		key, row = nil, nil
	}
	for i, number := range numbers {
		if key == nil {
			key = appendNumber(d.key(rowInitKeys), number)
		}
		row = append(appendNumber(row, number), hashes[i][:]...)
		if i == len(numbers)-1 || len(row) == initRowEntries*initEntryBytes {
			t.put(bucketDevices, key, row)
			key, row = nil, nil
		}
	}
}

// forgetInitKeys drops the init_keys of the KeyPackages with these numbers.
func (t *txn) forgetInitKeys(d *device, numbers map[uint64]bool) {
	type change struct{ key, row []byte }
	var changes []change
	for key, row := range t.scan(bucketDevices, d.key(rowInitKeys), nil) {
		var kept []byte
		for rest := row; len(rest) >= initEntryBytes; rest = rest[initEntryBytes:] {
			if !numbers[readNumber(rest)] {
				kept = append(kept, rest[:initEntryBytes]...)
			}
		}
		if len(kept) < len(row) {
			changes = append(changes, change{cloneBytes(key), kept})
		}
	}
	for _, c := range changes {
		if c.row == nil {
			t.del(bucketDevices, c.key)
		} else {
			t.put(bucketDevices, c.key, c.row)
		}
	}
}
