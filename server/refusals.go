package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/julienschmidt/httprouter"

	"welcomed/auth"
	"welcomed/delivery"
	"welcomed/operator/codes"
	"welcomed/operator/explain"
	"welcomed/server/admission"
)

// remember notes that a request for a device was refused.
func (s *Server) remember(r *request, params httprouter.Params, err error) {
	if r.operator || r.Context().Err() != nil {
		return
	}
	if r.device == (delivery.DeviceID{}) {
		_ = r.readPath(params) // as it was refused before that
	}
	if r.device == (delivery.DeviceID{}) && r.caller.User != "" {
		s.refusals.Asked(r.caller.User, r.refusal(err)) // it is about others
		return
	}
	if r.device.Valid() != nil {
		return
	}
	refusal := r.refusal(err)
	if s.mayWrite(r, err) {
		s.refusals.Own(r.device, refusal)
		return
	}
	party := r.caller.ID()
	if party == "" {
		party = " " + admission.AddressBlock(r.client).String() // no caller has a space
		refusal.Who = r.client.String()
	}
	s.refusals.Stranger(party, r.device, refusal)
}

// refusal describes a refused request.
func (r *request) refusal(err error) explain.Refusal {
	p := classify(err)
	var item delivery.ItemCode
	if refused, ok := errors.AsType[*delivery.PublishError](err); ok && len(refused.Items) > 0 {
		item = refused.Items[0].Code
	}
	return explain.Refusal{
		Who: r.caller.ID(), Request: r.route.name(), Status: p.Status, Code: p.Code, Item: item, Advice: codes.Refusals[p.Code].Do,
		Detail: strings.TrimPrefix(p.Detail, strings.ReplaceAll(p.Code, "_", " ")+": "),
	}
}

// mayWrite reports whether the request certainly comes from the user of the device, or from a
// caller who acts for everybody.
func (s *Server) mayWrite(r *request, err error) bool {
	if s.options.NoAuth != AuthRequired {
		return !errors.Is(err, errProxied)
	}
	return r.identity != auth.Identity{} && (r.caller.User == "" || r.caller.User == r.device.User)
}

// name is the name of a route whose device is known.
func (rt *route) name() string {
	return rt.method + " " + strings.Replace(rt.path, devicePath, "…", 1)
}

// mismatchesNoted is for how many recipients of one Welcome a mismatch is noted.
const mismatchesNoted = 16

// rememberMismatches notes the devices that a Welcome did not match.
func (s *Server) rememberMismatches(r *request, recipients []delivery.Recipient) {
	noted := 0
	for _, to := range recipients {
		if to.Matched {
			continue
		}
		if noted++; noted > mismatchesNoted {
			return
		}
		refusal := explain.Refusal{Who: r.caller.ID(), Code: string(to.Status), Ref: to.Ref}
		if to.Owner == nil {
			s.refusals.Unknown(r.party(""), refusal)
		} else {
			s.refusals.Unmatched(r.party(to.Owner.User), *to.Owner, refusal)
		}
	}
}

// rememberUnserved notes the devices of which a reservation got nothing.
func (s *Server) rememberUnserved(r *request, req delivery.ReserveRequest, reservation delivery.Reservation) {
	for _, u := range reservation.Users {
		for _, d := range u.Devices {
			if d.KeyPackage != nil || reservation.Repeated || d.Status == delivery.DeviceIdle {
				continue
			}
			refusal := explain.Refusal{Who: r.caller.ID(), Code: string(d.Status)}
			switch {
			case slices.Contains(req.LastResortOnly, u.User):
				refusal.Code = "target_budget"
			case d.Status == delivery.DeviceIncompatible:
				refusal.Detail = explain.AskedSuites(req.Suites, d.Suites)
			}
			s.refusals.Unserved(r.party(u.User), delivery.DeviceID{User: u.User, Name: d.Device}, refusal)
		}
	}
}

// rememberFresh notes that a sync of a device withdrew what the device had published lately.
// That is no refusal. But if it happens again and again, it says what is wrong.
func (s *Server) rememberFresh(r *request, result delivery.SyncResult) {
	s.refusals.Own(r.device, explain.Refusal{
		Who: r.caller.ID(), Request: r.route.name(), Code: explain.CodeFreshWithdrawn,
		Detail: fmt.Sprintf("%d of the %d that it withdrew had been published less than a day before", result.Fresh, len(result.Withdrawn)),
	})
}

// party returns the party under which notes that the caller causes are kept. A caller who acts
// for everybody, or who is not known, has one for each user.
func (r *request) party(user delivery.UserID) string {
	if r.caller.User != "" {
		return string(r.caller.User)
	}
	return r.caller.ID() + " " + string(user)
}
