package bolt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/store"
)

// A history is a store that is written to, and what was in it after each
// transaction.
type history struct {
	t    *testing.T
	s    *Store
	path string
	rand *rand.Rand
	mu   sync.Mutex // a step is noted before another goroutine looks at was
	was  map[[32]byte]bool
	pool []delivery.NewKeyPackage
}

func newHistory(t *testing.T, seed uint64) *history {
	t.Helper()
	h := &history{t: t, path: filepath.Join(t.TempDir(), "welcomed.db"), rand: rand.New(rand.NewPCG(seed, 3)), was: map[[32]byte]bool{}}
	s, err := Open(h.path, Options{Clock: storetest.NewClock(), Limits: delivery.DefaultLimits(), LogSize: 16 << 10, idleAfter: 1 << 60})
	must(t, err)
	h.s = s
	s.db.NoSync = true
	t.Cleanup(func() { _ = s.Close() })
	for range 8 {
		signer := mlstest.NewSigner(1, "alice")
		for range 40 {
			kp, err := mls.ParseKeyPackage(signer.KeyPackage(mlstest.WithPadding(h.rand.IntN(300))))
			must(t, err)
			h.pool = append(h.pool, delivery.Publication(kp))
		}
	}
	h.note()
	return h
}

func (h *history) device(i int) delivery.DeviceID {
	return delivery.DeviceID{User: "alice", Name: fmt.Sprint(i)}
}

// step is one event.
func (h *history) step() {
	h.mu.Lock()
	defer h.mu.Unlock()
	ctx, d := context.Background(), h.device(h.rand.IntN(8))
	switch h.rand.IntN(5) {
	case 0:
		i := h.rand.IntN(len(h.pool))
		_, _ = h.s.Publish(ctx, delivery.Unauthenticated(), h.device(i/40), h.pool[i:i+1])
	case 1:
		_, _ = h.s.Reserve(ctx, delivery.Caller{User: "bob"}, delivery.ReserveRequest{Devices: []delivery.DeviceID{d}})
	case 2:
		one := h.rand.IntN(len(h.pool))
		other := (one + 1 + h.rand.IntN(len(h.pool)-1)) % len(h.pool)
		m, err := mls.ParseWelcome(mlstest.Welcome(1, h.pool[one].Ref, h.pool[other].Ref))
		must(h.t, err)
		_, _ = h.s.Post(ctx, delivery.Caller{User: "bob"}, delivery.Posting{Welcome: m, RatchetTree: make([]byte, h.rand.IntN(9000)>>h.rand.IntN(8))})
	case 3:
		r, _ := h.s.Claim(ctx, delivery.Unauthenticated(), d, delivery.ClaimOptions{})
		h.note()
		for _, m := range r.Deliveries {
			_ = h.s.Acknowledge(ctx, delivery.Unauthenticated(), d, m.ID, "")
			h.note()
		}
	case 4:
		_ = h.s.RemoveDevice(ctx, delivery.Unauthenticated(), h.device(h.rand.IntN(80)))
	}
	h.note()
}

// note keeps what is in the store now.
func (h *history) note() {
	must(h.t, h.s.db.View(func(tx *bbolt.Tx) error { h.was[contentOf(tx)] = true; return nil }))
}

// contentOf is a hash over all rows, those of the log in their places: merging them
// changes nothing. The mark and the number of the commit are left out: marking a file
// is a commit.
func contentOf(tx *bbolt.Tx) [32]byte {
	hash := sha256.New()
	f, _, err := snapshot(tx, delivery.DefaultLimits())
	if err != nil {
		panic(err)
	}
	for _, kind := range store.Kinds {
		for k, v := range scan(f.Rows(), kind, nil, nil) {
			if string(k) != "restored" && string(k) != string(keyCommit) {
				binary.Write(hash, binary.BigEndian, [2]uint32{uint32(len(k)), uint32(len(v))})
				hash.Write(k)
				hash.Write(v)
			}
		}
	}
	return [32]byte(hash.Sum(nil))
}

