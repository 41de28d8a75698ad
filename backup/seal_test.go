package backup_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"welcomed/backup"
	"welcomed/mls/mlstest"
)

func compressed(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

// What is unpacked from a few bytes is no backup, and is not written down for long.
func TestWhatGrowsTooMuchIsNoBackup(t *testing.T) {
	small := compressed(t, make([]byte, 512<<20))
	plain, err := backup.Plain(bytes.NewReader(small), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	n, err := io.Copy(io.Discard, plain)
	if err == nil || !strings.Contains(err.Error(), "no backup of a database is packed so well") {
		t.Errorf("%d bytes from %d: %v", n, len(small), err)
	}
	if most := int64(8<<20 + 20*len(small) + 1<<20); n > most {
		t.Errorf("%d bytes were unpacked, want at most %d", n, most)
	}
}

// What anybody can post is packed so that it is unpacked again, however small it could be.
func TestWhatCouldBePackedTooWellIsUnpacked(t *testing.T) {
	for name, row := range map[string]struct {
		zeros, random, most int
	}{
		"zeros":           {300 << 20, 0, 16 << 20},
		"random bytes":    {0, 20 << 20, 21 << 20},
		"both":            {50 << 20, 20 << 20, 21 << 20},
		"few zeros":       {3 << 20, 0, 1 << 10},
		"nothing":         {0, 0, 1 << 10},
		"not a whole MiB": {100<<20 + 17, 0, 6 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			var packed bytes.Buffer
			w, err := backup.Compress(&packed, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := append(mlstest.Random(row.random), make([]byte, row.zeros)...)
			if _, err = w.Write(want); err != nil || w.Close() != nil {
				t.Fatal(err)
			}
			if packed.Len() > row.most {
				t.Errorf("%d bytes, want at most %d", packed.Len(), row.most)
			}
			plain, err := backup.Plain(&packed, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			if got, err := io.ReadAll(plain); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
			}
		})
	}
}

// Whatever a backup is, reading it ends.
func FuzzPlain(f *testing.F) {
	f.Add([]byte("no backup"))
	f.Add(compressed(f, []byte("a database")))
	f.Add(compressed(f, make([]byte, 1<<20)))
	f.Add(compressed(f, make([]byte, 1<<20))[:20])
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, identity.Recipient())
	if err == nil {
		_, err = w.Write(compressed(f, []byte("a database")))
	}
	if err != nil || w.Close() != nil {
		f.Fatal(err)
	}
	f.Add(sealed.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		plain, err := backup.Plain(bytes.NewReader(b), backup.Identities{identity})
		if err != nil {
			return
		}
		defer plain.Close()
		if n, _ := io.Copy(io.Discard, plain); n > int64(8<<20+20*len(b)+1<<20) {
			t.Errorf("%d bytes of %d", n, len(b))
		}
	})
}
