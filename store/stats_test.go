package store

import (
	"fmt"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
)

// Where many devices have something else to be looked at first, what leaves its
// shelf first is found in several calls, each of which does little.
func TestTheSoonestEndIsFoundInSteps(t *testing.T) {
	clock := storetest.NewClock()
	s := openAt(t, clock)
	const devices = 20
	for i := range devices {
		id := delivery.DeviceID{User: delivery.UserID(fmt.Sprint(i)), Name: "phone"}
		items := []delivery.NewKeyPackage{unsigned(2 * i), unsigned(2*i + 1)}
		_, err := s.Publish(t.Context(), delivery.Unauthenticated(), id, items)
		must(t, err)
		clock.Advance(time.Hour)
		_, err = s.Reserve(t.Context(), delivery.Unauthenticated(), delivery.ReserveRequest{Devices: []delivery.DeviceID{id}})
		must(t, err) // and its reservation is due tomorrow
	}
	soonest := func(most int) (end time.Time) {
		must(t, s.View(t.Context(), func(x *Txn) error { end = x.soonestEnd(most); return nil }))
		return end
	}
	want := storetest.NewClock().Now().Add(s.limits.ShelfAge)
	for calls := 1; ; calls++ {
		end := soonest(6)
		if end.Equal(want) {
			if calls < devices/6 {
				t.Errorf("found in %d calls", calls)
			}
			break
		}
		if end.After(want) || calls > devices {
			t.Fatalf("call %d says %v, and it is %v", calls, end, want)
		}
	}
	if end := soonest(6); !end.Equal(want) { // on the way to the next end
		t.Errorf("then it is %v", end)
	}
	if end := soonest(soonestRows); !end.Equal(want) {
		t.Errorf("in one call it is %v", end)
	}
}
