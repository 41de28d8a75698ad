package bolt

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/store"
)

// Claims go on when the file is full. The store refuses payloads early enough that room is left
// for claims, also in a file that is larger than the step by which bbolt grows.
func TestClaimsGoOnInAFullFile(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "welcomed.db"), Options{Limits: delivery.DefaultLimits(), MaxSize: 96 << 20, idleAfter: 20 * time.Millisecond})
	must(t, err)
	defer s.Close()
	s.db.NoSync = true
	n := uint64(1000)
	for _, size := range []int{60 << 10, 4 << 10, 300} {
		for err = nil; err == nil; n++ {
			err = s.writer.do(t.Context(), size, func(x *store.Txn) error {
				x.Rows().Put(kindKeyPackages, numberKey(n), make([]byte, size))
				return nil
			})
		}
		if !errors.Is(err, delivery.ErrFull) {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		must(t, s.writer.do(t.Context(), 0, func(x *store.Txn) error {
			for j := range 80 { // what twenty claims change
				x.Rows().Put(kindNames, fmt.Appendf(nil, "%06d", (80*i+j)*7919%4000), make([]byte, 60))
			}
			return nil
		}))
	}
}
