package bolt

import (
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/store"
)

// The queue does not keep events alive that are done.
func TestFinishedEventsAreLetGo(t *testing.T) {
	s := openTest(t)
	const n = 40
	freed := make(chan struct{}, n)
	entered, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = s.writer.do(t.Context(), 0, func(*store.Txn) error { close(entered); <-release; return nil })
	})
	<-entered
	for i := range n {
		wg.Go(func() {
			payload := make([]byte, 1<<20)
			runtime.AddCleanup(&payload[0], func(struct{}) { freed <- struct{}{} }, struct{}{})
			_ = s.writer.do(t.Context(), len(payload), func(*store.Txn) error { payload[0] = 1; return nil })
		})
		for s.writer.waiting() != i+1 {
		}
	}
	close(release)
	wg.Wait()
	must(t, s.writer.do(t.Context(), 0, func(*store.Txn) error { return nil }))
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
	for err == nil { // as what notes that a device was seen
		err = s.writer.do(t.Context(), 0, putting("a note"))
	}
	if !errors.Is(err, delivery.ErrFull) {
		t.Fatal(err)
	}
	clock.Advance(2 * 24 * time.Hour)
	_, err = s.Claim(t.Context(), delivery.Unauthenticated(), phone, delivery.ClaimOptions{})
	must(t, err)
}
