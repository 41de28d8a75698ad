package server

import (
	"cmp"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"welcomed/auth"
	"welcomed/delivery"
	"welcomed/operator/refusals"
	"welcomed/server/admission"
)

// Options are what a [Server] needs. The comment behind a field says what zero means.
type Options struct {
	Store   delivery.Store
	Limits  delivery.Limits // those of the store
	Log     *slog.Logger    // nil: nothing is logged
	Version string

	// Who may ask. Auth checks the bearer tokens of requests. Without it the server
	// refuses all that needs a caller, unless NoAuth says that there is no
	// authentication; then Auth is not asked.
	Auth   auth.Authenticator
	NoAuth NoAuth
	// CredentialIdentity, if not empty, is the identity that the credential of a
	// KeyPackage must have for the device that publishes it.
	CredentialIdentity IdentityTemplate

	// How much a caller may use up, and how much may be stored for a user. Callers
	// without an identity are not limited. A burst of zero is no limit.
	Budgets   Budgets         // KeyPackages of others
	CheckTime CheckTimeBudget // processor time for the signatures in publications
	Publish   Budget          // KeyPackages newly stored for a user
	Storage   Budget          // bytes stored for a user: KeyPackages, Welcomes with all that comes with them, remembered answers
	// BudgetClock is the clock by which budgets are refilled and refusals dated; nil:
	// time.Now.
	BudgetClock func() time.Time

	// What clients may take at the same time, and for how long.
	Caps          Caps
	HeaderRead    time.Duration // for a complete header to come; 10 s
	BodyRead      time.Duration // for a complete body to come; 30 s
	Idle          time.Duration // between two requests of a connection; 120 s
	Write         time.Duration // for a client to take an answer, on top of what its size allows; 30 s
	LongPoll      time.Duration // the longest wait of a claim; 50 s
	ClaimWelcomes int           // that a claim returns at most if it does not say how many; 10
	AnswerBytes   int           // of an answer with MLS objects in base64; 8 MiB
	Checks        int           // publications' signatures checked at a time; as many as there are processors (GOMAXPROCS)

	// How clients reach the server. TrustedProxies are the proxies whose X-Forwarded-For
	// the server believes.
	TrustedProxies []netip.Prefix
	// Origins are the origins of pages that may use the API in a browser.
	Origins []Origin
	// Certificate is for TLS on the listener of the API; nil: it has none.
	Certificate *Certificate

	// For operators. The admin listener requires AdminToken, if it is not empty, except
	// for /livez and /readyz.
	AdminToken string
	// Metrics is /metrics of the admin listener; nil: there is none.
	Metrics http.Handler
	// Status is what the status page shows beside the content of the store.
	Status StatusSource
	// Profiles makes the admin listener serve net/http/pprof under /debug/pprof/.
	Profiles bool
	// Socket is where commands connect, without credentials; nil: nowhere.
	Socket net.Listener
	// Database has the names of the database for commands, see DatabaseHeader.
	Database url.Values
	// Settings are the settings that commands are told.
	Settings []Setting
	// Backup makes copies for commands; nil: there are none.
	Backup *Backup
	// Webhook is what they look at and test; nil: there is none.
	Webhook *Webhook

	// Functions that are called when something happens; each may be nil. Observe is
	// called for every request that was answered. The route is a pattern
	// ("/v1/users/:user/devices/:device/claim") or "none", the method one of the
	// standard ones or "other", and the code 499 if the client left before there
	// was an answer.
	Observe func(route, method string, code int, took time.Duration)
	// OverBudget is called each time that a budget refuses something.
	OverBudget func(budget string)
	// Problem is called for each request that was answered with a problem.
	Problem func(ProblemKind)
	// GivenOften is called for each Welcome that a device was given three times and has
	// not settled.
	GivenOften func()
	// Refused is called each time that one of the Caps refuses something.
	Refused func(Cap)
	// EventsSent is told how many events a stream was just sent.
	EventsSent func(int)
	// StreamEnded is told why a stream has ended.
	StreamEnded func(StreamEnd)
}

// A Server answers requests with the decisions of a store.
type Server struct {
	store     delivery.Store
	limits    delivery.Limits
	log       *slog.Logger
	options   Options
	times     timeouts
	verifiers verifiers

	keyPackages  *admission.KeyPackages
	checkTime    *admission.CheckTime
	publications *admission.Account
	storage      *admission.Account

	caps         admission.Caps
	capacity     *admission.Capacity
	connections  *admission.Connections
	claims       admission.PerKey // by user
	reservations admission.PerKey // by user who reserves
	reads        admission.PerKey // what is costly to read, see concurrencyOf

	refusals *refusals.Memory
	given    *given
	waiting  *waitQueues // claims
	streams  *waitQueues
	open     atomic.Int64 // streams

	largestBody int64

	draining chan struct{} // closed when the server is told to stop
	drain    func()

	// What a test has instead of time, for streams and what waits.
	now   func() time.Time
	alarm func(...time.Time) (at <-chan time.Time, forget func() bool)
}

// New returns a server. It does not serve before Serve is called.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.ClaimWelcomes = cmp.Or(o.ClaimWelcomes, defaultClaim)
	o.AnswerBytes = cmp.Or(o.AnswerBytes, DefaultAnswerBytes)
	if o.BudgetClock == nil {
		o.BudgetClock = time.Now
	}
	if o.OverBudget == nil {
		o.OverBudget = func(string) {}
	}
	o.Status = o.Status.orNothing()
	if o.Problem == nil {
		o.Problem = func(ProblemKind) {}
	}
	if o.Observe == nil {
		o.Observe = func(string, string, int, time.Duration) {}
	}
	if o.GivenOften == nil {
		o.GivenOften = func() {}
	}
	if o.Refused == nil {
		o.Refused = func(Cap) {}
	}
	if o.EventsSent == nil {
		o.EventsSent = func(int) {}
	}
	if o.StreamEnded == nil {
		o.StreamEnded = func(StreamEnd) {}
	}
	s := &Server{
		store:     o.Store,
		limits:    o.Limits,
		log:       o.Log,
		options:   o,
		times:     newTimeouts(o),
		verifiers: make(verifiers, cmp.Or(o.Checks, runtime.GOMAXPROCS(0))),
		caps:      o.Caps.OrDefault(),
		draining:  make(chan struct{}),
		now:       time.Now,
		alarm:     alarm,

		refusals:    refusals.New(o.BudgetClock),
		given:       newGiven(o.GivenOften),
		largestBody: LargestBody(o.Limits),
	}
	budgets := admission.BudgetOptions{
		KeyPackages: o.Budgets, CheckTime: o.CheckTime, Publish: o.Publish, Store: o.Storage,
		Clock: o.BudgetClock, Exceeded: o.OverBudget, Log: o.Log,
	}
	s.keyPackages, s.checkTime = admission.NewKeyPackages(budgets), admission.NewCheckTime(budgets)
	s.publications, s.storage = admission.NewPublications(budgets), admission.NewStorage(budgets)
	s.capacity = admission.NewCapacity(s.caps, o.Refused)
	displaced := func() { o.Refused(admission.CapWaitsPerDevice) }
	s.waiting, s.streams = &waitQueues{displaced: displaced}, &waitQueues{displaced: displaced, apart: true}
	s.connections = admission.NewConnections(s.caps, s.shared, o.Refused)
	s.drain = sync.OnceFunc(func() { close(s.draining) })
	return s
}
