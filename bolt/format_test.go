package bolt_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"welcomed/bolt"
	"welcomed/delivery/storetest"
)

var makeFormat = flag.String("make-format", "", "keep a file of this format, and what is answered of it, in this directory")

// A village is one whose store is in a file.
type village struct{ storetest.Village }

func (v *village) open(t *testing.T, path string) *bolt.Store {
	clock := storetest.NewClock()
	clock.Advance(storetest.NewClock().Now().AddDate(0, 0, v.Days).Sub(clock.Now()))
	return open(t, path, bolt.Options{Clock: clock, LogSize: 8 << 10})
}

// What a file answers after a crash, it answers when it was not closed. With
// -make-format, both are kept: see testdata/README.md.
func TestAVillageIsTheSameAfterACrash(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "welcomed.db"), storetest.NewClock()
	s := open(t, path, bolt.Options{Clock: clock, LogSize: 8 << 10})
	v := village{storetest.LiveVillage(t, s, clock)}
	file, err := os.ReadFile(path)
	must(t, err)
	v.Answers = v.Ask(t, s)
	crashed := filepath.Join(t.TempDir(), "welcomed.db")
	must(t, os.WriteFile(crashed, file, 0o600))
	if *makeFormat != "" {
		keepVillage(t, *makeFormat, file, v)
	}
	storetest.SameAnswers(t, v.Ask(t, v.open(t, crashed)), v.Answers)
}

func keepVillage(t *testing.T, dir string, file []byte, v village) {
	t.Helper()
	answers, err := json.MarshalIndent(v.Village, "", "\t")
	must(t, err)
	for name, content := range map[string][]byte{"welcomed.db.gz": file, "answers.json.gz": answers} {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
		_, err = z.Write(content)
		must(t, errors.Join(err, z.Close()))
		must(t, os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644))
	}
}

func unzipped(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	b, err := io.ReadAll(z)
	must(t, err)
	return b
}
