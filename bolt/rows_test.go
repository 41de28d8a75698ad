package bolt

import (
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

var phone = delivery.DeviceID{User: "alice", Name: "phone"}

func openAt(t *testing.T, clock delivery.Clock) *Store {
	t.Helper()
	s, err := Open(t.TempDir()+"/welcomed.db", Options{Limits: delivery.DefaultLimits(), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func publishOne(t *testing.T, s *Store, device delivery.DeviceID) delivery.NewKeyPackage {
	t.Helper()
	kp, err := mls.ParseKeyPackage(mlstest.NewSigner(1, "alice").KeyPackage())
	must(t, err)
	item := delivery.Publication(kp)
	_, err = s.Publish(t.Context(), delivery.Unauthenticated(), device, []delivery.NewKeyPackage{item})
	must(t, err)
	return item
}

// A removed device is forgotten with its last row, and is then in no count,
// also when both happen in one commit.
func TestARemovedDeviceIsForgotten(t *testing.T) {
	remove := func(x *txn) error { x.removeDevice(x.device(phone), x.now, x.next()); return nil }
	sweep := func(x *txn) error {
		for _, due := range x.dueTimers(timerTombstones, 10) {
			x.del(kindTimers, due.key)
			x.fireTombstones(due, &delivery.SweepResult{})
		}
		return nil
	}
	for name, events := range map[string][]func(*txn) error{
		"removed, then swept": {remove, sweep},
		"swept, then removed": {sweep, remove},
	} {
		t.Run(name, func(t *testing.T) {
			clock := storetest.NewClock()
			s := openAt(t, clock)
			s.limits.TombstoneKept = 0 // nor is it remembered that it was removed
			item := publishOne(t, s, phone)
			must(t, s.Withdraw(t.Context(), delivery.Unauthenticated(), phone, item.Ref))
			clock.Advance(2 * seenExact)
			_, err := s.Sweep(t.Context())
			must(t, err)
			clock.Advance(500 * seenExact)
			for _, err := range gather(t, s, events) {
				must(t, err)
			}
			must(t, s.View(t.Context(), func(x *txn) error {
				if x.device(phone) != nil || x.rows.Totals().stock != (Totals{}).stock {
					t.Errorf("device %v, counted %v", x.device(phone), x.rows.Totals().stock)
				}
				return nil
			}))
		})
	}
}

// One row that cannot be read does not keep a sweep from the others.
func TestASweepPassesADamagedRow(t *testing.T) {
	clock := storetest.NewClock()
	s := openAt(t, clock)
	damaged := publishOne(t, s, phone)
	other := publishOne(t, s, delivery.DeviceID{User: "alice", Name: "tablet"})
	must(t, s.writer.do(t.Context(), 0, func(x *txn) error {
		d, k := x.refOwner(damaged.Ref)
		x.put(kindDevices, d.keyPackageRow(k.row, k.number), []byte{0xff})
		return nil
	}))
	clock.Advance(s.opts.Limits.ShelfAge + time.Hour)
	if _, err := s.Sweep(t.Context()); !errors.Is(err, errCorrupt) {
		t.Errorf("the sweep says %v", err)
	}
	must(t, s.View(t.Context(), func(x *txn) error {
		if _, k := x.refOwner(other.Ref); k.rec.State != delivery.Retired {
			t.Errorf("the other is %v", k.rec.State)
		}
		return nil
	}))
	_, err := s.Sweep(t.Context())
	must(t, err)
}

// The queue does not keep events alive that are done.
func TestFinishedEventsAreLetGo(t *testing.T) {
	s := openTest(t)
	const n = 40
	freed := make(chan struct{}, n)
	entered, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.writer.do(t.Context(), 0, func(*txn) error { close(entered); <-release; return nil }) })
	<-entered
	for i := range n {
		wg.Go(func() {
			payload := make([]byte, 1<<20)
			runtime.AddCleanup(&payload[0], func(struct{}) { freed <- struct{}{} }, struct{}{})
			_ = s.writer.do(t.Context(), len(payload), func(*txn) error { payload[0] = 1; return nil })
		})
		for s.writer.waiting() != i+1 {
		}
	}
	close(release)
	wg.Wait()
	must(t, s.writer.do(t.Context(), 0, func(*txn) error { return nil }))
	deadline := time.After(30 * time.Second)
	for range n {
		runtime.GC()
		select {
		case <-freed:
		case <-deadline:
			t.Fatal("events that are done are kept")
		}
	}
}

// On a disk with no page left, a device still gets its answer when there is
// nothing to write but that it was seen.
func TestAFullFileDoesNotFailAClaimThatOnlyTakesNotes(t *testing.T) {
	clock := storetest.NewClock()
	s := openAt(t, clock)
	publishOne(t, s, phone)
	s.db.MaxSize = int(s.fileSize.Load())
	// While somebody reads, no page that a commit frees can be used again.
	reader, err := s.db.Begin(false)
	must(t, err)
	defer reader.Rollback()
	touch := func(x *txn) error { x.touch(x.device(phone)); return nil }
	for err == nil {
		err = s.writer.do(t.Context(), 0, touch)
	}
	if !errors.Is(err, delivery.ErrFull) {
		t.Fatal(err)
	}
	clock.Advance(2 * seenExact)
	_, err = s.Claim(t.Context(), delivery.Unauthenticated(), phone, delivery.ClaimOptions{})
	must(t, err)
}
