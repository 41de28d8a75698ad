package store

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"testing"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

var (
	ann    = delivery.Caller{User: "ann"}
	phone  = delivery.DeviceID{User: "alice", Name: "phone"}
	tablet = delivery.DeviceID{User: "alice", Name: "tablet"}
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openTest serves a new database by the machine's clock.
func openTest(t testing.TB) *MemoryStore { return openAt(t, nil) }

// openAt serves a new database.
func openAt(t testing.TB, clock delivery.Clock) *MemoryStore {
	return openWith(t, clock, delivery.DefaultLimits())
}

func openWith(t testing.TB, clock delivery.Clock, limits delivery.Limits) *MemoryStore {
	t.Helper()
	s, err := NewMemory().Open(clock, false, Options{Limits: limits})
	must(t, err)
	return s
}

// totals are those of all that was committed.
func totals(s *MemoryStore) *Totals {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	sum := s.memory.totals
	return &sum
}

func deviceNo(i int) delivery.DeviceID {
	return delivery.DeviceID{User: delivery.UserID(fmt.Sprintf("user-%08d", i)), Name: "phone"}
}

func deviceOf(user delivery.UserID, name string) delivery.DeviceID {
	return delivery.DeviceID{User: user, Name: name}
}

// unsigned is the KeyPackage number n, whose bytes are no object.
func unsigned(n int) delivery.NewKeyPackage {
	h := sha256.Sum256(fmt.Append(nil, n))
	return delivery.NewKeyPackage{Ref: mls.CipherSuite(1).RefOf(h[:]), Suite: 1, Lifetime: mls.Lifetime{NotAfter: math.MaxUint64}, InitKey: h[:], Bytes: h[:]}
}

func publishOne(t *testing.T, s *MemoryStore, device delivery.DeviceID) delivery.NewKeyPackage {
	t.Helper()
	kp, err := mls.ParseKeyPackage(mlstest.NewSigner(1, "alice").KeyPackage())
	must(t, err)
	item := delivery.Publication(kp)
	_, err = s.Publish(t.Context(), delivery.Unauthenticated(), device, []delivery.NewKeyPackage{item})
	must(t, err)
	return item
}

func parsedWelcome(t *testing.T, refs ...mls.KeyPackageRef) *mls.Welcome {
	t.Helper()
	w, err := mls.ParseWelcome(mlstest.Welcome(1, refs...))
	must(t, err)
	return w
}

func refsOf(items []delivery.NewKeyPackage) (refs []mls.KeyPackageRef) {
	for _, item := range items {
		refs = append(refs, item.Ref)
	}
	return refs
}

// snapshot is a transaction over what nobody serves.
func (m *Memory) snapshot() (*memoryRows, *Txn, error) {
	r := m.begin()
	meta, err := ReadMeta(r)
	if err != nil {
		return nil, nil, err
	}
	t := &Txn{}
	New(nil, Options{Limits: delivery.DefaultLimits(), Meta: meta}).Begin(t, r, r.seen)
	return r, t, nil
}

// change changes rows as a transaction of a database that nobody serves.
func (m *Memory) change(changes ...func(*Txn)) error {
	r, t, err := m.snapshot()
	if err != nil {
		return err
	}
	defer m.end(r)
	err = t.Run(func(t *Txn) error {
		for _, change := range changes {
			change(t)
		}
		t.Flush()
		return nil
	})
	if err == nil {
		m.rows = r.now
		m.totals.Add(t.Counted())
	}
	return err
}

// examine checks a database that nobody serves.
func examine(t *testing.T, m *Memory) (r *Report, fixes []func(*Txn)) {
	t.Helper()
	_, txn, err := m.snapshot()
	must(t, err)
	r = &Report{}
	fixes, err = txn.Check(t.Context(), r, CheckOptions{})
	must(t, err)
	return r, fixes
}

// repair repairs what can be repaired of a database that nobody serves.
func repair(t *testing.T, m *Memory) *Report {
	t.Helper()
	for range 50 {
		r, fixes := examine(t, m)
		if len(fixes) == 0 {
			return r
		}
		must(t, m.change(fixes...))
	}
	t.Fatal("repairs do not come to an end")
	return nil
}

func sound(t *testing.T, m *Memory) {
	t.Helper()
	if r, _ := examine(t, m); !r.Sound() {
		t.Fatalf("%+v", r.Findings)
	}
}

// flipIn flips a bit of a row of a database that nobody serves: at is a place in the row,
// counted from its end if that is negative.
func flipIn(t *testing.T, m *Memory, find func(*Txn) (row []byte, at int)) {
	t.Helper()
	_, txn, err := m.snapshot()
	must(t, err)
	txn.raw = true
	row, at := find(txn)
	if at < 0 {
		at += len(row)
	}
	found := 0
	m.Change(func(rows Rows) {
		for _, k := range Kinds {
			for key, value := range txn.scan(k, nil, nil) {
				if bytes.Equal(value, row) {
					flipped := bytes.Clone(row)
					flipped[at] ^= 0x10
					rows.Put(k, key, flipped)
					found++
				}
			}
		}
	})
	if found != 1 || len(row) < 8 {
		t.Fatalf("the row %x is there %d times", row, found)
	}
}
