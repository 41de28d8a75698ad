package admission

import (
	"context"
	"errors"
	"testing"
)

func TestWhoLeavesTakesNoSlot(t *testing.T) {
	p := new(PerKey)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var releases []func()
	for range 2 {
		release, err := p.Acquire(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	if _, err := p.Acquire(gone, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for _, release := range releases {
		release()
	}
	if len(p.of) != 0 {
		t.Errorf("%d keys are kept", len(p.of))
	}
}
