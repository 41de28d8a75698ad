package mls

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// ReadVectors reads a file of the MLS working group's test vectors, which are not
// part of this repository: from $WELCOMED_VECTORS, or from shared/vectors beside
// the repository.
func ReadVectors(t *testing.T, file string, into any) {
	t.Helper()
	folder := os.Getenv("WELCOMED_VECTORS")
	if folder == "" {
		folder = filepath.Join("..", "..", "shared", "vectors")
	}
	b, err := os.ReadFile(filepath.Join(folder, file))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no %s in %s: set WELCOMED_VECTORS to test-vectors/ of mlswg/mls-implementations", file, folder)
	}
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}
