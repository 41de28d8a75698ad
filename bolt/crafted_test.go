package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"welcomed/delivery"
	"welcomed/delivery/archive"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/store"
)

// crafted returns the bytes of a sound file with some KeyPackages and a Welcome.
func crafted(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "welcomed.db")
	s, err := Open(path, Options{Limits: delivery.DefaultLimits(), Clock: storetest.NewClock()})
	if err != nil {
		t.Fatal(err)
	}
	signer, ref := mlstest.NewSigner(1, "alice"), mls.KeyPackageRef("")
	for range 5 {
		kp, err := mls.ParseKeyPackage(signer.KeyPackage())
		if err == nil {
			_, err = s.Publish(t.Context(), delivery.Unauthenticated(), phone, []delivery.NewKeyPackage{delivery.Publication(kp)})
		}
		if err != nil {
			t.Fatal(err)
		}
		ref = kp.Ref()
	}
	w, err := mls.ParseWelcome(mlstest.Welcome(1, ref))
	if err == nil {
		_, err = s.Post(t.Context(), delivery.Unauthenticated(), delivery.Posting{Welcome: w})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// setMeta changes the number at an offset of both metas, and makes their checksums
// right.
func setMeta(b []byte, offset int, value uint64) {
	for page := range 2 {
		meta := b[page*pageSize+metaHeader:][:metaSize]
		binary.NativeEndian.PutUint64(meta[offset:], value)
		sumMeta(meta)
	}
}

func sumMeta(meta []byte) {
	sum := fnv.New64a()
	sum.Write(meta[:metaChecksum])
	binary.NativeEndian.PutUint64(meta[metaChecksum:], sum.Sum64())
}

// readAll has everything look at the file that reads one, and returns what was said.
// What repairs and compacts does so to copies.
func readAll(t *testing.T, b []byte) (said []error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "welcomed.db")
	opts := Options{Limits: delivery.DefaultLimits(), Clock: storetest.NewClock()}
	for _, use := range []func() error{
		func() error {
			r, err := Examine(t.Context(), path, store.CheckOptions{})
			if err == nil {
				err = r.Err()
			}
			return err
		},
		func() error { _, err := Repair(t.Context(), path, store.CheckOptions{}); return err },
		func() error { return MarkRestored(t.Context(), path) },
		func() error { return Compact(t.Context(), path, path+".compact", nil) },
		func() error {
			return (&File{Path: path, Limits: opts.Limits}).Export(t.Context(), func(archive.Record) error { return nil })
		},
		func() error { _, err := Look(path); return err },
		func() error { _, err := Moved(path); return err },
		func() error {
			f, err := BackupFile(t.Context(), path)
			if err == nil {
				err = f.Close()
			}
			return err
		},
		func() error {
			h, err := OpenHistory(path, opts)
			if err != nil {
				return err
			}
			return errors.Join(explainAll(t.Context(), h), h.Close())
		},
		func() error {
			s, err := Open(path, opts)
			if err != nil {
				return err
			}
			_, err = s.Inventory(t.Context(), delivery.Unauthenticated(), phone)
			_, swept := s.Sweep(t.Context())
			return errors.Join(err, swept, s.Close())
		},
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		err := use()
		if err != nil && (strings.Contains(err.Error(), "goroutine ") || strings.Contains(err.Error(), ".go:")) {
			t.Errorf("a stack is shown: %v", err)
		}
		said = append(said, err)
		names, _ := filepath.Glob(path + "*")
		for _, name := range names {
			os.Remove(name)
		}
	}
	return said
}

// explainAll asks a file for all that explain asks it for. That something is not there
// any more is an answer.
func explainAll(ctx context.Context, h *History) error {
	const most = 50
	_, restored := h.RestoredAt(ctx)
	_, tokens := h.Tokens(ctx, delivery.TokenOwner{})
	_, user := h.UserHistory(ctx, phone.User, most)
	d, device := h.DeviceHistory(ctx, phone, most)
	errs := []error{restored, tokens, user, found(device)}
	for _, one := range d.KeyPackages {
		k, err := h.KeyPackageHistory(ctx, one.Ref, most)
		errs = append(errs, found(err))
		for _, m := range k.Welcomes {
			_, err := h.WelcomeHistory(ctx, m.ID, most)
			errs = append(errs, found(err))
		}
	}
	return errors.Join(errs...)
}

func found(err error) error {
	if errors.Is(err, delivery.ErrNotFound) {
		return nil
	}
	return err
}