// matches reports whether the file at path, which is marked, is what was in the
// store after one transaction.
func (h *history) matches(path string) bool {
	h.t.Helper()
	db, err := openFile(path, Options{})
	must(h.t, err)
	defer db.Close()
	same := false
	must(h.t, db.View(func(tx *bbolt.Tx) error {
		if tx.Bucket(bucketMeta.name).Get([]byte("restored")) == nil {
			h.t.Fatal("a copy is not marked")
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		same = h.was[contentOf(tx)]
		return nil
	}))
	return same
}

// under runs fn while the store is written to.
func (h *history) under(fn func()) {
	h.t.Helper()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				h.step()
			}
		}
	}()
	defer func() { // also where fn ends the test: the store is closed after that
		close(stop)
		<-ended
	}()
	fn()
}

// A backup is what was in the store after one transaction, under any load.
func TestABackupIsOneState(t *testing.T) {
	h := newHistory(t, 1)
	for range 500 {
		h.step()
	}
	path := filepath.Join(t.TempDir(), "backup.db")
	h.under(func() {
		for range 40 {
			f, err := h.s.Backup(t.Context())
			must(t, err)
			if open := h.s.db.Stats().OpenTxN; open > 1 { // note has one at times
				t.Errorf("%d transactions are open while the copy waits to be read", open)
			}
			b, err := io.ReadAll(f)
			must(t, err)
			must(t, f.Close())
			must(t, os.WriteFile(path, b, 0o600))
			if !h.matches(path) {
				t.Fatal("a backup is of no state that there was")
			}
		}
	})
}

// A file that is copied page by page while it is written to is either what was
// there after one transaction, or is refused. The test writes between two pages that
// it copies, and draws from a seed, so that the same copies are torn each time.
func TestATornCopyIsRefused(t *testing.T) {
	refused, accepted := 0, 0
	for seed := range uint64(3) {
		cryptotest.SetGlobalRandom(t, seed)
		h := newHistory(t, seed)
		for range 100 {
			h.step()
		}
		dir := t.TempDir()
		for i := range 40 {
			path := filepath.Join(dir, fmt.Sprint(i)) // one that bbolt panicked over stays mapped
			h.copySlowly(path)
			if err := MarkRestored(t.Context(), path); err != nil {
				refused++
				if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "database") {
					t.Errorf("it says %v", err)
				}
				continue
			}
			accepted++
			if !h.matches(path) {
				t.Errorf("seed %d: copy %d is torn, and was taken for a whole one", seed, i)
			}
		}
	}
	t.Logf("%d refused, %d accepted", refused, accepted)
	if refused == 0 {
		t.Error("no copy was torn")
	}
}

// copySlowly copies the file page by page. Now and then it writes to the store before it
// goes on, as long as it comes to pages that are in use: behind them is room to grow.
func (h *history) copySlowly(to string) {
	h.t.Helper()
	in, err := os.Open(h.path)
	must(h.t, err)
	defer in.Close()
	out, err := os.Create(to)
	must(h.t, err)
	defer out.Close()
	var used int64
	must(h.t, h.s.db.View(func(tx *bbolt.Tx) error { used = tx.Size() / pageSize; return nil }))
	every := used/(1+h.rand.Int64N(20)) + 1
	for page := range used {
		_, err := io.CopyN(out, in, pageSize)
		must(h.t, err)
		if page%every == 0 {
			h.step()
		}
	}
	_, err = io.Copy(out, in)
	must(h.t, err)
}

