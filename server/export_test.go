package server

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"welcomed/server/admission"
)

// Body bounds how long a body may take; tests cannot wait as long as users.
func (s *Server) Body(d time.Duration) { s.times.body = d }

// Write bounds how long an answer of any size may take.
func (s *Server) Write(d time.Duration) { s.times.write, s.times.rate = d, 1<<30 }

// Again sets after how long a waiting claim is given again what is not settled.
func (s *Server) Again(d time.Duration) { s.times.again = d }

// Late bounds how long a body may take before credentials are looked at again.
func (s *Server) Late(d time.Duration) { s.times.late = d }

// Grace bounds how long running requests may take after the server is stopped.
func (s *Server) Grace(d time.Duration) { s.times.grace = d }

// Quiet sets how long no request has to come before a server that stops closes connections.
func (s *Server) Quiet(d time.Duration) { s.times.quiet = d }

// HoldChecks keeps signature checks from being made until it is called back.
func (s *Server) HoldChecks() (release func()) {
	for range cap(s.verifiers) {
		s.verifiers <- struct{}{}
	}
	return func() {
		for range cap(s.verifiers) {
			<-s.verifiers
		}
	}
}

// Routes returns "METHOD pattern" of every route.
func Routes() (all []string) {
	for _, r := range routes {
		all = append(all, r.method+" "+r.path)
	}
	return all
}

// A RouteFacts is what the description of the API says of a route too.
type RouteFacts struct {
	Method, Path, Caller string
	Query                []string // a star behind those that may be repeated
	Body                 bool
}

// RoutesFacts returns those of every route, with paths as OpenAPI has them.
func RoutesFacts() (all []RouteFacts) {
	callers := map[access]string{anyone: "anyone", anyCaller: "any-caller", theUser: "the-user", wholeUser: "the-whole-user",
		theDevice: "the-device", aService: "a-service"}
	for _, r := range routes {
		path := regexp.MustCompile(`:(\w+)`).ReplaceAllString(r.path, "{$1}")
		all = append(all, RouteFacts{r.method, path, callers[r.who], strings.Fields(r.query), r.body != nil})
	}
	return all
}

// Concurrency returns what bounds each route, and all routes, with those of the
// admin socket.
func Concurrency() (classes map[string]string, all []string) {
	classes = make(map[string]string)
	for route, class := range concurrencyOf {
		classes[route] = string(class)
	}
	all = Routes()
	for _, r := range socketRoutes {
		all = append(all, r.method+" "+r.path)
	}
	return classes, all
}

// ReadWait returns how long a claim with this query waits.
func (s *Server) ReadWait(query string) (time.Duration, error) {
	r := &request{Request: &http.Request{URL: &url.URL{RawQuery: query}}, route: &route{query: "wait"}}
	if err := r.readQuery(); err != nil {
		return 0, err
	}
	return s.readWait(r)
}

// ClientAddress returns where a request comes from.
func (s *Server) ClientAddress(r *http.Request) string { return s.clientAddress(r).String() }

// NothingShared has connections from this machine counted for their address.
func (s *Server) NothingShared() {
	s.connections = admission.NewConnections(s.caps, func(netip.Addr) bool { return false }, s.options.Refused)
}

// TakeMemory has a party hold n bytes for ever.
func (s *Server) TakeMemory(party string, n int) error {
	u := s.capacity.Usage(party, party)
	return u.HoldMemory(n + admission.SmallBytes)
}

// Notes returns how many refusals a server remembers.
func Notes(s *Server) int { return s.refusals.Count() }

// Time has streams, and what waits, go by a time that a test owns: now, and what rings when
// something is to be done at the latest.
func (s *Server) Time(now func() time.Time, ring <-chan time.Time) {
	s.now = now
	s.alarm = func(...time.Time) (<-chan time.Time, func() bool) { return ring, func() bool { return true } }
}
