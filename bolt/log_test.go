package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
	"welcomed/store"
)

// A mirror does to a map what is done to the rows of a store.
type mirror struct {
	t    *testing.T
	path string
	s    *Store
	rows map[string]string
	rand *rand.Rand
}

func (m *mirror) open() {
	m.t.Helper()
	s, err := Open(m.path, Options{Limits: delivery.DefaultLimits(), LogSize: 8 << 10, idleAfter: time.Millisecond, headroom: littleHeadroom})
	must(m.t, err)
	m.s = s
	m.t.Cleanup(func() { _ = s.Close() })
}

// grow has the file mapped for good: to map more, the writer waits for readers.
func (m *mirror) grow() {
	m.t.Helper()
	must(m.t, m.s.writer.do(context.Background(), 0, func(t *store.Txn) error {
		t.Rows().Put(kindKeyPackages, numberKey(1), make([]byte, 4<<20))
		return nil
	}))
}

func (m *mirror) key() string { return fmt.Sprintf("%03d", m.rand.IntN(300)) }

// change writes some rows in one transaction, which fails in the end if err is
// not nil.
func (m *mirror) change(err error) {
	m.t.Helper()
	after := maps.Clone(m.rows)
	got := m.s.writer.do(context.Background(), 0, func(t *store.Txn) error {
		for range 1 + m.rand.IntN(40) {
			key := m.key()
			if m.rand.IntN(3) == 0 {
				t.Rows().Delete(kindNames, []byte(key))
				delete(after, key)
				continue
			}
			after[key] = string(bytes.Repeat([]byte{byte(m.rand.IntN(256))}, m.rand.IntN(400)))
			t.Rows().Put(kindNames, []byte(key), []byte(after[key]))
		}
		m.compare(t, after)
		return err
	})
	if !errors.Is(got, err) {
		m.t.Fatalf("got %v, want %v", got, err)
	}
	if err == nil {
		m.rows = after
	}
}

// compare reads every row, one by one and in a scan from somewhere.
func (m *mirror) compare(t *store.Txn, want map[string]string) {
	m.t.Helper()
	for i := range 300 {
		key := fmt.Sprintf("%03d", i)
		value, ok := want[key]
		if got := t.Rows().Get(kindNames, []byte(key)); (got != nil) != ok || string(got) != value {
			m.t.Fatalf("%s is %x, want %x (%v)", key, got, value, ok)
		}
	}
	prefix, from := fmt.Sprint(m.rand.IntN(3)), m.key()
	var got, keys []string
	for k, v := range scan(t.Rows(), kindNames, []byte(prefix), []byte(from)) {
		got = append(got, string(k)+"="+string(v))
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if k[:1] == prefix && k >= from {
			keys = append(keys, k+"="+want[k])
		}
	}
	if !slices.Equal(got, keys) {
		m.t.Fatalf("a scan of %s from %s yields %d rows, want %d", prefix, from, len(got), len(keys))
	}
}

// Rows are what was last written, wherever the log stands: also in a snapshot
// that was taken before, after a transaction that failed, and after a crash.
func TestRowsAreWhatWasLastWritten(t *testing.T) {
	for seed := range uint64(20) {
		m := &mirror{t: t, path: filepath.Join(t.TempDir(), "welcomed.db"), rows: map[string]string{}, rand: rand.New(rand.NewPCG(seed, 0))}
		m.open()
		m.grow()
		for range 150 {
			switch m.rand.IntN(12) {
			case 0:
				m.change(errRefused)
			case 1:
				m.crash()
			case 2:
				m.mergeAll()
			case 3:
				m.snapshot()
			default:
				m.change(nil)
			}
			must(t, m.s.View(t.Context(), func(t *store.Txn) error { m.compare(t, m.rows); return nil }))
		}
	}
}

// crash leaves the file as it is on the disk. The writer has nothing to do; it
// ends first, as it looks at the file now and then.
func crash(t *testing.T, s *Store) {
	t.Helper()
	s.looker.stop()
	s.writer.close()
	must(t, s.db.Close())
}

// crash opens the file again as it is on the disk.
func (m *mirror) crash() {
	m.t.Helper()
	crash(m.t, m.s)
	m.open()
}

// mergeAll waits until nothing is in the log any more.
func (m *mirror) mergeAll() {
	m.t.Helper()
	must(m.t, m.s.writer.do(context.Background(), 0, func(t *store.Txn) error {
		m.s.writer.merging = true
		return nil
	}))
	deadline := time.Now().Add(20 * time.Second)
	for waiting := 1; waiting > 0; time.Sleep(time.Millisecond) {
		tx, rows, err := m.s.beginRead()
		must(m.t, err)
		waiting = rows.Len()
		must(m.t, tx.Rollback())
		if time.Now().After(deadline) {
			m.t.Fatal("the log is not merged while nothing is to do")
		}
	}
}

