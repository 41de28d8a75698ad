package server

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"welcomed/delivery"
)

// Options are what a [Server] needs.
type Options struct {
	Store   delivery.Store
	Limits  delivery.Limits // those of the store
	Log     *slog.Logger    // nil: nothing is logged
	Version string

	// Observe, if not nil, is told of every request that was answered. The
	// route is a pattern ("/v1/users/:user/devices/:device/claim") or "none",
	// the method one of the standard ones or "other", and the code 499 if the
	// client left before there was an answer.
	Observe func(route, method string, code int, took time.Duration)

	// InsecureNoAuth serves everybody although there is no authentication:
	// requests through a proxy and from other hosts are not refused.
	InsecureNoAuth bool

	// Checks is how many publications' signatures are checked at a time; 0: as
	// many as there are processors (GOMAXPROCS).
	Checks int

	// What clients may take. Zero is the default.
	HeaderRead    time.Duration // for a header to come whole; 10 s
	BodyRead      time.Duration // for a body to come whole; 30 s
	Idle          time.Duration // between two requests of a connection; 120 s
	Write         time.Duration // for an answer to be taken, besides what its size allows; 30 s
	LongPoll      time.Duration // a claim waits at most; 50 s
	ClaimWelcomes int           // that a claim returns if it does not say how many; 10
	AnswerBytes   int           // of an answer with MLS objects in base64; 8 MiB

	// Caps bound what clients take at the same time, and Refused, if not nil, is
	// told of each time that one does.
	Caps    Caps
	Refused func(Cap)

	// TrustedProxies are those whose X-Forwarded-For counts.
	TrustedProxies []netip.Prefix

	// Certificate is for TLS on the listener of the API; nil: it has none.
	Certificate *Certificate

	// AdminToken, if not empty, has to be shown to the admin listener, but not
	// for /livez and /readyz.
	AdminToken string

	// Metrics is /metrics of the admin listener; nil: there is none.
	Metrics http.Handler

	// Profiles puts those of net/http/pprof under /debug/pprof/ of the admin
	// listener.
	Profiles bool
}

// A Server answers requests with what a store decides.
type Server struct {
	store     delivery.Store
	limits    delivery.Limits
	log       *slog.Logger
	options   Options
	times     timeouts
	verifiers verifiers
	encoders  chan struct{} // one token for each large answer that is being encoded

	caps        Caps
	pools       pools
	connections *connections
	claims      turns // by user
	lists       turns // by who lists

	draining chan struct{} // closed when the server is told to stop
	drain    func()
}

// New returns a server that is not serving yet.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.ClaimWelcomes = cmp.Or(o.ClaimWelcomes, defaultClaim)
	o.AnswerBytes = cmp.Or(o.AnswerBytes, defaultAnswerBytes)
	if o.Observe == nil {
		o.Observe = func(string, string, int, time.Duration) {}
	}
	if o.Refused == nil {
		o.Refused = func(Cap) {}
	}
	s := &Server{
		store:     o.Store,
		limits:    o.Limits,
		log:       o.Log,
		options:   o,
		times:     newTimeouts(o),
		verifiers: make(verifiers, cmp.Or(o.Checks, runtime.GOMAXPROCS(0))),
		encoders:  make(chan struct{}, runtime.GOMAXPROCS(0)),
		caps:      o.Caps.orDefault(),
		draining:  make(chan struct{}),
	}
	s.pools.init(s.caps, o.Refused)
	s.connections = newConnections(s.caps, s.shared, o.Refused)
	s.drain = sync.OnceFunc(func() { close(s.draining) })
	return s
}
