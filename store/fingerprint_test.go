package store

import (
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// What is kept of a reservation is compared with what later versions make of the same
// request.
func TestFingerprintsStayAsTheyAre(t *testing.T) {
	caller := delivery.Caller{User: "ann", Device: "phone"}
	req := delivery.ReserveRequest{
		Users: []delivery.UserID{"bob", "carol"}, Devices: []delivery.DeviceID{{User: "dave", Name: "laptop"}},
		Except: []delivery.DeviceID{{User: "bob", Name: "old"}}, Suites: []mls.CipherSuite{2, 1}, IdempotencyKey: "once",
		MaxIdle: 40 * 24 * time.Hour, LastResortOnly: []delivery.UserID{"bob"}, Bytes: 1000,
	}
	for name, want := range map[string]struct {
		is   fingerprint
		text string
	}{
		"of format 5": {fingerprintOf(caller, req), "4e240103bc3644b0"},
		"of format 4": {fingerprint4(caller, req), "2849e6fbc0c40d2e"},
	} {
		if got := hex.EncodeToString(want.is[:8]); got != want.text {
			t.Errorf("the fingerprint %s begins with %s, want %s", name, got, want.text)
		}
	}
	r := idempotencyRecord(caller, req)
	old := fingerprint4(caller, req)
	if !r.isOf(r.request[:]) || !r.isOf(old[:]) {
		t.Error("the same request has another fingerprint")
	}
	for name, change := range map[string]func(*delivery.ReserveRequest){
		"a user":             func(r *delivery.ReserveRequest) { r.Users = r.Users[:1] },
		"a device":           func(r *delivery.ReserveRequest) { r.Devices[0].Name = "phone" },
		"an excepted device": func(r *delivery.ReserveRequest) { r.Devices, r.Except = r.Except, r.Devices },
		"a suite":            func(r *delivery.ReserveRequest) { r.Suites = []mls.CipherSuite{1, 2} },
		"how idle":           func(r *delivery.ReserveRequest) { r.MaxIdle = 0 },
		"a user for a device": func(r *delivery.ReserveRequest) {
			r.Users, r.Devices = []delivery.UserID{"bob", "carol", "dave", "laptop"}, nil
		},
	} {
		other := req
		other.Devices = append([]delivery.DeviceID(nil), req.Devices...)
		change(&other)
		if o := idempotencyRecord(caller, other); o.isOf(r.request[:]) || o.isOf(old[:]) {
			t.Errorf("%s is another, and the fingerprint is the same", name)
		}
	}
	if o := idempotencyRecord(delivery.Caller{User: "ann", Device: "tablet"}, req); o.isOf(r.request[:]) || o.isOf(old[:]) {
		t.Error("the request of another device has the same fingerprint")
	}
}

// A device may have been seen last on the first day of 1970, where a clock that begins
// there is believed. The number of that time is 0, as that of no time.
func TestAReservationIsReadAsItWasKept(t *testing.T) {
	kept := delivery.Reservation{Repeated: true, Users: []delivery.ReservedUser{{User: "bob", Status: delivery.UserSuccess, Devices: []delivery.ReservedDevice{
		{Device: "new", Status: delivery.DeviceExhausted},
		{Device: "first day", Status: delivery.DeviceExhausted, IdleSince: time.Unix(0, 0).UTC()},
		{Device: "second day", Status: delivery.DeviceExhausted, IdleSince: time.Unix(24*60*60, 0).UTC()},
	}}}}
	if read := decodeReservation(encodeReservation(kept)); !reflect.DeepEqual(read, kept) {
		t.Errorf("it is\n%+v and was\n%+v", read, kept)
	}
}
