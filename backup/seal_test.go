package backup_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"welcomed/backup"
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
	if most := int64(64<<20 + 1000*len(small) + 1<<20); n > most {
		t.Errorf("%d bytes were unpacked, want at most %d", n, most)
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
		if n, _ := io.Copy(io.Discard, plain); n > int64(64<<20+1001*len(b)) {
			t.Errorf("%d bytes of %d", n, len(b))
		}
	})
}
