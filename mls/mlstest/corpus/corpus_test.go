package corpus_test

import (
	"testing"

	"welcomed/mls/mlstest/corpus"
)

func TestCorpusIsComplete(t *testing.T) {
	for name, test := range map[string]struct {
		load                  func() (*corpus.Corpus, error)
		keyPackages, welcomes int
	}{
		"mixed":    {corpus.Mixed, 229, 15},
		"thousand": {corpus.Thousand, 1000, 1},
	} {
		c, err := test.load()
		if err != nil {
			t.Fatal(err)
		}
		if len(c.KeyPackages) != test.keyPackages || len(c.Welcomes) != test.welcomes {
			t.Errorf("%s has %d KeyPackages and %d Welcomes, want %d and %d", name,
				len(c.KeyPackages), len(c.Welcomes), test.keyPackages, test.welcomes)
		}
	}
}
