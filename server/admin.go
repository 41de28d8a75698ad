package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/julienschmidt/httprouter"

	"welcomed/operator/status"
)

// Admin returns the handler of the admin listener, for operators. It changes nothing.
func (s *Server) Admin() http.Handler {
	router := httprouter.New()
	router.RedirectTrailingSlash, router.RedirectFixedPath = false, false
	get := func(path string, handle http.HandlerFunc) {
		router.HandlerFunc(http.MethodGet, path, handle)
		router.HandlerFunc(http.MethodHead, path, handle)
	}
	get("/", s.statusPage)
	get("/status.json", s.statusJSON)
	for path, mediaType := range status.Assets {
		get(path, asset(path, mediaType))
	}
	get("/favicon.ico", asset("/icon.svg", status.Assets["/icon.svg"])) // what browsers ask for by themselves
	get("/explain", s.explainPage)
	router.HandlerFunc(http.MethodPost, "/explain", s.explainPage)
	get("/livez", s.alive)
	get("/readyz", s.ready)
	if s.options.Metrics != nil {
		router.Handler(http.MethodGet, "/metrics", s.options.Metrics)
	}
	if s.options.Profiles {
		router.HandlerFunc(http.MethodGet, profilesPath+"*profile", profile)
	}
	return refuseRebound(s.requireToken(router))
}

// refuseRebound refuses requests over loopback whose Host does not name this machine. They come
// from a web page whose name resolves to this machine (DNS rebinding).
func refuseRebound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && loopbackHost(local.String()) && !loopbackHost(r.Host) {
			http.Error(w, fmt.Sprintf("Host is %q, not this machine", r.Host), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// requireToken refuses requests without the admin token. It can be a bearer token, or the
// password of any user name. Health checks have no token, and /livez and /readyz say little, so
// they are open.
func (s *Server) requireToken(next http.Handler) http.Handler {
	if s.options.AdminToken == "" {
		return next
	}
	want := sha256.Sum256([]byte(s.options.AdminToken))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := sha256.Sum256([]byte(shownToken(r)))
		open := r.URL.Path == "/livez" || r.URL.Path == "/readyz"
		if !open && subtle.ConstantTimeCompare(token[:], want[:]) == 0 {
			w.Header().Add("WWW-Authenticate", `Bearer realm="welcomed admin"`)
			w.Header().Add("WWW-Authenticate", `Basic realm="welcomed admin"`)
			plain(w, http.StatusUnauthorized, "the admin token is required\n")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func shownToken(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

const profilesPath = "/debug/pprof/"

// profile answers with a profile. A profile may take a while; package pprof extends the
// deadline of its answer.
func profile(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch strings.TrimPrefix(r.URL.Path, profilesPath) {
	case "cmdline":
		pprof.Cmdline(w, r)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r) // the list, or one of the list
	}
}

// alive fails if only a restart helps, and says why.
func (s *Server) alive(w http.ResponseWriter, r *http.Request) {
	if closed(s.store.Failed()) {
		s.ready(w, r)
		return
	}
	plain(w, http.StatusOK, "ok\n")
}

// ready answers whether the store is ready.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	failed := closed(s.store.Failed())
	if closed(s.draining) && !failed {
		plain(w, http.StatusServiceUnavailable, "shutting down\n")
		return
	}
	if err := s.store.Ready(r.Context()); err != nil {
		plain(w, http.StatusServiceUnavailable, strings.ReplaceAll(err.Error(), "\n", " ")+"\n")
		return
	}
	if failed {
		plain(w, http.StatusServiceUnavailable, "the store has failed\n")
		return
	}
	plain(w, http.StatusOK, "ok\n")
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	writeBody(w, status, "text/plain; charset=utf-8", []byte(text))
}
