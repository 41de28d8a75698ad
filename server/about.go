package server

import (
	"net/http"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

type aboutJSON struct {
	Version      string            `json:"version"`
	Time         string            `json:"time"`
	CipherSuites []mls.CipherSuite `json:"cipher_suites"`
	Match        string            `json:"match"` // any, or reserved: only what the poster has reserved
	Identifiers  identifiersJSON   `json:"identifiers"`
	Limits       limitsJSON        `json:"limits"`
	Budgets      budgetsJSON       `json:"budgets"`
	Proxy        proxyJSON         `json:"proxy"`
	Ready        bool              `json:"ready"`
}

// proxyJSON says what a proxy between a client and this server has to allow.
type proxyJSON struct {
	ResponseSeconds int64 `json:"response_seconds"` // from a request to the first byte of its answer
	RequestBytes    int64 `json:"request_bytes"`    // of a body
	HeaderBytes     int   `json:"header_bytes"`     // of a request
}

// beyondTheWait is how long the answer to a claim may take after its wait is over.
const beyondTheWait = 15 * time.Second

// identifiersJSON says which texts can be a user id or a device id.
type identifiersJSON struct {
	MaxBytes int    `json:"max_bytes"`
	Pattern  string `json:"pattern"` // of ECMA-262
}

// budgetsJSON has the budgets of callers. There are none without authentication.
type budgetsJSON struct {
	Caller  budgetJSON      `json:"caller"`
	Pair    budgetJSON      `json:"pair"`
	Target  budgetJSON      `json:"target"`
	Publish budgetJSON      `json:"publish"`
	Store   storeBudgetJSON `json:"store"`
}

// budgetJSON counts KeyPackages.
type budgetJSON struct {
	Burst   int `json:"burst"` // 0: any number
	PerHour int `json:"per_hour"`
}

type storeBudgetJSON struct {
	Burst   int `json:"burst_bytes"` // 0: any number
	PerHour int `json:"bytes_per_hour"`
}

// limitsJSON has the limits that a client can reach. A size is in bytes and a time in seconds,
// and its name says so.
type limitsJSON struct {
	KeyPackagesPerPublish int   `json:"key_packages_per_publish"`
	PublicationBytes      int   `json:"publication_bytes"`
	KeyPackagesPerDevice  int   `json:"key_packages_per_device"`
	KeyPackagesPerUser    int   `json:"key_packages_per_user"`
	RetiredPerDevice      int   `json:"retired_per_device"`
	RetiredPerUser        int   `json:"retired_per_user"`
	DevicesPerUser        int   `json:"devices_per_user"`
	UsersPerReserve       int   `json:"users_per_reserve"`
	DevicesPerReserve     int   `json:"devices_per_reserve"`
	KeyPackageBytes       int   `json:"key_package_bytes"`
	WelcomeBytes          int   `json:"welcome_bytes"`
	ContextBytes          int   `json:"context_bytes"`
	RecipientsPerWelcome  int   `json:"recipients_per_welcome"`
	PendingPerDevice      int   `json:"pending_per_device"`
	PendingBytesPerDevice int64 `json:"pending_bytes_per_device"`
	PendingPerPoster      int   `json:"pending_per_poster"`
	PendingBytesPerPoster int64 `json:"pending_bytes_per_poster"`
	OpenPerDevice         int   `json:"open_per_device"`
	TokensPerDevice       int   `json:"tokens_per_device"`
	LowWatermark          int   `json:"low_watermark"`
	WelcomesPerClaim      int   `json:"welcomes_per_claim"`

	AnswerBytes           int   `json:"answer_bytes"`
	HeaderBytes           int   `json:"header_bytes"`
	Headers               int   `json:"headers_per_request"`
	ConnectionsPerAddress int   `json:"connections_per_address"`
	RequestsPerCaller     int   `json:"requests_per_caller"`
	WaitsPerCaller        int   `json:"waits_per_caller"`
	WaitsPerDevice        int   `json:"waits_per_device"`
	BodyMemory            int64 `json:"body_memory_bytes"`

	ShelfAge        int64 `json:"shelf_age_seconds"`
	RetiredFor      int64 `json:"retired_for_seconds"`
	MaxLifetime     int64 `json:"max_lifetime_seconds"` // 0: any
	ClockSkew       int64 `json:"clock_skew_seconds"`
	LifetimeMargin  int64 `json:"lifetime_margin_seconds"`
	WelcomeKept     int64 `json:"welcome_kept_seconds"`
	Redelivery      int64 `json:"redelivery_seconds"`
	OutcomesKept    int64 `json:"outcomes_kept_seconds"`
	IdempotencyKept int64 `json:"idempotency_kept_seconds"`
	ForgetDevices   int64 `json:"forget_devices_after_seconds"` // 0: never
	Wait            int64 `json:"wait_seconds"`
}

// about handles GET /v1.
func (s *Server) about(w http.ResponseWriter, r *request) error {
	return answer(w, http.StatusOK, aboutJSON{
		Version:      s.options.Version,
		Time:         utc(s.store.Time().Wall),
		CipherSuites: s.limits.CipherSuites,
		Match:        matchName(s.limits),
		Identifiers:  identifiersJSON{delivery.MaxIdentifier, delivery.IdentifierPattern},
		Limits:       s.limitsJSON(),
		Budgets: budgetsJSON{
			Caller:  budgetJSON(s.options.Budgets.Caller),
			Pair:    budgetJSON(s.options.Budgets.Pair),
			Target:  budgetJSON(s.options.Budgets.Target),
			Publish: budgetJSON(s.options.Publish),
			Store:   storeBudgetJSON(s.options.Storage),
		},
		Proxy: proxyJSON{
			ResponseSeconds: int64((s.times.poll + beyondTheWait) / time.Second),
			RequestBytes:    s.largestBody,
			HeaderBytes:     s.caps.HeaderBytes,
		},
		Ready: s.store.Ready(r.Context()) == nil,
	})
}

func matchName(l delivery.Limits) string {
	if l.MatchReserved {
		return "reserved"
	}
	return "any"
}

func (s *Server) limitsJSON() limitsJSON {
	l := s.limits
	seconds := func(d time.Duration) int64 { return int64(d / time.Second) }
	return limitsJSON{
		KeyPackagesPerPublish: l.KeyPackagesPerPublish,
		PublicationBytes:      publicationBytes(l),
		KeyPackagesPerDevice:  l.KeyPackagesPerDevice,
		KeyPackagesPerUser:    l.KeyPackagesPerUser,
		RetiredPerDevice:      l.RetiredPerDevice,
		RetiredPerUser:        l.RetiredPerUser,
		DevicesPerUser:        l.DevicesPerUser,
		UsersPerReserve:       l.UsersPerReserve,
		DevicesPerReserve:     l.DevicesPerReserve,
		KeyPackageBytes:       l.KeyPackageBytes,
		WelcomeBytes:          l.WelcomeBytes,
		ContextBytes:          l.ContextBytes,
		RecipientsPerWelcome:  l.RecipientsPerWelcome,
		PendingPerDevice:      l.PendingPerDevice,
		PendingBytesPerDevice: l.PendingBytesPerDevice,
		PendingPerPoster:      l.PendingPerPoster,
		PendingBytesPerPoster: l.PendingBytesPerPoster,
		OpenPerDevice:         l.OpenPerDevice,
		TokensPerDevice:       l.TokensPerOwner,

		LowWatermark:          l.LowWatermark,
		WelcomesPerClaim:      MaxClaimWelcomes,
		AnswerBytes:           s.options.AnswerBytes,
		HeaderBytes:           s.caps.HeaderBytes,
		Headers:               s.caps.Headers,
		ConnectionsPerAddress: s.caps.ConnectionsPerAddress,
		RequestsPerCaller:     s.caps.RequestsPerCaller,
		WaitsPerCaller:        s.caps.WaitsPerCaller,
		WaitsPerDevice:        s.caps.WaitsPerDevice,
		BodyMemory:            s.caps.BodyMemory,
		ShelfAge:              seconds(l.ShelfAge),
		RetiredFor:            seconds(l.RetiredFor),
		MaxLifetime:           seconds(l.MaxLifetime),
		ClockSkew:             seconds(l.ClockSkew),
		LifetimeMargin:        seconds(l.LifetimeMargin),
		WelcomeKept:           seconds(l.WelcomeKept),
		Redelivery:            seconds(l.Redelivery),
		OutcomesKept:          seconds(l.OutcomesKept),
		IdempotencyKept:       seconds(l.IdempotencyKept),
		ForgetDevices:         seconds(l.ForgetDevicesAfter),
		Wait:                  seconds(s.times.poll),
	}
}
