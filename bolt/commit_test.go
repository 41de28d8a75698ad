package bolt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"welcomed/delivery"
	"welcomed/store"
)

// gather keeps the writer busy until n events wait, and then lets them share
// one commit.
func gather(t *testing.T, s *Store, events []func(*store.Txn) error) []error {
	t.Helper()
	entered, release := make(chan struct{}), make(chan struct{})
	go s.writer.do(context.Background(), 0, func(*store.Txn) error { close(entered); <-release; return nil })
	<-entered
	errs := make([]error, len(events))
	var wg sync.WaitGroup
	for i, run := range events {
		wg.Go(func() { errs[i] = s.writer.do(context.Background(), 0, run) })
		for s.writer.waiting() != i+1 {
		}
	}
	close(release)
	wg.Wait()
	return errs
}

func (c *committer) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue)
}

func putting(key string) func(*store.Txn) error {
	return func(t *store.Txn) error { t.Rows().Put(kindNames, []byte(key), []byte("x")); return nil }
}

func has(t *testing.T, s *Store, key string) (found bool) {
	t.Helper()
	if err := s.View(context.Background(), func(t *store.Txn) error { found = t.Rows().Get(kindNames, []byte(key)) != nil; return nil }); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestEventsThatWaitShareOneCommit(t *testing.T) {
	s := openTest(t)
	var events []func(*store.Txn) error
	for i := range 20 {
		events = append(events, putting(fmt.Sprint(i)))
	}
	for _, err := range gather(t, s, events) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if s.Commits() != 1 {
		t.Errorf("%d commits for 20 events", s.Commits())
	}
}

// The writer waits for as many events as shared the last commit, is woken by the
// last of them, and does not wait for one that was alone.
func TestTheNextCommitWaitsForThoseOfTheLast(t *testing.T) {
	c := newCommitter(openTest(t), 0, nil, nil) // whose loop does not run
	queue := func() { go c.do(context.Background(), 0, putting("x")) }
	queue()
	<-c.more
	if c.expect(1) {
		t.Error("waits for one that was alone")
	}
	if !c.expect(3) {
		t.Error("waits for nobody")
	}
	queue()
	for c.waiting() != 2 {
	}
	select {
	case <-c.more:
		t.Error("woken by the second of three")
	default:
	}
	queue()
	<-c.more
	if c.expect(3) {
		t.Error("waits although all have come")
	}
}

var errRefused = errors.New("refused")

func TestARefusalUndoesNoNeighbour(t *testing.T) {
	s := openTest(t)
	errs := gather(t, s, []func(*store.Txn) error{
		putting("before"),
		func(*store.Txn) error { return errRefused },
		putting("after"),
	})
	if errs[0] != nil || !errors.Is(errs[1], errRefused) || errs[2] != nil {
		t.Fatalf("got %v", errs)
	}
	if !has(t, s, "before") || !has(t, s, "after") || s.Commits() != 1 {
		t.Errorf("before %v, after %v, in %d commits", has(t, s, "before"), has(t, s, "after"), s.Commits())
	}
}

// An event that fails after it has written takes its own writes back and
// nobody else's.
func TestAFailureHalfWayUndoesNoNeighbour(t *testing.T) {
	for name, fail := range map[string]func(){"error": func() {}, "panic": func() { panic("a bug") }, "corrupt row": func() { panic(store.ErrCorrupt) }} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t)
			errs := gather(t, s, []func(*store.Txn) error{
				putting("before"),
				func(t *store.Txn) error { _ = putting("half")(t); fail(); return errRefused },
				putting("after"),
			})
			if errs[0] != nil || errs[1] == nil || errs[2] != nil {
				t.Fatalf("got %v", errs)
			}
			if !has(t, s, "before") || has(t, s, "half") || !has(t, s, "after") {
				t.Error("the wrong rows are there")
			}
		})
	}
}

func TestAnEventWhoseCallerIsGoneIsNotRun(t *testing.T) {
	s := openTest(t)
	ctx, cancel := context.WithCancel(context.Background())
	entered, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go s.writer.do(context.Background(), 0, func(*store.Txn) error { close(entered); <-release; return nil })
	<-entered
	go func() { done <- s.writer.do(ctx, 0, putting("late")) }()
	for s.writer.waiting() != 1 {
	}
	cancel()
	close(release)
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if has(t, s, "late") {
		t.Error("it was run")
	}
}

// A commit whose meta page may have been written leaves its callers in doubt,
// and nothing is decided on top of it.
func TestACommitInDoubtStopsTheStore(t *testing.T) {
	s := openTest(t)
	err := s.writer.commitFailed(0, errors.New("input/output error"))
	if !errors.Is(err, delivery.ErrOutcomeUnknown) {
		t.Fatalf("got %v", err)
	}
	<-s.Failed()
	if err := s.writer.do(t.Context(), 0, putting("more")); !errors.Is(err, delivery.ErrOutcomeUnknown) {
		t.Errorf("a later event: %v", err)
	}
	if err := s.Close(); !errors.Is(err, delivery.ErrOutcomeUnknown) {
		t.Errorf("Close says %v", err)
	}
}

// What a reader saw of a commit that is not yet durable is answered only when
// it is.
func TestAReaderWaitsForWhatItSaw(t *testing.T) {
	s := openTest(t)
	if err := s.writer.do(t.Context(), 0, putting("seen")); err != nil {
		t.Fatal(err)
	}
	s.writer.mu.Lock()
	durable := s.writer.durable
	s.writer.durable-- // as if the last sync were still on its way
	s.writer.mu.Unlock()
	looked, answered := make(chan struct{}), make(chan error)
	go func() {
		answered <- s.View(t.Context(), func(*store.Txn) error { close(looked); return nil })
	}()
	<-looked
	for range 10_000 {
		runtime.Gosched() // an answer that does not wait comes in far less
	}
	select {
	case err := <-answered:
		t.Fatalf("answered before the commit was durable: %v", err)
	default:
	}
	s.writer.mu.Lock()
	s.writer.durable = durable
	s.writer.durableCond.Broadcast()
	s.writer.mu.Unlock()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestAClosedStoreSaysSo(t *testing.T) {
	s := openTest(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveUser(t.Context(), delivery.Unauthenticated(), "alice"); !errors.Is(err, delivery.ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if _, err := s.Devices(t.Context(), delivery.Unauthenticated(), "alice"); !errors.Is(err, delivery.ErrClosed) {
		t.Errorf("read: %v", err)
	}
}
