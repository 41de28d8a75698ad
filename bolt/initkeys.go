package bolt

import (
	"crypto/sha256"
	"slices"

	"welcomed/delivery"
)

// The init_keys that a device has used are kept as hashes, many in a row: an
// entry for each would take more room than it holds. 8 bytes are enough, as
// only the device itself could make two of its keys collide.
const (
	initHashBytes  = 8
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
	for key, row := range t.scan(bucketDevices, d.key(rowInitKeys), nil) {
		for _, e := range decodeInitKeys(key, row) {
			if asked[e.hash] {
				used[e.hash] = true
			}
		}
	}
	return used
}

// An initKey is one that the KeyPackage with that number had.
type initKey struct {
	kp   uint64
	hash initHash
}

func decodeInitKeys(key, row []byte) []initKey {
	entries := make([]initKey, 0, initRowEntries)
	kp := readNumber(key[numberBytes+1:])
	for d := decoder(row); len(d) > 0; {
		kp += d.number()
		if len(d) < initHashBytes {
			panic(errCorrupt)
		}
		entries = append(entries, initKey{kp, initHash(d)})
		d = d[initHashBytes:]
	}
	return entries
}

// putInitKeys writes a row, whose key says with which KeyPackage it began.
func (t *txn) putInitKeys(key []byte, entries []initKey) {
	before := readNumber(key[numberBytes+1:])
	row := make(encoder, 0, initRowEntries*(initHashBytes+1))
	for _, e := range entries {
		row.number(e.kp - before)
		row = append(row, e.hash[:]...)
		before = e.kp
	}
	t.put(bucketDevices, key, row)
}

// noteInitKeys keeps the init_keys of new KeyPackages, which are in the order
// of their numbers.
func (t *txn) noteInitKeys(d *device, added []initKey) {
	var key, row []byte
	for key, row = range t.scan(bucketDevices, d.key(rowInitKeys), nil) {
	}
	var entries []initKey
	if key != nil {
		key, entries = cloneBytes(key), decodeInitKeys(key, row)
	}
	for len(added) > 0 {
		if key == nil || len(entries) >= initRowEntries {
			key, entries = appendNumber(d.key(rowInitKeys), added[0].kp), nil
		}
		n := min(len(added), initRowEntries-len(entries))
		entries, added = append(entries, added[:n]...), added[n:]
		t.putInitKeys(key, entries)
	}
}

// forgetInitKeys drops the init_keys of the KeyPackages with these numbers.
func (t *txn) forgetInitKeys(d *device, numbers map[uint64]bool) {
	left := make(map[string][]initKey)
	for key, row := range t.scan(bucketDevices, d.key(rowInitKeys), nil) {
		entries := decodeInitKeys(key, row)
		kept := slices.DeleteFunc(slices.Clone(entries), func(e initKey) bool { return numbers[e.kp] })
		if len(kept) < len(entries) {
			left[string(key)] = kept
		}
	}
	for key, entries := range left {
		if len(entries) == 0 {
			t.del(bucketDevices, []byte(key))
		} else {
			t.putInitKeys([]byte(key), entries)
		}
	}
}