// A file may say anything about itself. It is refused in one line, and costs no more
// than it has.
func TestACraftedFileIsRefused(t *testing.T) {
	for name, change := range map[string]func(b []byte){
		"2^62 pages":                         func(b []byte) { setMeta(b, metaPages, 1<<62) },
		"as many pages as bytes":             func(b []byte) { setMeta(b, metaPages, uint64(len(b))) },
		"no page":                            func(b []byte) { setMeta(b, metaPages, 0) },
		"a root far away":                    func(b []byte) { setMeta(b, metaRoot, 1<<60) },
		"a root in the meta pages":           func(b []byte) { setMeta(b, metaRoot, 1) },
		"a list of free pages far away":      func(b []byte) { setMeta(b, metaFreelist, 1<<51) },
		"a list of free pages that is a row": func(b []byte) { setMeta(b, metaFreelist, 3) },
		"very many free pages": func(b []byte) {
			_, meta := newestOf(b)
			list := b[number(meta[metaFreelist:])*pageSize:]
			binary.NativeEndian.PutUint16(list[pageCount:], manyEntries)
			binary.NativeEndian.PutUint64(list[entryBytes:], 1<<40)
		},
		"pages of another size": func(b []byte) { setMeta(b, metaPageSize, 2*pageSize) },
		// bbolt then uses the other meta page, and so has to whoever looks before.
		"another version, and the state before is torn": func(b []byte) {
			_, newest := newestOf(b)
			binary.NativeEndian.PutUint32(newest[metaVersion:], bboltVersion+1)
			sumMeta(newest)
			_, before := newestOf(b)
			root := b[number(before[metaRoot:])*pageSize:]
			binary.NativeEndian.PutUint16(root[pageKind:], 0x3002)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := crafted(t)
			change(b)
			for i, err := range readAll(t, b) {
				repaired := i == 1 && err == nil // to the state before the last commit
				if !repaired && err == nil || err != nil && strings.Contains(err.Error(), "\n") {
					t.Errorf("use %d says %v", i, err)
				}
			}
		})
	}
}

// Rows of a page that share their bytes could be very many in a small file.
func TestRowsThatOverlapAreRefused(t *testing.T) {
	page := make([]byte, pageSize)
	binary.NativeEndian.PutUint16(page[pageKind:], kindLeaf)
	binary.NativeEndian.PutUint16(page[pageCount:], 2)
	for i := range 2 { // both at the end of the entries
		binary.NativeEndian.PutUint32(page[entryBytes*(i+1)+4:], uint32(entryBytes*(2-i)))
		binary.NativeEndian.PutUint32(page[entryBytes*(i+1)+8:], 8)
	}
	tr := &tree{seen: map[uint64]bool{}}
	if err := tr.entries(3, page); err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("got %v", err)
	}
}

// Whatever is changed in a file, all that read one end with a sentence or go well. A
// change is a page, where in it, and a byte.
func FuzzFile(f *testing.F) {
	sound := crafted(f)
	pages := 2
	for page := 2; page*pageSize < len(sound); page++ {
		if number(sound[page*pageSize:]) == uint64(page) {
			pages = page + 1
		}
	}
	for seed := range byte(12) {
		f.Add([]byte{seed, 0, 8 + seed, seed, seed, 0, 16 + 4*seed, 0xff, 3, 0, 20 + seed, 1})
	}
	f.Fuzz(func(t *testing.T, changes []byte) {
		b := append([]byte(nil), sound...)
		for ; len(changes) >= 4; changes = changes[4:] {
			at := int(changes[0])%pages*pageSize + (int(changes[1])<<8|int(changes[2]))%pageSize
			b[at] = changes[3]
		}
		for page := range 2 {
			sumMeta(b[page*pageSize+metaHeader:][:metaSize])
		}
		readAll(t, b)
	})
}

// What comes out of a backup is written down as far as its meta page goes. What is too
// short to have one is left to whoever looks at it.
func TestAStreamIsNoLongerThanItSays(t *testing.T) {
	b := crafted(t)
	_, meta := newestOf(b)
	b = b[:number(meta[metaPages:])*pageSize]
	for name, row := range map[string]struct {
		stream []byte
		says   string
	}{
		"whole":           {b, ""},
		"short":           {[]byte("no database"), ""},
		"longer":          {append(b[:len(b):len(b)], 0), "longer than its meta pages say"},
		"no meta page":    {make([]byte, 3*pageSize), "no meta page"},
		"cut off":         {b[:len(b)-1], ""},
		"nothing":         {nil, ""},
		"many bytes more": {append(b[:len(b):len(b)], make([]byte, 1<<20)...), "longer than its meta pages say"},
	} {
		got, err := io.ReadAll(Stream(iotest.OneByteReader(bytes.NewReader(row.stream))))
		if row.says == "" && (err != nil || !bytes.Equal(got, row.stream)) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(row.stream), err)
		}
		if row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
