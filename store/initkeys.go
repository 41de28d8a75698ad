package store

import (
	"crypto/sha256"
	"maps"
	"slices"

	"welcomed/delivery"
)

// The init_keys that a device has used are kept as hashes, many in one row, because a row for
// each would take more room than the hash. 8 bytes are enough: only the device itself could
// make two keys with the same hash.
const (
	initHashBytes  = 8
	initRowEntries = 32
)

type initHash [initHashBytes]byte

func hashInitKey(key []byte) initHash {
	sum := sha256.Sum256(key)
	return initHash(sum[:initHashBytes])
}

// An initKeySearch finds out which init_keys of a publication the device has used before. It
// may have to read everything that the device ever published, so it runs outside the writer. In
// the writer it only reads what has come since.
type initKeySearch struct {
	hashes []initHash          // of the items, by index
	used   map[initHash]uint64 // those, and the last KeyPackage that had it; 0: none
	filter [64]uint64          // a bit for the first 12 bits of each
	begun  bool
	device uint64 // whose rows are searched, behind those of earlier ones with its id; 0: there is none
	last   uint64 // the last row of it that was searched; 0: there was none
}

func newInitKeySearch(items []delivery.NewKeyPackage) *initKeySearch {
	s := &initKeySearch{hashes: make([]initHash, len(items)), used: make(map[initHash]uint64, len(items))}
	for i, item := range items {
		h := hashInitKey(item.InitKey)
		s.hashes[i], s.used[h] = h, 0
		word, bit := h.filterBit()
		s.filter[word] |= bit
	}
	return s
}

func (h initHash) filterBit() (word int, bit uint64) {
	return int(h[0] & 63), 1 << (h[1] & 63)
}

// clone returns a copy of the search that can go on independently.
func (s *initKeySearch) clone() *initKeySearch {
	clone := *s
	clone.used = maps.Clone(s.used)
	return &clone
}

// searchInitKeys goes on with a search. Rows in front of the last one only lose entries, and
// new rows come behind. If the last row is gone, the row before it may be the last one now, and
// may have grown.
func (t *Txn) searchInitKeys(id delivery.DeviceID, s *initKeySearch) {
	d, number := t.device(id), uint64(0)
	if d != nil {
		number = d.number
	}
	if !s.begun || s.device != number {
		s.begun, s.device, s.last = true, number, 0
		for _, before := range t.earlier(id) {
			for key, row := range t.scan(kindDevices, before.key(rowInitKeys), nil) {
				s.look(readNumber(key[numberBytes+1:]), row)
			}
		}
	}
	if d == nil {
		return
	}
	if t.get(kindDevices, d.initKeysRow(s.last)) == nil {
		s.last = 0
	}
	for key, row := range t.scan(kindDevices, d.key(rowInitKeys), d.initKeysRow(s.last)) {
		s.last = readNumber(key[numberBytes+1:])
		s.look(s.last, row)
	}
}

// look notes which of the wanted init_keys are in a row. There may be thousands of rows, and
// hardly any has one.
func (s *initKeySearch) look(kp uint64, row []byte) {
	for d := decoder(row); len(d) > 0; d = d[initHashBytes:] {
		kp += d.number()
		if len(d) < initHashBytes {
			panic(ErrCorrupt)
		}
		h := initHash(d)
		if word, bit := h.filterBit(); s.filter[word]&bit == 0 {
			continue
		}
		if _, asked := s.used[h]; asked {
			s.used[h] = kp
		}
	}
}

// ended reports whether a KeyPackage has ended, of which only the number is known. Those of
// earlier devices with the id of d, which may be nil, have ended.
func (t *Txn) ended(d *device, kp uint64) bool {
	if d == nil {
		return true
	}
	for s := range lastShelf + 1 {
		if k := t.keyPackage(d, keyPackageKey{kp, s}); k != nil {
			return k.rec.State.Ended()
		}
	}
	return true // forgotten
}

func (d *device) initKeysRow(first uint64) []byte {
	return appendNumber(d.key(rowInitKeys), first)
}

// An initKey is the hash of a KeyPackage's init_key, with the number of the KeyPackage.
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
			panic(ErrCorrupt)
		}
		entries = append(entries, initKey{kp, initHash(d)})
		d = d[initHashBytes:]
	}
	return entries
}

// putInitKeys writes a row. Its key is the number of the first KeyPackage in it.
func (t *Txn) putInitKeys(key []byte, entries []initKey) {
	before := readNumber(key[numberBytes+1:])
	row := make(encoder, 0, initRowEntries*(initHashBytes+1))
	for _, e := range entries {
		row.number(e.kp - before)
		row = append(row, e.hash[:]...)
		before = e.kp
	}
	t.put(kindDevices, key, row)
}

// noteInitKeys keeps the init_keys of new KeyPackages behind the last row that a search has
// found. They are in the order of the numbers of the KeyPackages.
func (t *Txn) noteInitKeys(d *device, s *initKeySearch, added []initKey) {
	var key []byte
	var entries []initKey
	if s.last != 0 {
		key = d.initKeysRow(s.last)
		entries = decodeInitKeys(key, t.get(kindDevices, key))
	}
	for len(added) > 0 {
		if key == nil || len(entries) >= initRowEntries {
			s.last = added[0].kp
			key, entries = d.initKeysRow(s.last), nil
		}
		n := min(len(added), initRowEntries-len(entries))
		entries, added = append(entries, added[:n]...), added[n:]
		t.putInitKeys(key, entries)
	}
}

// forgetInitKeys drops the init_keys of the KeyPackages with these numbers. There is at least
// one number, and they are sorted.
func (t *Txn) forgetInitKeys(d *device, numbers []uint64) {
	first, last := numbers[0], numbers[len(numbers)-1]
	var keys, rows [][]byte // of the rows that may have one of them
	for key, row := range t.scan(kindDevices, d.key(rowInitKeys), nil) {
		begins := readNumber(key[numberBytes+1:])
		if begins > last {
			break
		}
		if begins <= first { // so the rows before it have none
			keys, rows = nil, nil
		}
		keys, rows = append(keys, cloneBytes(key)), append(rows, cloneBytes(row))
	}
	for i, key := range keys {
		entries := decodeInitKeys(key, rows[i])
		kept := slices.DeleteFunc(slices.Clone(entries), func(e initKey) bool {
			_, gone := slices.BinarySearch(numbers, e.kp)
			return gone
		})
		switch {
		case len(kept) == 0:
			t.del(kindDevices, key)
		case len(kept) < len(entries):
			t.putInitKeys(key, kept)
		}
	}
}
