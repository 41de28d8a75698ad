package server

import (
	"testing"

	"welcomed/delivery"
)

// TestWhoTriesBeforeItsTurnKeepsNobodyWaiting: the wait of a request ends while it
// is given the turn, and the device is woken once more.
func TestWhoTriesBeforeItsTurnKeepsNobodyWaiting(t *testing.T) {
	l := &waitQueues{most: 2, displaced: func() {}}
	device := delivery.DeviceID{User: "bob", Name: "phone"}
	older := l.join(device)
	newer := l.join(device)
	turns := func(when string, ofOlder, ofNewer int) {
		t.Helper()
		if len(older.try) != ofOlder || len(newer.try) != ofNewer {
			t.Errorf("%s: %d turns for the older and %d for the newer, want %d and %d",
				when, len(older.try), len(newer.try), ofOlder, ofNewer)
		}
	}
	l.woken(older)
	turns("woken", 0, 1)
	l.woken(older)
	l.tried(newer) // without having taken its turn
	turns("woken again", 0, 1)
	l.leave(newer)
	turns("the newer has left", 1, 1)
}
