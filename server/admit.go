package server

import (
	"fmt"
	"net/http"
	"net/netip"

	"welcomed/server/admission"
)

// Types of package admission that options and operators use.
type (
	Budget          = admission.Budget
	Budgets         = admission.Budgets
	CheckTimeBudget = admission.CheckTimeBudget
	Caps            = admission.Caps
	Cap             = admission.Cap
	Load            = admission.Load
)

// DefaultBudgets allow one user to create two groups of 5,000 devices within an hour.
func DefaultBudgets() Budgets { return admission.DefaultBudgets() }

// DefaultCaps are for a machine with a gigabyte of memory.
func DefaultCaps() Caps { return admission.DefaultCaps() }

// AllCaps has all caps.
var AllCaps = admission.AllCaps

// Load returns what clients take of the server now.
func (s *Server) Load() Load {
	load := s.capacity.Load()
	load.Connections = s.connections.Count()
	load.Streams = int(s.open.Load())
	return load
}

// enter admits a request whose caller is not known yet.
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

// identified counts the request for its caller, who is known now. Whoever may only read counts
// apart, so that it keeps its user from nothing.
func (s *Server) identified(r *request) error {
	party := r.caller.ID()
	if r.identity.ReadOnly {
		party += readOnlyParty
	}
	return r.usage.Identify(party, memoryParty(r))
}

// readOnlyParty is no part of an identifier.
const readOnlyParty = " (reads only)"

// addressParty is the party for which a request without a caller counts: its address. It is
// empty for an address that many clients share.
func (s *Server) addressParty(client netip.Addr) string {
	if s.shared(client) {
		return ""
	}
	return " " + admission.AddressBlock(client).String() // no id has a space in it
}

// memoryParty is the party whose share of the memory a request takes. Without a caller, paths
// of one user have a party of their own, apart from paths without a user, which have the large
// bodies.
func memoryParty(r *request) string {
	if r.caller.ID() != "" {
		return r.caller.ID()
	}
	return " " + admission.AddressBlock(r.client).String() + " " + string(r.user)
}
