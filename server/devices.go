package server

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"welcomed/delivery"
)

type deviceInfoJSON struct {
	Device    string       `json:"device"`
	SeenAt    string       `json:"seen_at,omitzero"`
	IdleSince string       `json:"idle_since,omitzero"`
	Counts    []countsJSON `json:"counts"`
	Pending   int          `json:"welcomes_pending"`
}

// devices handles GET /v1/users/:user/devices.
func (s *Server) devices(w http.ResponseWriter, r *request) error {
	most, err := r.maxIdle()
	if err != nil {
		return err
	}
	devices, err := s.store.Devices(r.Context(), r.caller, r.user)
	if err != nil {
		return err
	}
	list, now := make([]deviceInfoJSON, 0, len(devices)), s.store.Time().Sure
	for _, d := range devices {
		if !delivery.TooIdle(d.IdleSince, now, most) {
			list = append(list, deviceInfoJSON{d.Device, utc(d.SeenAt), utc(d.IdleSince), newCounts(d.Counts), d.Pending})
		}
	}
	return answer(w, http.StatusOK, struct {
		Devices []deviceInfoJSON `json:"devices"`
	}{list})
}

// maxIdle reads the filter max_idle_days: for how long devices in the answer may have been
// idle; 0: for any time.
func (r *request) maxIdle() (time.Duration, error) {
	if !r.query.Has("max_idle_days") {
		return 0, nil
	}
	days, err := strconv.Atoi(r.query.Get("max_idle_days"))
	if err != nil {
		return 0, fmt.Errorf("%w: max_idle_days=%q, want a number", errBadRequest, r.query.Get("max_idle_days"))
	}
	return idleFor(days)
}

// idleFor returns the time for that many days. It refuses fewer days than a filter may have,
// because others could find out with them when a user was last online.
func idleFor(days int) (time.Duration, error) {
	const day, most = 24 * time.Hour, 10_000
	if least := int(delivery.IdleShown / day); days < least || days > most {
		return 0, fmt.Errorf("%w: max_idle_days is from %d to %d", errBadRequest, least, most)
	}
	return time.Duration(days) * day, nil
}

// removeDevice handles DELETE /v1/users/:user/devices/:device.
func (s *Server) removeDevice(w http.ResponseWriter, r *request) error {
	if err := s.store.RemoveDevice(r.Context(), r.caller, r.device); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// removeUser handles DELETE /v1/users/:user.
func (s *Server) removeUser(w http.ResponseWriter, r *request) error {
	if err := s.store.RemoveUser(r.Context(), r.caller, r.user); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
