package server_test

import (
	"path/filepath"
	"testing"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/server"
)

// Devices that were not seen for long are named to who reserves, to the day, and left out
// where that is wanted; nobody can ask for less than 30 days.
func TestIdleDevices(t *testing.T) {
	clock := storetest.NewClock()
	store, err := bolt.Open(filepath.Join(t.TempDir(), "welcomed.db"), bolt.Options{Limits: delivery.DefaultLimits(), Clock: clock})
	must(t, err)
	t.Cleanup(func() { store.Close() })
	s := start(t, func(o *server.Options) { o.Store = store })
	publish := func(device string) {
		t.Helper()
		s.call("POST", device+"/key-packages", publication{newKeyPackages(3)}).want(201)
	}
	publish(phone)
	day := clock.Now().Truncate(24 * time.Hour)
	clock.Advance(40 * 24 * time.Hour)
	publish(tablet)

	listed := s.call("GET", "/v1/users/alice/devices", nil).want(200)
	same(t, "phone", words(listed.at("devices", 0, "device"), listed.at("devices", 0, "idle_since")), "phone "+day.Format(time.RFC3339))
	same(t, "tablet", words(listed.at("devices", 1, "device"), listed.at("devices", 1, "idle_since")), "tablet <nil>")
	for filter, want := range map[string]string{"30": "tablet", "40": "tablet", "41": "phone"} {
		left := s.call("GET", "/v1/users/alice/devices?max_idle_days="+filter, nil).want(200)
		same(t, filter, left.text("devices", 0, "device"), want)
	}
	reserve := func(body object) string {
		t.Helper()
		r := s.call("POST", "/v1/key-packages/reserve", body).want(200)
		return words(r.text("users", 0, "status"), r.text("users", 0, "devices", 0, "status"), r.at("users", 0, "devices", 0, "idle_since"), r.text("users", 0, "devices", 1, "status"))
	}
	same(t, "all", reserve(object{"users": []string{"alice"}}), "success reserved "+day.Format(time.RFC3339)+" reserved")
	same(t, "some", reserve(object{"users": []string{"alice"}, "max_idle_days": 30}), "success idle "+day.Format(time.RFC3339)+" reserved")

	for _, days := range []any{0, -1, 29, 10_001, 1 << 40, "30", 30.5} {
		s.call("POST", "/v1/key-packages/reserve", object{"users": []string{"alice"}, "max_idle_days": days}).refused(400, "bad_request")
	}
	for _, days := range []string{"", "0", "29", "10001", "x", "99999999999999999999"} {
		s.call("GET", "/v1/users/alice/devices?max_idle_days="+days, nil).refused(400, "bad_request")
	}
}