// snapshot has a reader look again after others have written.
func (m *mirror) snapshot() {
	m.t.Helper()
	before := m.rows
	tx, rows, err := m.s.beginRead()
	must(m.t, err)
	for range 5 {
		m.change(nil)
	}
	m.compare(&m.s.newTxn(tx, rows).Txn, before)
	must(m.t, tx.Rollback())
}

// The log does not grow without end while rows change, many or few at a time,
// and neither does what is in memory.
func TestTheLogStaysWithinItsBounds(t *testing.T) {
	for _, each := range []int{1, 10, 200} {
		s, err := Open(filepath.Join(t.TempDir(), "welcomed.db"), Options{Limits: delivery.DefaultLimits(), LogSize: 64 << 10, headroom: littleHeadroom})
		must(t, err)
		defer s.Close()
		s.db.NoSync = true
		most, rows, pieces := 0, 0, 0
		for n := 0; n < 20_000; n += each {
			must(t, s.writer.do(context.Background(), 0, func(t *store.Txn) error {
				for range each {
					t.Rows().Put(kindNames, mlstest.Random(8), mlstest.Random(100))
				}
				return nil
			}))
			log := s.writer.log
			most, rows, pieces = max(most, log.bytes), max(rows, s.writer.rows.Len()), max(pieces, len(log.saved.sizes), len(log.sizes))
		}
		if n := len(s.writer.log.slots); n > pieces+each*120/pieceBytes+2 {
			t.Errorf("%d rows at a time: %d slots for at most %d pieces", each, n, pieces)
		}
		if most > 2*(64<<10) || rows > 2*(64<<10)/100 {
			t.Errorf("%d rows at a time: %d bytes waited to be merged, %d rows", each, most, rows)
		}
	}
}

// The log keeps to its limit when every row is new. Each new device has a higher number than
// all devices before it, so a round of the merge must not follow the new rows for ever.
func TestTheLogStaysWithinItsBoundsWhenAllRowsAreNew(t *testing.T) {
	const limit = 512 << 10
	s, err := Open(filepath.Join(t.TempDir(), "welcomed.db"), Small(Options{Limits: delivery.DefaultLimits(), LogSize: limit, idleAfter: time.Hour}))
	must(t, err)
	defer s.Close()
	s.db.NoSync = true
	share(400*60, 60, func(n int) {
		id := delivery.DeviceID{User: delivery.UserID(fmt.Sprintf("u%08x", uint32(n)*2654435761)), Name: "phone"}
		items := []delivery.NewKeyPackage{unsigned(3 * n), unsigned(3*n + 1), unsigned(3*n + 2)}
		if _, err := s.Publish(t.Context(), delivery.Unauthenticated(), id, items); err != nil {
			t.Error(err)
		}
	})
	if waiting := s.writer.log.bytes; waiting > limit {
		t.Errorf("%d bytes wait to be merged, the limit is %d", waiting, limit)
	}
}

// A file can be opened after some commits have failed. A failed commit leaves no slots in the
// memory of the log that the file does not have.
func TestAFileOpensAfterCommitsThatFailed(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 1))
		path := filepath.Join(t.TempDir(), "welcomed.db")
		opts := Options{Limits: delivery.DefaultLimits(), LogSize: 64 << 10, idleAfter: time.Hour}
		s, err := Open(path, opts)
		must(t, err)
		s.db.NoSync = true
		for range 200 {
			if r.IntN(20) == 0 {
				failWhileFull(t, s)
			}
			must(t, s.writer.do(t.Context(), 0, func(x *store.Txn) error {
				for j := range 1 + r.IntN(30) {
					x.Rows().Put(kindNames, fmt.Append(nil, r.IntN(1000)+j), make([]byte, r.IntN(400)))
				}
				return nil
			}))
		}
		must(t, s.db.Sync())
		crash(t, s)
		s, err = Open(path, opts)
		must(t, err)
		must(t, s.Close())
	}
}

// failWhileFull makes one commit fail because the file has no room.
func failWhileFull(t *testing.T, s *Store) {
	t.Helper()
	s.db.MaxSize = 1
	err := s.writer.do(t.Context(), 0, func(x *store.Txn) error {
		x.Rows().Put(kindNames, []byte("full"), make([]byte, 10000))
		x.Rows().Put(kindKeyPackages, numberKey(1<<40), make([]byte, 16<<20))
		return nil
	})
	s.db.MaxSize = 0
	if !errors.Is(err, delivery.ErrFull) {
		t.Fatal(err)
	}
}
