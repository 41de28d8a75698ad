package store

import (
	"crypto/sha256"
	"encoding/json"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// A fingerprint is a hash of a reservation's request. A repeat has to have the same one.
type fingerprint [sha256.Size]byte

// fingerprintOf returns the fingerprint of a request. LastResortOnly and Bytes are no part of
// it.
func fingerprintOf(caller delivery.Caller, req delivery.ReserveRequest) fingerprint {
	var e encoder
	e.string(caller.Device)
	e.number(uint64(len(req.Users)))
	for _, user := range req.Users {
		e.string(string(user))
	}
	for _, devices := range [][]delivery.DeviceID{req.Devices, req.Except} {
		e.number(uint64(len(devices)))
		for _, id := range devices {
			e.string(string(id.User))
			e.string(id.Name)
		}
	}
	e.number(uint64(len(req.Suites)))
	for _, suite := range req.Suites {
		e.number(uint64(suite))
	}
	e.number(uint64(req.MaxIdle))
	return sha256.Sum256(e)
}

// fingerprint4 is the fingerprint that format 4 kept: a hash of JSON. Rows with it are gone
// when reservations from before the upgrade can no longer be repeated.
func fingerprint4(caller delivery.Caller, req delivery.ReserveRequest) fingerprint {
	type deviceID struct {
		User delivery.UserID
		Name string
	}
	ids := func(devices []delivery.DeviceID) []deviceID {
		if devices == nil { // which JSON tells from none
			return nil
		}
		all := make([]deviceID, len(devices))
		for i, id := range devices {
			all[i] = deviceID(id)
		}
		return all
	}
	body, err := json.Marshal(struct {
		Users          []delivery.UserID
		Devices        []deviceID
		Except         []deviceID
		Suites         []mls.CipherSuite
		IdempotencyKey string
		MaxIdle        time.Duration `json:",omitzero"`
	}{req.Users, ids(req.Devices), ids(req.Except), req.Suites, req.IdempotencyKey, req.MaxIdle})
	if err != nil { // strings and numbers
		panic(err)
	}
	return sha256.Sum256(append(body, caller.Device...))
}
