package server

import (
	"net/http"
	"net/url"
	"time"
)

// Body bounds how long a body may take; tests cannot wait as long as users.
func (s *Server) Body(d time.Duration) { s.times.body = d }

// Write bounds how long an answer of any size may take.
func (s *Server) Write(d time.Duration) { s.times.write, s.times.rate = d, 1<<40 }

// Grace bounds how long running requests may take after the server is stopped.
func (s *Server) Grace(d time.Duration) { s.times.grace = d }

// Lull sets how long an idle connection is kept when the server stops.
func (s *Server) Lull(d time.Duration) { s.times.lull = d }

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

// ReadWait returns how long a claim with this query waits.
func (s *Server) ReadWait(query string) (time.Duration, error) {
	r := &request{Request: &http.Request{URL: &url.URL{RawQuery: query}}, route: &route{query: "wait"}}
	if err := r.readQuery(); err != nil {
		return 0, err
	}
	return s.readWait(r)
}
