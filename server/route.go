package server

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/julienschmidt/httprouter"

	"welcomed/delivery"
)

const (
	userPath      = "/v1/users/:user"
	devicePath    = userPath + "/devices/:device"
	shelfPath     = devicePath + "/key-packages"
	welcomePath   = "/v1/welcomes/:id"
	recipientPath = devicePath + "/welcomes/:id"
)

// A route is a line of the API table. A path with GET also has HEAD.
type route struct {
	method, path string
	who          access
	handle       func(*Server, http.ResponseWriter, *request) error
	body         func(delivery.Limits) int // most bytes of a request; nil: its body is not read
	query        string                    // the parameters, a star behind those that may be repeated
}

var routes = slices.Concat(documents, []route{
	{"GET", "/v1", anyone, (*Server).about, nil, ""},

	{"POST", shelfPath, theDevice, (*Server).publish, publicationBody, "restore_epoch"},
	{"PUT", shelfPath, theDevice, (*Server).replace, publicationBody, "cipher_suite restore_epoch"},
	{"GET", shelfPath, theDevice, (*Server).inventory, nil, ""},
	{"POST", shelfPath + "/sync", theDevice, (*Server).sync, syncBody, "all"},
	{"DELETE", shelfPath + "/:ref", theDevice, (*Server).withdraw, nil, ""},
	{"PUT", shelfPath + "/:ref", aService, (*Server).give, nil, ""},

	{"GET", userPath + "/devices", theUser, (*Server).devices, nil, "max_idle_days"},
	{"DELETE", devicePath, theDevice, (*Server).removeDevice, nil, ""},
	{"DELETE", userPath, wholeUser, (*Server).removeUser, nil, ""},

	{"GET", userPath + "/key-packages", anyCaller, (*Server).list, nil, "cipher_suite* device* limit after framing"},
	{"POST", "/v1/key-packages/reserve", anyCaller, (*Server).reserve, reserveBody, "framing"},
	{"POST", "/v1/key-packages/give-back", anyCaller, (*Server).giveBack, smallBody, ""},
	{"GET", "/v1/key-packages/:ref", anyCaller, (*Server).keyPackage, nil, ""},

	{"POST", "/v1/welcomes", anyCaller, (*Server).post, postBody, "hold require dry_run"},
	{"GET", welcomePath, anyCaller, (*Server).outcome, nil, ""},
	{"POST", welcomePath + "/release", anyCaller, (*Server).release, smallBody, ""},
	{"DELETE", welcomePath, anyCaller, (*Server).cancel, nil, ""},

	{"POST", devicePath + "/claim", theDevice, (*Server).claim, smallBody, "wait framing"},
	{"GET", recipientPath + "/ratchet-tree", theDevice, (*Server).ratchetTree, nil, ""},
	{"POST", recipientPath + "/ack", theDevice, (*Server).acknowledge, smallBody, ""},
	{"POST", recipientPath + "/reject", theDevice, (*Server).reject, smallBody, ""},

	{"GET", devicePath + "/events", theDevice, (*Server).events, nil, "after poll"},
	{"GET", userPath + "/events", wholeUser, (*Server).events, nil, "after poll"},
	{"GET", "/v1/events", aService, (*Server).events, nil, "user after poll"},

	{"POST", devicePath + "/tokens", aService, (*Server).createToken, smallBody, ""},
	{"GET", devicePath + "/tokens", aService, (*Server).tokens, nil, ""},
	{"DELETE", devicePath + "/tokens/:token", aService, (*Server).revokeToken, nil, ""},
})

// slack is room in a body for what surrounds the objects, and for spaces.
const slack = 64 << 10

func smallBody(delivery.Limits) int { return 1 << 20 }

// syncBody has room for every KeyPackage that a device may have. Each is named by the longest
// ref in hexadecimal, with quotes and a comma. There is no limit of its own for KeyPackages
// that others have reserved, so there is room for as many as may be retired.
func syncBody(l delivery.Limits) int {
	const entry = 2*64 + 3
	return (l.KeyPackagesPerDevice+len(l.CipherSuites)+2*l.RetiredPerDevice+l.OpenPerDevice)*entry + slack
}

// publicationBytes is how many bytes all KeyPackages of one request may have: as many as a
// Welcome, or as one KeyPackage of the largest size. Nobody makes a hundred of the largest
// size, and the largest body decides how much memory a server needs.
func publicationBytes(l delivery.Limits) int {
	return min(l.KeyPackagesPerPublish*l.KeyPackageBytes, max(l.WelcomeBytes, l.KeyPackageBytes))
}

func publicationBody(l delivery.Limits) int {
	const entry = 8 // quotes, a comma, and what base64 makes of an end
	return inBase64(publicationBytes(l)) + l.KeyPackagesPerPublish*entry + slack
}

