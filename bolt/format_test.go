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

// A sample is a storetest.Sample in a file.
type sample struct{ storetest.Sample }

func (v *sample) open(t *testing.T, path string) *bolt.Store {
	clock := storetest.NewClock()
	clock.Advance(storetest.NewClock().Now().AddDate(0, 0, v.Days).Sub(clock.Now()))
	return open(t, path, bolt.Options{Clock: clock, LogSize: 8 << 10})
}

// A file that was not closed gives the answers that its store gave before the crash. With
// -make-format, the file and the answers are kept: see testdata/README.md.
func TestASampleIsTheSameAfterACrash(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "welcomed.db"), storetest.NewClock()
	s := open(t, path, bolt.Options{Clock: clock, LogSize: 8 << 10})
	v := sample{storetest.MakeSample(t, s, clock)}
	file, err := os.ReadFile(path)
	must(t, err)
	v.Answers = v.Ask(t, s)
	crashed := filepath.Join(t.TempDir(), "welcomed.db")
	must(t, os.WriteFile(crashed, file, 0o600))
	if *makeFormat != "" {
		keepSample(t, *makeFormat, file, v)
	}
	storetest.SameAnswers(t, v.Ask(t, v.open(t, crashed)), v.Answers)
}

func keepSample(t *testing.T, dir string, file []byte, v sample) {
	t.Helper()
	answers, err := json.MarshalIndent(v.Sample, "", "\t")
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
