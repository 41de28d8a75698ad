package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// An Origin names pages that may use the API, as browsers write it: "https://app.example.org".
type Origin string

// LoopbackOrigins stands for every page that this machine serves, on any port, and no
// other. No setting says so: see [ParseOrigin].
const LoopbackOrigins Origin = "loopback"

// ParseOrigin returns an error unless browsers send s as Origin.
func ParseOrigin(s string) (Origin, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || s != u.Scheme+"://"+u.Host:
		return "", fmt.Errorf("%q is no origin like https://app.example.org", s)
	case u.Scheme != "https" && u.Scheme != "http" || s != strings.ToLower(s):
		return "", fmt.Errorf("%q is no origin: it begins with https:// or http://, and has small letters", s)
	case u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80":
		return "", fmt.Errorf("%q is no origin: browsers leave the usual port out", s)
	}
	return Origin(s), nil
}

// Headers that pages may send and read, beside those that every page may. No credentials of the
// browser are used, such as cookies: a page has to know a token.
var (
	corsMethods = strings.Join([]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete}, ", ")
	corsSent    = "Accept, Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, If-Range, Last-Event-ID, On-Behalf-Of, Range, Request-Id"
	corsRead    = "Accept-Ranges, Allow, Content-Range, ETag, Key-Package-Ref, Link, Location, Request-Id, Retry-After, " +
		"Welcome-Id, Welcome-More, Welcome-Redelivered, WWW-Authenticate"
)

// corsKept is for how many seconds a browser may remember that it may send a request. Chromium
// remembers for at most two hours.
const corsKept = "7200"

// mayAsk reports whether pages of an origin may use the API.
func (s *Server) mayAsk(origin string) bool {
	if slices.Contains(s.options.Origins, LoopbackOrigins) {
		u, err := url.Parse(origin)
		return err == nil && loopbackHost(u.Host)
	}
	return slices.Contains(s.options.Origins, Origin(origin))
}

// crossOrigin allows pages of the configured origins to use the API.
func (s *Server) crossOrigin(next http.Handler) http.Handler {
	if len(s.options.Origins) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if s.mayAsk(origin) {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Expose-Headers", corsRead)
			if r.Method == http.MethodOptions {
				h.Set("Access-Control-Allow-Methods", corsMethods)
				h.Set("Access-Control-Allow-Headers", corsSent)
				h.Set("Access-Control-Max-Age", corsKept)
			}
		}
		next.ServeHTTP(w, r)
	})
}
