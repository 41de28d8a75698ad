package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/store"
)

func TestALookSaysWhatOpenWouldAndChangesNothing(t *testing.T) {
	options := Options{Limits: delivery.DefaultLimits()}
	path := filepath.Join(t.TempDir(), "w.db")
	if _, err := Look(path); err != nil {
		t.Errorf("a file that does not exist: %v", err)
	}
	s, err := Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Look(path); !errors.Is(err, ErrInUse) {
		t.Errorf("a file that is open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := read(t, path)
	if found, err := Look(path); err != nil || found != (Outlook{}) {
		t.Errorf("a good file: %+v, %v", found, err)
	}
	if !bytes.Equal(before, read(t, path)) {
		t.Error("a look changed the file")
	}
	if err := MarkRestored(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if found, err := Look(path); err != nil || found != (Outlook{Restored: true}) {
		t.Errorf("a copy: %+v, %v", found, err)
	}
	older := filepath.Join(t.TempDir(), "older.db")
	if err := os.WriteFile(older, ofFormat(t, before, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := Look(older); err != nil || found.Upgrade != (Upgrade{From: 3, To: store.FormatVersion}) {
		t.Errorf("a file of the oldest format: %+v, %v", found, err)
	}
}

func TestALookRefusesWhatOpenRefuses(t *testing.T) {
	options := Options{Limits: delivery.DefaultLimits()}
	made := filepath.Join(t.TempDir(), "w.db")
	s, err := Open(made, options)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole := read(t, made)
	for name, content := range map[string][]byte{
		"words":       []byte("These words are worth keeping."),
		"torn":        whole[:3*pageSize],
		"no meta":     append(make([]byte, 2*pageSize), whole[2*pageSize:]...),
		"of tomorrow": ofFormat(t, whole, store.FormatVersion+1),
		"of nobody":   ofFormat(t, whole, 1),
	} {
		path := filepath.Join(t.TempDir(), "w.db")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, lookErr := Look(path)
		opened, openErr := Open(path, options)
		if openErr == nil {
			opened.Close()
		}
		if lookErr == nil || openErr == nil || lookErr.Error() != openErr.Error() {
			t.Errorf("%s: Look says %v, Open says %v", name, lookErr, openErr)
		}
	}
}

func ofFormat(t *testing.T, whole []byte, version uint32) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "w.db")
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketMeta.name).Put([]byte("format"), binary.BigEndian.AppendUint32(nil, version))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return read(t, path)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