func postBody(l delivery.Limits) int { return inBase64(l.WelcomeBytes) + slack }

// inBase64 is how many bytes of JSON n bytes are at most. Some encoders escape the slash, which
// is one of 64 characters.
func inBase64(n int) int { return n*4/3 + n/16 }

func reserveBody(l delivery.Limits) int {
	const entry = 2*255 + 32
	return (l.UsersPerReserve+2*l.DevicesPerReserve)*entry + slack
}

// API returns the handler of the API.
func (s *Server) API() http.Handler {
	router := httprouter.New()
	router.RedirectTrailingSlash = false
	router.RedirectFixedPath = false
	for _, rt := range routes {
		router.Handle(rt.method, rt.path, s.serve(&rt, s.run))
		if rt.method == http.MethodGet {
			router.Handle(http.MethodHead, rt.path, s.serve(&rt, s.run))
		}
	}
	router.NotFound = s.unrouted((*Server).noSuchPath)
	router.MethodNotAllowed = s.unrouted((*Server).noSuchMethod)
	router.GlobalOPTIONS = s.unrouted((*Server).allowed)
	return s.crossOrigin(routeEscaped(router))
}

// routeEscaped makes the router use the path as it was sent, so that an escaped slash is part
// of an id and does not end it.
func routeEscaped(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := cmp.Or(r.URL.EscapedPath(), "/")
		if path == r.URL.Path {
			next.ServeHTTP(w, r) // there is nothing escaped in it
			return
		}
		u := *r.URL
		u.Path, u.RawPath = path, ""
		escaped := *r
		escaped.URL = &u
		next.ServeHTTP(w, &escaped)
	})
}

const unroutedPath = "none"

func (s *Server) unrouted(handle func(*Server, http.ResponseWriter, *request) error) http.Handler {
	serve := s.serve(&route{path: unroutedPath, handle: handle}, s.run)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r, nil) })
}

func (s *Server) noSuchPath(_ http.ResponseWriter, r *request) error {
	return fmt.Errorf("%w: there is no such path", errNotServed)
}

// noSuchMethod answers if the path has only other methods. The router has set Allow.
func (s *Server) noSuchMethod(_ http.ResponseWriter, r *request) error {
	return fmt.Errorf("%w: %s", errMethodNotAllowed, r.Method)
}

// allowed answers OPTIONS. The router has set Allow.
func (s *Server) allowed(w http.ResponseWriter, _ *request) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// serve does what every handler needs, before and after run, which calls the handler of a
// route.
func (s *Server) serve(rt *route, run func(http.ResponseWriter, *request, httprouter.Params) error) httprouter.Handle {
	return func(hw http.ResponseWriter, hr *http.Request, params httprouter.Params) {
		start := time.Now()
		w := s.newResponse(hw, hr)
		r := s.newRequest(w, hr, rt)
		w.beforeAnswer = append(w.beforeAnswer, r.usage.EndWork)
		defer func() {
			took := time.Since(start)
			if !w.streams.IsZero() {
				took = w.streams.Sub(start)
			}
			s.options.Observe(rt.path, knownMethod(r.Method), w.code(), took)
			s.logRequest(r, w, took)
		}()
		defer r.usage.End()
		defer s.recover(w, r)
		if err := run(w, r, params); err != nil {
			s.remember(r, params, err)
			s.fail(w, r, err)
		}
	}
}

// run calls the handler, if the client may use it. It reads the path before the request is
// counted for its caller, because the path decides whose memory a request without a caller
// takes.
func (s *Server) run(w http.ResponseWriter, r *request, params httprouter.Params) (err error) {
	if err = s.enter(r); err != nil {
		return err
	}
	if r.route.path != unroutedPath {
		if err = s.authenticate(r); err != nil {
			return err
		}
		if err = r.readPath(params); err != nil {
			return err
		}
		if err = s.identified(r); err != nil {
			return err
		}
		if err = r.permit(); err != nil {
			return err
		}
		if err = r.readQuery(); err != nil {
			return err
		}
		r.permitted, r.late = func() error { return s.stillPermitted(r) }, time.Now().Add(s.times.late)
	}
	return s.handleBounded(w, r)
}

// recover answers a panic of a handler. It is deferred.
func (s *Server) recover(w *response, r *request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	s.fail(w, r, delivery.NewPanicError(v))
}

// knownMethod returns method if it is a standard one. Methods that a client makes up must not
// become labels.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return method
	}
	return "other"
}

// LargestBody returns how many bytes of a body the server reads at most.
func LargestBody(l delivery.Limits) int64 {
	largest := 0
	for _, r := range routes {
		if r.body != nil {
			largest = max(largest, r.body(l))
		}
	}
	return int64(largest)
}
