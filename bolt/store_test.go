package bolt_test

import (
	"path/filepath"
	"testing"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		path := filepath.Join(t.TempDir(), "welcomed.db")
		var last *bolt.Store
		closed := 0
		return storetest.Fixture{
			Open: func(t *testing.T, clock delivery.Clock, limits delivery.Limits) delivery.Store {
				s, err := bolt.Open(path, bolt.Options{Limits: limits, Clock: clock})
				if err != nil {
					t.Fatal(err)
				}
				if last != nil {
					closed += last.Commits()
				}
				last = s
				return s
			},
			Commits: func() int { return closed + last.Commits() },
		}
	})
}
