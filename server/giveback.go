package server

import (
	"fmt"
	"net/http"

	"welcomed/delivery"
)

type givenBackJSON struct {
	Ref    string                  `json:"ref"`
	Status delivery.GiveBackStatus `json:"status"`
}

// giveBack handles POST /v1/key-packages/give-back.
func (s *Server) giveBack(w http.ResponseWriter, r *request) error {
	req, err := readGiveBack(r)
	if err != nil {
		return err
	}
	result, err := s.store.GiveBack(r.Context(), r.caller, req)
	if err != nil {
		return err
	}
	list := make([]givenBackJSON, len(result.KeyPackages))
	for i, k := range result.KeyPackages {
		list[i] = givenBackJSON{k.Ref.String(), k.Status}
	}
	return answer(w, http.StatusOK, struct {
		KeyPackages []givenBackJSON `json:"key_packages"`
	}{list})
}

func readGiveBack(r *request) (req delivery.GiveBackRequest, err error) {
	var body struct {
		Reservation string   `json:"reservation"`
		Refs        []string `json:"refs"`
		Reason      *string  `json:"reason"`
	}
	if err := r.readJSON(&body); err != nil {
		return req, err
	}
	if req.Reservation, err = delivery.ParseReservationID(body.Reservation); err != nil {
		return req, fmt.Errorf("%w: reservation: %w", errBadRequest, err)
	}
	req.Reason = delivery.GivenBackUnused
	if body.Reason != nil {
		req.Reason = delivery.GiveBackReason(*body.Reason)
	}
	if !req.Reason.Known() {
		return req, fmt.Errorf("%w: reason: %q, want one of %v, or none", errBadRequest, req.Reason, delivery.GiveBackReasons)
	}
	req.Refs, err = parseRefs(body.Refs)
	return req, err
}
