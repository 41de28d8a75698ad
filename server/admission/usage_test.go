package admission

import (
	"testing"
	"time"
)

// TestWorkWaitsForRoom: what does not fit waits, and is done when there is room.
func TestWorkWaitsForRoom(t *testing.T) {
	c := NewCapacity(Caps{BodyMemory: 8 << 20}.OrDefault(), func(Cap) {})
	first, second, third := c.Usage("a", "a"), c.Usage("b", "b"), c.Usage("c", "c")
	if err := first.BeginWork(t.Context(), 100<<20); err != nil { // all there is
		t.Fatal(err)
	}
	if err := third.BeginWork(t.Context(), SmallBytes); err != nil {
		t.Error("what is small waited")
	}
	began := make(chan error)
	go func() { began <- second.BeginWork(t.Context(), 1<<20) }()
	select {
	case <-began:
		t.Fatal("two work where there is room for one")
	case <-time.After(20 * time.Millisecond):
	}
	first.EndWork()
	if err := <-began; err != nil {
		t.Error(err)
	}
	second.End()
}
