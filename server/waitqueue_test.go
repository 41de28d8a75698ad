package server

import (
	"testing"

	"welcomed/delivery"
)

// TestWhoTriesBeforeItsTurnKeepsNobodyWaiting: the wait of a request ends while it
// is given the turn, and the device is woken once more.
func TestWhoTriesBeforeItsTurnKeepsNobodyWaiting(t *testing.T) {
	l := &waitQueues{displaced: func() {}}
	key := waitKey{device: delivery.DeviceID{User: "bob", Name: "phone"}}
	older := l.join(key, 2)
	newer := l.join(key, 2)
	turns := func(when string, ofOlder, ofNewer int) {
		t.Helper()
		if len(older.try) != ofOlder || len(newer.try) != ofNewer {
			t.Errorf("%s: %d turns for the older and %d for the newer, want %d and %d",
				when, len(older.try), len(newer.try), ofOlder, ofNewer)
		}
	}
	older.woken()
	turns("woken", 0, 1)
	older.woken()
	newer.tried() // without having taken its turn
	turns("woken again", 0, 1)
	newer.leave()
	turns("the newer has left", 1, 1)
}
