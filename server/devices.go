package server

import (
	"net/http"
)

type deviceInfoJSON struct {
	Device  string       `json:"device"`
	SeenAt  string       `json:"seen_at,omitzero"`
	Counts  []countsJSON `json:"counts"`
	Pending int          `json:"pending"`
}

// devices handles GET /v1/users/:user/devices.
func (s *Server) devices(w http.ResponseWriter, r *request) error {
	devices, err := s.store.Devices(r.Context(), r.caller, r.user)
	if err != nil {
		return err
	}
	list := make([]deviceInfoJSON, len(devices))
	for i, d := range devices {
		list[i] = deviceInfoJSON{d.Device, utc(d.SeenAt), newCounts(d.Counts), d.Pending}
	}
	return answer(w, http.StatusOK, struct {
		Devices []deviceInfoJSON `json:"devices"`
	}{list})
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
