package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// An About is what a server says of itself.
type About struct {
	Version      string      `json:"version"`
	Time         time.Time   `json:"time"`
	CipherSuites []uint16    `json:"cipher_suites"`
	Match        string      `json:"match"` // any, or reserved: a Welcome has to be for what its poster has reserved
	Identifiers  Identifiers `json:"identifiers"`
	Limits       Limits      `json:"limits"`
	Budgets      Budgets     `json:"budgets"`
	Proxy        Proxy       `json:"proxy"`
	Ready        bool        `json:"ready"`
}

// Identifiers is what ids of users and of devices may be.
type Identifiers struct {
	MaxBytes int    `json:"max_bytes"`
	Pattern  string `json:"pattern"`
}

// Budgets are what a caller may take, where there is authentication. docs/lifecycle.md says
// what each counts.
type Budgets struct {
	Caller  Budget      `json:"caller"`
	Pair    Budget      `json:"pair"`
	Target  Budget      `json:"target"`
	Publish Budget      `json:"publish"`
	Store   StoreBudget `json:"store"`
}

// A Budget counts KeyPackages. A burst of 0 is any number.
type Budget struct {
	Burst   int `json:"burst"`
	PerHour int `json:"per_hour"`
}

// A StoreBudget counts bytes. A burst of 0 is any number.
type StoreBudget struct {
	BurstBytes   int `json:"burst_bytes"`
	BytesPerHour int `json:"bytes_per_hour"`
}

// Proxy is what a proxy in front of the server has to allow.
type Proxy struct {
	ResponseSeconds int64 `json:"response_seconds"`
	RequestBytes    int64 `json:"request_bytes"`
	HeaderBytes     int   `json:"header_bytes"`
}

// Limits are those that a client can run into. docs/reference.md says what each bounds.
type Limits struct {
	KeyPackagesPerPublish int   `json:"key_packages_per_publish"`
	PublicationBytes      int   `json:"publication_bytes"`
	KeyPackagesPerDevice  int   `json:"key_packages_per_device"`
	KeyPackagesPerUser    int   `json:"key_packages_per_user"`
	RetiredPerDevice      int   `json:"retired_per_device"`
	RetiredPerUser        int   `json:"retired_per_user"`
	DevicesPerUser        int   `json:"devices_per_user"`
	TokensPerDevice       int   `json:"tokens_per_device"`
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
	LowWatermark          int   `json:"low_watermark"`
	WelcomesPerClaim      int   `json:"welcomes_per_claim"`

	AnswerBytes           int   `json:"answer_bytes"`
	HeaderBytes           int   `json:"header_bytes"`
	HeadersPerRequest     int   `json:"headers_per_request"`
	ConnectionsPerAddress int   `json:"connections_per_address"`
	RequestsPerCaller     int   `json:"requests_per_caller"`
	WaitsPerCaller        int   `json:"waits_per_caller"`
	WaitsPerDevice        int   `json:"waits_per_device"`
	BodyMemoryBytes       int64 `json:"body_memory_bytes"`

	ShelfAgeSeconds           int64 `json:"shelf_age_seconds"`
	RetiredForSeconds         int64 `json:"retired_for_seconds"`
	MaxLifetimeSeconds        int64 `json:"max_lifetime_seconds"` // 0: any
	ClockSkewSeconds          int64 `json:"clock_skew_seconds"`
	LifetimeMarginSeconds     int64 `json:"lifetime_margin_seconds"`
	WelcomeKeptSeconds        int64 `json:"welcome_kept_seconds"`
	RedeliverySeconds         int64 `json:"redelivery_seconds"`
	OutcomesKeptSeconds       int64 `json:"outcomes_kept_seconds"`
	IdempotencyKeptSeconds    int64 `json:"idempotency_kept_seconds"`
	ForgetDevicesAfterSeconds int64 `json:"forget_devices_after_seconds"` // 0: never
	WaitSeconds               int64 `json:"wait_seconds"`
}

// About asks a server who it is. It needs no token.
func (c *Client) About(ctx context.Context) (a About, err error) {
	return a, c.do(ctx, call{method: http.MethodGet}, &a)
}

// A DeviceInfo is what a user sees of a device.
type DeviceInfo struct {
	Device          string    `json:"device"`
	SeenAt          time.Time `json:"seen_at"`    // exact to a day; only for the user
	IdleSince       time.Time `json:"idle_since"` // zero: it was seen in the last 30 days
	Counts          []Counts  `json:"counts"`
	WelcomesPending int       `json:"welcomes_pending"`
}

// Devices returns the devices of a user, without those that were not seen for maxIdleDays:
// 30 or more, or 0 for all.
func (c *Client) Devices(ctx context.Context, user string, maxIdleDays int) ([]DeviceInfo, error) {
	r := call{method: http.MethodGet, path: path("users", user, "devices")}
	if maxIdleDays != 0 {
		r.query = url.Values{"max_idle_days": {strconv.Itoa(maxIdleDays)}}
	}
	var a struct {
		Devices []DeviceInfo `json:"devices"`
	}
	err := c.do(ctx, r, &a)
	return a.Devices, err
}

// RemoveDevice ends all that a device has here, its tokens too: it has signed out.
func (c *Client) RemoveDevice(ctx context.Context, device DeviceID) error {
	return c.do(ctx, call{method: http.MethodDelete, path: device.path()}, nil)
}

// RemoveUser removes all devices of a user, and revokes all tokens of the user.
func (c *Client) RemoveUser(ctx context.Context, user string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: path("users", user)}, nil)
}

// A Token is one of a device.
type Token struct {
	ID        string    `json:"id"`    // to revoke it
	Token     string    `json:"token"` // only when it is made
	User      string    `json:"user"`
	Device    string    `json:"device"`
	Service   string    `json:"service"`
	ReadOnly  bool      `json:"read_only"`
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"` // zero: never
}

// A NewToken says what token is made.
type NewToken struct {
	ReadOnly  bool      `json:"read_only,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: never
}

// CreateToken makes a token for a device. Only a service may do this. It is the one request
// that is not repeated when its answer is lost: the server may have made the token. Then
// look with [Client.Tokens], and revoke what no device uses.
func (c *Client) CreateToken(ctx context.Context, device DeviceID, what NewToken) (t Token, err error) {
	r := call{method: http.MethodPost, path: device.path("tokens"), unsafe: true}
	return t, c.do(ctx, r.withJSON(what), &t)
}

// Tokens returns the tokens of a device, without their secrets.
func (c *Client) Tokens(ctx context.Context, device DeviceID) ([]Token, error) {
	var a struct {
		Tokens []Token `json:"tokens"`
	}
	err := c.do(ctx, call{method: http.MethodGet, path: device.path("tokens")}, &a)
	return a.Tokens, err
}

// RevokeToken ends a token of a device.
func (c *Client) RevokeToken(ctx context.Context, device DeviceID, id string) error {
	err := c.do(ctx, call{method: http.MethodDelete, path: device.path("tokens", id)}, nil)
	if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeNotFound && e.Attempts > 1 {
		return nil // the first attempt has revoked it, and its answer was lost
	}
	return err
}
