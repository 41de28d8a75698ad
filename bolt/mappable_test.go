package bolt_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"welcomed/bolt"
	"welcomed/delivery"
)

func TestA32BitProgramLimitsItsFileToWhatItCanMap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "welcomed.db")
	s := open(t, path, bolt.Options{})
	stats, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]int64{32: 1 << 30, 64: 0}[strconv.IntSize]
	if stats.LimitBytes != want {
		t.Errorf("the limit is %d, want %d", stats.LimitBytes, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s, err = bolt.Open(path, bolt.Options{Limits: delivery.DefaultLimits(), MaxSize: 1<<30 + 1})
	if err == nil {
		err = s.Close()
	}
	if refused := err != nil && strings.Contains(err.Error(), "cannot be mapped by a 32-bit program"); refused != (strconv.IntSize == 32) {
		t.Errorf("a limit of more than 1 GiB: %v", err)
	}
}
