package bolt

import (
	"encoding/binary"
	"fmt"
	"os"

	berrors "go.etcd.io/bbolt/errors"

	"welcomed/progress"
)

// The header of a page of a bbolt file: its number at 0, its kind at 8, the number of its
// entries at 10, and the number of further pages that belong to it at 12. Entries of 16 bytes
// follow.
const (
	pageKind     = 8
	pageCount    = 10
	pageOverflow = 12
	entryBytes   = 16
	kindBranch   = 0x01
	kindLeaf     = 0x02
	kindFree     = 0x10
	manyEntries  = 0xFFFF // the number of free pages is in the first entry
	metaRoot     = 16
	metaFreelist = 32
)

// A tree walks through the pages of a file, which may be torn. bbolt trusts what a page says.
// If pages of several transactions are mixed, it may loop until the memory is used up, or read
// where nothing is mapped.
type tree struct {
	file  *os.File
	pages uint64
	seen  map[uint64]bool
	rows  int64
	p     *progress.Progress
}

// checkTree returns how many rows the file at path has. It returns an error if the pages are
// not consistent.
func checkTree(path string, p *progress.Progress) (rows int64, err error) {
	if err := checkWhole(path); err != nil {
		return 0, err
	}
	return treeOf(path, p, false)
}

// treeOf is checkTree, for the last commit or with before for the state before it.
func treeOf(path string, p *progress.Progress, before bool) (rows int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	page, meta, err := newestMeta(f)
	if err != nil {
		return 0, err
	}
	if before && meta != nil {
		meta, err = metaOf(f, 1-page)
		if err != nil {
			return 0, err
		}
	}
	if meta == nil {
		return 0, berrors.ErrInvalid
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	// What a meta page says is believed as far as the file goes.
	if number(meta[metaPages:]) > uint64(info.Size())/pageSize {
		return 0, fmt.Errorf("%w: a meta page says that there are %d pages, and there are %d", berrors.ErrInvalid, number(meta[metaPages:]), info.Size()/pageSize)
	}
	t := &tree{file: f, pages: number(meta[metaPages:]), seen: map[uint64]bool{}, p: p}
	p.Begin("looking at the file", progress.Bytes, int64(t.pages)*pageSize)
	if err := t.visit(number(meta[metaRoot:])); err != nil {
		return 0, err
	}
	return t.rows, t.freelist(number(meta[metaFreelist:]))
}

func number(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }

func torn(page uint64, what string) error {
	return fmt.Errorf("%w: page %d %s, as in a copy that was made while it was written to", berrors.ErrInvalid, page, what)
}

// page reads a page, and the pages that belong to it. It returns an error if one of them was
// seen before.
func (t *tree) page(id uint64) ([]byte, error) {
	head := make([]byte, entryBytes)
	if id < 2 || id >= t.pages {
		return nil, torn(id, "is not in the file")
	}
	if _, err := t.file.ReadAt(head, int64(id)*pageSize); err != nil {
		return nil, err
	}
	more := uint64(binary.NativeEndian.Uint32(head[pageOverflow:]))
	if number(head) != id || id+more >= t.pages {
		return nil, torn(id, "is another one")
	}
	for i := id; i <= id+more; i++ {
		if t.seen[i] {
			return nil, torn(i, "is used twice")
		}
		t.seen[i] = true
	}
	b := make([]byte, (more+1)*pageSize)
	t.p.Add(int64(len(b)))
	_, err := t.file.ReadAt(b, int64(id)*pageSize)
	return b, err
}

func (t *tree) visit(id uint64) error {
	b, err := t.page(id)
	if err != nil {
		return err
	}
	return t.entries(id, b)
}

// entries checks the entries of a page, or of a small bucket that lies inside a page.
func (t *tree) entries(id uint64, b []byte) error {
	if len(b) < entryBytes {
		return torn(id, "is cut off")
	}
	count := int(binary.NativeEndian.Uint16(b[pageCount:]))
	if entryBytes*(count+1) > len(b) {
		return torn(id, "has more entries than fit")
	}
	check := t.leaf
	switch binary.NativeEndian.Uint16(b[pageKind:]) {
	case kindBranch:
		if check = t.branch; count == 0 {
			return torn(id, "is empty")
		}
	case kindLeaf:
	default:
		return torn(id, "is of another kind")
	}
	// bbolt writes what entries point to in their order. Were it allowed to overlap, a
	// small file could keep a check busy for ever.
	end := entryBytes * (count + 1)
	for i := range count {
		at := entryBytes * (i + 1)
		entry := b[at:]
		if at+int(binary.NativeEndian.Uint32(entry[t.offset(b):])) < end {
			return torn(id, "has rows that overlap")
		}
		size, err := check(id, entry)
		if err != nil {
			return err
		}
		end = at + size
	}
	return nil
}

// offset is where an entry of a page says how far behind the entry its key lies.
func (t *tree) offset(page []byte) int {
	if binary.NativeEndian.Uint16(page[pageKind:]) == kindBranch {
		return 0
	}
	return 4
}

// branch checks an entry of a branch page; entry begins there and goes to the end of the page.
// It returns how far the entry's key reaches.
func (t *tree) branch(id uint64, entry []byte) (size int, err error) {
	at, key := uint64(binary.NativeEndian.Uint32(entry)), uint64(binary.NativeEndian.Uint32(entry[4:]))
	if at+key > uint64(len(entry)) {
		return 0, torn(id, "has a key outside")
	}
	return int(at + key), t.visit(number(entry[8:]))
}

func (t *tree) leaf(id uint64, entry []byte) (int, error) {
	t.rows++
	isBucket := binary.NativeEndian.Uint32(entry)&1 == 1
	at, key, size := uint64(binary.NativeEndian.Uint32(entry[4:])), uint64(binary.NativeEndian.Uint32(entry[8:])), uint64(binary.NativeEndian.Uint32(entry[12:]))
	all := at + key + size
	if all > uint64(len(entry)) {
		return 0, torn(id, "has a row outside")
	}
	if !isBucket {
		return int(all), nil
	}
	bucket := entry[at+key : all]
	if len(bucket) < entryBytes {
		return 0, torn(id, "has a bucket that is cut off")
	}
	if root := number(bucket); root != 0 {
		return int(all), t.visit(root)
	}
	return int(all), t.entries(id, bucket[entryBytes:])
}

// freelist checks the list of free pages: none of them may be in use.
func (t *tree) freelist(id uint64) error {
	b, err := t.page(id)
	if err != nil {
		return err
	}
	count, list := uint64(binary.NativeEndian.Uint16(b[pageCount:])), b[entryBytes:]
	if count == manyEntries {
		count, list = number(list), list[8:]
	}
	if binary.NativeEndian.Uint16(b[pageKind:]) != kindFree || count > uint64(len(list)/8) {
		return torn(id, "is no list of free pages")
	}
	for i := range count {
		if free := number(list[8*i:]); free < 2 || free >= t.pages || t.seen[free] {
			return torn(free, "is free and in use")
		}
	}
	return nil
}
