package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/server/admission"
)

type reservedDeviceJSON struct {
	Device     string                       `json:"device"`
	Status     delivery.DeviceReserveStatus `json:"status"`
	KeyPackage *listedJSON                  `json:"key_package,omitempty"`
	Suites     []mls.CipherSuite            `json:"cipher_suites,omitempty"` // where incompatible
	UsableFrom string                       `json:"usable_from,omitzero"`    // where not_yet_valid
	IdleSince  string                       `json:"idle_since,omitzero"`
}

type reservedUserJSON struct {
	User    delivery.UserID            `json:"user"`
	Status  delivery.UserReserveStatus `json:"status"`
	Devices []reservedDeviceJSON       `json:"devices"`
}

type reservationJSON struct {
	ID    string             `json:"reservation,omitempty"`
	Suite mls.CipherSuite    `json:"cipher_suite,omitempty"`
	Users []reservedUserJSON `json:"users"`
}

// reserve handles POST /v1/key-packages/reserve.
func (s *Server) reserve(w http.ResponseWriter, r *request) error {
	frame, err := r.framing(framingBare)
	if err != nil {
		return err
	}
	req, err := s.readReservation(r)
	if err != nil {
		return err
	}
	reservation, err := s.reserved(r, req)
	if err != nil {
		return err
	}
	return answerObjects(w, r, reservedBytes(reservation), func(o *objects) any { return frame.reservation(o, reservation) })
}

// reserved reserves as much as the budgets allow. Two reservations of a user are made at a
// time, because each may name a thousand users.
func (s *Server) reserved(r *request, req delivery.ReserveRequest) (reservation delivery.Reservation, err error) {
	if r.caller.User != "" {
		done, err := s.reservations.Acquire(r.Context(), string(r.caller.User))
		if err != nil {
			return reservation, err
		}
		defer done()
	}
	// A repeat is recognised before anything is charged, and what is asked for is
	// counted, so that all of it is charged before it is taken.
	before, err := s.store.BeforeReserve(r.Context(), r.caller, req)
	if err != nil {
		return reservation, err
	}
	if before.Repeated != nil {
		return *before.Repeated, nil
	}
	stored, err := s.storage.Charge(r.caller.User, admission.NamedSize(req))
	if err != nil {
		return reservation, err
	}
	taken, err := s.keyPackages.ChargeReserve(r.caller, &req, before.Devices)
	if err != nil {
		stored.Settle(0)
		return reservation, err
	}
	reservation, err = s.store.Reserve(r.Context(), r.caller, req)
	taken.Settle(reservation, err)
	if err != nil {
		stored.Settle(0)
		return reservation, err
	}
	stored.Settle(admission.RememberedSize(req, reservation) + admission.HeldSize(r.caller, reservation))
	s.rememberUnserved(r, req, reservation)
	return reservation, nil
}

func reservedBytes(reservation delivery.Reservation) (n int) {
	for _, u := range reservation.Users {
		for _, d := range u.Devices {
			if d.KeyPackage != nil {
				n += len(d.KeyPackage.Bytes)
			}
		}
	}
	return n
}

func (s *Server) readReservation(r *request) (req delivery.ReserveRequest, err error) {
	var body struct {
		Users   []delivery.UserID `json:"users"`
		Devices []deviceJSON      `json:"devices"`
		Except  []deviceJSON      `json:"except"`
		Suites  []mls.CipherSuite `json:"cipher_suites"`
		MaxIdle *int              `json:"max_idle_days"`
	}
	req.Bytes = s.objectBytes()
	if req.IdempotencyKey, err = idempotencyKey(r.Header); err != nil {
		return req, err
	}
	if err = r.readJSON(&body); err != nil {
		return req, err
	}
	if req.Users, err = parseUsers(body.Users, s.limits.UsersPerReserve); err != nil {
		return req, err
	}
	if req.Devices, err = parseDevices("devices", body.Devices, s.limits.DevicesPerReserve); err != nil {
		return req, err
	}
	if req.Except, err = parseDevices("except", body.Except, s.limits.DevicesPerReserve); err != nil {
		return req, err
	}
	if len(req.Users)+len(req.Devices) == 0 {
		return req, fmt.Errorf("%w: there are neither users nor devices", errBadRequest)
	}
	if body.MaxIdle != nil {
		if req.MaxIdle, err = idleFor(*body.MaxIdle); err != nil {
			return req, err
		}
	}
	req.Suites = body.Suites
	return req, validSuites(body.Suites)
}

// idempotencyKey reads the header of that name; empty if there is none.
func idempotencyKey(h http.Header) (string, error) {
	values := h.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	unprintable := func(c rune) bool { return c < ' ' || c > '~' }
	if len(values) > 1 || key == "" || len(key) > 255 || strings.ContainsFunc(key, unprintable) {
		return "", fmt.Errorf("%w: Idempotency-Key is 1 to 255 printable ASCII characters, once", errBadRequest)
	}
	return key, nil
}

func parseUsers(users []delivery.UserID, most int) ([]delivery.UserID, error) {
	if n := len(users); n > most {
		return nil, fmt.Errorf("%w: %d users, at most %d in one request", delivery.ErrTooMany, n, most)
	}
	for i, user := range users {
		if err := delivery.ValidIdentifier(string(user)); err != nil {
			return nil, fmt.Errorf("users[%d]: %w", i, err)
		}
	}
	return users, refuseRepeated("users", users)
}

func parseDevices(name string, list []deviceJSON, most int) ([]delivery.DeviceID, error) {
	if n := len(list); n > most {
		return nil, fmt.Errorf("%w: %d %s, at most %d in one request", delivery.ErrTooMany, n, name, most)
	}
	devices := make([]delivery.DeviceID, len(list))
	for i, d := range list {
		devices[i] = delivery.DeviceID{User: d.User, Name: d.Device}
		if err := devices[i].Valid(); err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", name, i, err)
		}
	}
	return devices, refuseRepeated(name, devices)
}

func refuseRepeated[T comparable](name string, list []T) error {
	seen := make(map[T]bool, len(list))
	for i, v := range list {
		if seen[v] {
			return fmt.Errorf("%w: %s[%d] is %v again", errBadRequest, name, i, v)
		}
		seen[v] = true
	}
	return nil
}

func validSuites(suites []mls.CipherSuite) error {
	if slices.Contains(suites, 0) {
		return fmt.Errorf("%w: cipher_suites: 0 is no cipher suite", errBadRequest)
	}
	return refuseRepeated("cipher_suites", suites)
}

func (f framing) reservation(o *objects, r delivery.Reservation) reservationJSON {
	users := make([]reservedUserJSON, len(r.Users))
	for i, u := range r.Users {
		users[i] = reservedUserJSON{u.User, u.Status, make([]reservedDeviceJSON, len(u.Devices))}
		for j, d := range u.Devices {
			users[i].Devices[j] = f.reservedDevice(o, d)
		}
	}
	id := ""
	if r.ID != 0 {
		id = r.ID.String()
	}
	return reservationJSON{id, r.Suite, users}
}

func (f framing) reservedDevice(o *objects, d delivery.ReservedDevice) reservedDeviceJSON {
	reserved := reservedDeviceJSON{Device: d.Device, Status: d.Status, Suites: d.Suites, UsableFrom: utc(d.UsableFrom), IdleSince: utc(d.IdleSince)}
	if d.KeyPackage != nil {
		k := f.listed(o, *d.KeyPackage)
		reserved.KeyPackage = &k
	}
	return reserved
}
