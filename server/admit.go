package server

import (
	"fmt"
	"net/http"
	"net/netip"

	"welcomed/server/admission"
)

// What clients and those who run the server set and are told of package admission.
type (
	Budget          = admission.Budget
	Budgets         = admission.Budgets
	CheckTimeBudget = admission.CheckTimeBudget
	Caps            = admission.Caps
	Cap             = admission.Cap
	Load            = admission.Load
)

// DefaultBudgets let somebody create two groups of 5,000 devices within an hour.
func DefaultBudgets() Budgets { return admission.DefaultBudgets() }

// DefaultCaps are for a machine with a gigabyte of memory.
func DefaultCaps() Caps { return admission.DefaultCaps() }

// AllCaps are all of them.
var AllCaps = admission.AllCaps

// Load returns what clients take now.
func (s *Server) Load() Load {
	load := s.capacity.Load()
	load.Connections = s.connections.Count()
	return load
}

// enter lets a request in whose caller is not known yet.
func (s *Server) enter(r *request) error {
	r.usage = s.capacity.Usage(s.addressParty(r.client), memoryParty(r))
	if n := countHeaders(r.Header); n > s.caps.Headers {
		return fmt.Errorf("%w: %d, at most %d are read", errTooManyHeaders, n, s.caps.Headers)
	}
	return r.usage.Begin()
}

func countHeaders(h http.Header) int {
	n := 0
	for _, values := range h {
		n += len(values)
	}
	return n
}

// identified counts the request for its caller, now that it is known.
func (s *Server) identified(r *request) error { return r.usage.Identify(r.caller.ID(), memoryParty(r)) }

// addressParty is for whom a request without a caller counts: its address, but
// nobody where many clients have the same one.
func (s *Server) addressParty(client netip.Addr) string {
	if s.shared(client) {
		return ""
	}
	return " " + admission.AddressBlock(client).String() // no id has a space in it
}

// memoryParty is whose memory a request takes. Without a caller a user's own
// paths are apart from what has no user, which is where large bodies go.
func memoryParty(r *request) string {
	if r.caller.ID() != "" {
		return r.caller.ID()
	}
	return " " + admission.AddressBlock(r.client).String() + " " + string(r.user)
}
