package bolt_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/store"
)

// Every promise holds, also when each commit merges a part of the log, and when the file
// is checked and compacted whenever it is closed.
func TestStore(t *testing.T) {
	t.Run("as it is", func(t *testing.T) { runSuite(t, bolt.Options{}, nil) })
	t.Run("merging all the time", func(t *testing.T) { runSuite(t, bolt.Options{LogSize: 1}, nil) })
	t.Run("checked and compacted", func(t *testing.T) {
		runSuite(t, bolt.Options{LogSize: 4096}, func(t *testing.T, path string) { check(t, path); compact(t, path) })
	})
}

// runSuite runs the suite on stores with these options; between says what is
// done to a file that was closed, also at the end.
func runSuite(t *testing.T, opts bolt.Options, between func(t *testing.T, path string)) {
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		path := filepath.Join(t.TempDir(), "welcomed.db")
		var last *bolt.Store
		closed, damaged := 0, false
		if between != nil {
			t.Cleanup(func() {
				_ = last.Close()
				if damaged {
					_, err := bolt.Repair(context.Background(), path, store.CheckOptions{})
					must(t, err)
				}
				between(t, path)
			})
		}
		return storetest.Fixture{
			Open: func(t *testing.T, clock delivery.Clock, limits delivery.Limits) delivery.Store {
				if last != nil && between != nil && !damaged {
					between(t, path)
				}
				opts := opts
				opts.Limits, opts.Clock = limits, clock
				s, err := bolt.Open(path, bolt.Small(opts))
				if err != nil {
					t.Fatal(err)
				}
				if last != nil {
					closed += last.Commits()
				}
				last = s
				return s
			},
			Commits:      func() int { return closed + last.Commits() },
			MarkRestored: func(t *testing.T) { must(t, bolt.MarkRestored(t.Context(), path)) },
			Damage:       func(t *testing.T, d storetest.Damage) { damaged = true; bolt.FlipPart(t, path, d) },
		}
	})
}

func check(t *testing.T, path string) {
	t.Helper()
	must(t, bolt.Check(context.Background(), path))
}

func compact(t *testing.T, path string) {
	t.Helper()
	must(t, bolt.Compact(context.Background(), path, path+".small", nil))
	must(t, os.Rename(path+".small", path))
}
