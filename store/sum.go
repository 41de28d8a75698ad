package store

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// A checksum stands behind the bytes that it covers. It is the CRC-32C (Castagnoli) of the
// row's key and of these bytes. It detects flipped bits, and rows that lie under a wrong key.
// It does not protect from somebody who can write the file.
const sumBytes = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, part []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, part)
}

// appendSum appends the checksum of row[from:], which is in the row with that key.
func appendSum(row, key []byte, from int) []byte {
	return binary.BigEndian.AppendUint32(row, checksum(key, row[from:]))
}

// cutSum cuts the checksum off the end of a part of a row, and reports whether it is right.
func cutSum(key, part []byte) (rest []byte, ok bool) {
	if len(part) < sumBytes {
		return nil, false
	}
	rest = part[: len(part)-sumBytes : len(part)-sumBytes]
	return rest, binary.BigEndian.Uint32(part[len(rest):]) == checksum(key, rest)
}

// appendHead appends the head of a row: its length, the head, and its checksum. The length
// allows later formats to add fields at the end of a head.
func appendHead(row encoder, key, head []byte) encoder {
	row.bytes(head)
	return appendSum(row, key, 0)
}

// cutHead cuts the head off the front of a row. It panics with ErrCorrupt if the checksum is
// wrong.
func cutHead(key, row []byte) (head decoder, rest []byte) {
	d := decoder(row)
	head = d.bytes()
	if len(d) < sumBytes {
		panic(ErrCorrupt)
	}
	at := len(row) - len(d) + sumBytes
	if _, ok := cutSum(key, row[:at]); !ok {
		panic(ErrCorrupt)
	}
	return head, row[at:]
}

// keySummedFrom is the number of the first Welcome whose rows have checksums.
var keySummedFrom = []byte("summed_from")

// encodeSummedFrom gives the number a checksum of its own: with a wrong number every row would
// look damaged.
func encodeSummedFrom(number uint64) []byte { return appendSum(numberKey(number), keySummedFrom, 0) }

// decodeSummedFrom reads what encodeSummedFrom wrote. Formats 3 and 4 have no checksums.
func decodeSummedFrom(row []byte, format uint32) (uint64, error) {
	if format < FormatVersion {
		return math.MaxUint64, nil
	}
	number, ok := cutSum(keySummedFrom, row)
	if !ok || len(number) != numberBytes {
		return 0, ErrCorrupt
	}
	return readNumber(number), nil
}

// summed reports whether the rows of a Welcome have checksums.
func (t *Txn) summed(welcome uint64) bool { return welcome >= t.store.meta.summedFrom }
