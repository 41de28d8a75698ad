package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"

	berrors "go.etcd.io/bbolt/errors"
)

// The two meta pages of a bbolt file. The meta is behind the header of its page.
const (
	metaHeader = 16
	metaMagic  = 0xED0CDAED
	metaSize   = 64

	bboltVersion = 2
	// Offsets in a meta: magic 0, version 4, page size 8, flags 12, root 16,
	// freelist 32, pages in use 40, transaction 48, checksum 56.
	metaVersion  = 4
	metaPageSize = 8
	metaPages    = 40
	metaTxn      = 48
	metaChecksum = 56
)

// checkWhole refuses a file that is shorter than its newest meta page says, for example a copy
// that was interrupted. bbolt would map such a file, and the process would die of a fault in
// the middle of a request. checkWhole accepts a file that does not exist or is empty.
func checkWhole(path string) error {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 || !info.Mode().IsRegular() {
		return err
	}
	_, meta, err := newestMeta(f)
	if err != nil || meta == nil {
		return err // bbolt says what is wrong
	}
	// Not in bytes, which would not fit: a meta page may say anything.
	if want, pages := number(meta[metaPages:]), uint64(info.Size())/pageSize; want > pages {
		return fmt.Errorf("%w: %d bytes long, %d pages of %d bytes are missing", berrors.ErrInvalid, info.Size(), want-pages, pageSize)
	}
	// bbolt makes room for as many free pages as the list of them says.
	t := &tree{file: f, pages: number(meta[metaPages:]), seen: map[uint64]bool{}}
	return t.freelist(number(meta[metaFreelist:]))
}

// newestMeta returns the meta that bbolt would use, and on which of the first two pages it is;
// nil if neither is valid. The error says that the file has pages of another size.
func newestMeta(f *os.File) (page int, newest []byte, err error) {
	head := make([]byte, 2*pageSize)
	if n, err := f.ReadAt(head, 0); err != nil {
		return 0, nil, fmt.Errorf("%w: only %d bytes long", berrors.ErrInvalid, n)
	}
	for i := range 2 {
		// bbolt takes the size from the first meta that is valid, and then looks for the
		// other one elsewhere.
		meta := head[i*pageSize+metaHeader:][:metaSize]
		if size := binary.NativeEndian.Uint32(meta[metaPageSize:]); validMeta(meta) && size != pageSize {
			return 0, nil, fmt.Errorf("%w: its pages have %d bytes, and those of a database %d", berrors.ErrInvalid, size, pageSize)
		}
	}
	page, newest = newestOf(head)
	return page, newest, nil
}

// newestOf is newestMeta for the first two pages, if they have our page size. If both metas are
// of one transaction, bbolt uses the first.
func newestOf(head []byte) (page int, newest []byte) {
	for i := range 2 {
		meta := head[i*pageSize+metaHeader:][:metaSize]
		if validMeta(meta) && (newest == nil || number(meta[metaTxn:]) > number(newest[metaTxn:])) {
			page, newest = i, meta
		}
	}
	return page, newest
}

// metaOf returns the meta of one of the first two pages; nil if it is not valid.
func metaOf(f *os.File, page int) ([]byte, error) {
	meta := make([]byte, metaSize)
	if _, err := f.ReadAt(meta, int64(page)*pageSize+metaHeader); err != nil {
		return nil, err
	}
	if !validMeta(meta) {
		return nil, nil
	}
	return meta, nil
}

// validMeta reports whether bbolt would accept a meta.
func validMeta(meta []byte) bool {
	sum := fnv.New64a()
	sum.Write(meta[:metaChecksum])
	return binary.NativeEndian.Uint32(meta) == metaMagic &&
		binary.NativeEndian.Uint32(meta[metaVersion:]) == bboltVersion &&
		binary.NativeEndian.Uint64(meta[metaChecksum:]) == sum.Sum64()
}