// What keeps a backup from being made is said, and nothing stays behind.
func TestABackupThatIsNotWantedLeavesNothing(t *testing.T) {
	h := newHistory(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.s.Backup(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	must(t, h.s.Close())
	if _, err := h.s.Backup(t.Context()); !errors.Is(err, delivery.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := os.Stat(h.path + copySuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// What is wrong in a row is found although every page is as it should be.
func TestACheckReadsRows(t *testing.T) {
	name := []byte(string(phone.User) + "\x00" + phone.Name)
	for what, damage := range map[string]func(x *store.Txn, device []byte){
		"another's bytes": func(x *store.Txn, _ []byte) { x.Rows().Put(kindKeyPackages, numberKey(2), []byte("others")) },
		"a count": func(x *store.Txn, _ []byte) {
			*x.Counted().Counters()[delivery.Available]++
			x.Rows().Put(kindNames, name, bytes.Clone(x.Rows().Get(kindNames, name))) // so that something is written
		},
		"a device's count": func(x *store.Txn, device []byte) {
			x.Rows().Put(kindDevices, device, oneMoreAvailable(x.Rows().Get(kindDevices, device)))
		},
		"a lost device": func(x *store.Txn, device []byte) { x.Rows().Delete(kindDevices, device) },
	} {
		path := filepath.Join(t.TempDir(), "welcomed.db")
		s, err := Open(path, Options{Limits: delivery.DefaultLimits()})
		must(t, err)
		publishOne(t, s, phone)
		must(t, s.writer.do(t.Context(), 0, func(x *store.Txn) error {
			damage(x, append(bytes.Clone(x.Rows().Get(kindNames, name)), 0))
			return nil
		}))
		must(t, s.Close())
		if err := Check(t.Context(), path); !errors.Is(err, store.ErrUnsound) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// oneMoreAvailable is the row of a device, with one KeyPackage more on its shelf.
func oneMoreAvailable(row []byte) []byte {
	row, at := bytes.Clone(row), 1 // behind its flags
	for range 2 {                  // its user and its name
		at += 1 + int(row[at])
	}
	for range 2 { // when it was seen, and until when its shelf needs no look
		_, n := binary.Uvarint(row[at:])
		at += n
	}
	row[at]++
	return row
}

// A crash while the shelves of a restored file are retired is made good at the
// next start.
func TestARestoreThatIsInterruptedGoesOn(t *testing.T) {
	path, opts := filepath.Join(t.TempDir(), "welcomed.db"), Options{Limits: delivery.DefaultLimits()}
	s, err := Open(path, opts)
	must(t, err)
	s.db.NoSync = true
	const devices = 1200 // more than two transactions
	share(devices, 64, func(i int) {
		id := delivery.DeviceID{User: delivery.UserID(fmt.Sprint(i)), Name: "phone"}
		if _, err := s.Publish(t.Context(), delivery.Unauthenticated(), id, []delivery.NewKeyPackage{unsigned(i)}); err != nil {
			t.Error(err)
		}
	})
	must(t, s.db.Sync())
	must(t, s.Close())
	must(t, markUnchecked(path)) // MarkRestored refuses KeyPackages that are none

	db, file, err := openAhead(path, opts)
	must(t, err)
	s = &Store{path: path, opts: opts, db: db, file: file}
	must(t, s.secure())
	var meta fileMeta
	must(t, db.View(func(tx *bbolt.Tx) (err error) {
		meta, err = readMeta(tx)
		s.state.Store(&meta.state)
		return err
	}))
	s.guard = delivery.NewClockGuard(delivery.SystemClock(), meta.state.seen, false)
	s.Store = store.New(s, store.Options{Name: path, Limits: opts.Limits, Guard: s.guard, Meta: meta.Meta})
	must(t, s.startWriter())
	ctx, cancel := context.WithCancel(t.Context())
	s.opts.ObserveCommit = func(int, time.Duration) { cancel() }
	if err := s.Start(ctx, true); !errors.Is(err, context.Canceled) {
		t.Fatalf("it was not interrupted: %v", err)
	}
	if left := onShelves(t, s); left == 0 || left == devices {
		t.Fatalf("%d are on the shelves in the middle of it", left)
	}
	crash(t, s)

	s, err = Open(path, opts)
	must(t, err)
	if left := onShelves(t, s); left != 0 || !s.Restored() {
		t.Errorf("%d are left on the shelves (restored: %v)", left, s.Restored())
	}
	must(t, s.Close())
	s, err = Open(path, opts)
	must(t, err)
	defer s.Close()
	if s.Restored() {
		t.Error("the mark is still there")
	}
}

func onShelves(t *testing.T, s *Store) int {
	t.Helper()
	stats, err := s.Stats(t.Context())
	must(t, err)
	return stats.KeyPackages[delivery.Available]
}
