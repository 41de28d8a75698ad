package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"welcomed/auth"
	"welcomed/delivery"
)

// NoAuth says whether there is no authentication.
type NoAuth int

const (
	AuthRequired NoAuth = iota // there is: every request shows a token
	NoAuthLocal                // there is none; only direct requests from this machine are served
	NoAuthPublic               // there is none; requests through a proxy and from other hosts are served too
)

// errNoAuthenticator: the server was made without Auth and without NoAuth. It refuses every
// request that needs a caller.
var errNoAuthenticator = errors.New("the server was made without an authenticator")

// authenticate finds out who the caller is. It sets the caller, or returns an error.
func (s *Server) authenticate(r *request) error {
	switch s.options.NoAuth {
	case NoAuthLocal:
		if err := Direct(r.Request); err != nil {
			return err
		}
		fallthrough
	case NoAuthPublic:
		r.caller = delivery.Unauthenticated()
		return nil
	}
	if r.route.who == anyone {
		return nil
	}
	if s.options.Auth == nil {
		return errNoAuthenticator
	}
	token, err := bearer(r.Header)
	if err != nil {
		return err
	}
	identity, err := s.options.Auth.Authenticate(r.Context(), token)
	if err != nil {
		return err
	}
	if err := identity.Valid(); err != nil {
		return err
	}
	r.identity = identity
	r.caller, err = callerOf(identity, r.Header)
	return err
}

// bearer reads the token of a request (RFC 6750 §2.1).
func bearer(h http.Header) (string, error) {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return "", errUnauthenticated
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return "", fmt.Errorf("%w: Authorization is to be one bearer token", errUnauthenticated)
	}
	return strings.TrimSpace(token), nil
}

// issuedBefore is when credentials without a time of issue count as issued: before everything
// else.
var issuedBefore = time.Unix(0, 0)

// callerOf returns the caller for an identity. A service may say in a header for whom it acts.
func callerOf(id auth.Identity, h http.Header) (delivery.Caller, error) {
	behalf := h.Values("On-Behalf-Of")
	switch {
	case id.Service == "" && len(behalf) > 0:
		return delivery.Caller{}, errNotAService
	case id.Service == "":
		return callerOfUser(id), nil
	case len(behalf) > 1:
		return delivery.Caller{}, fmt.Errorf("%w: On-Behalf-Of is given twice", errBadRequest)
	case len(behalf) == 1:
		return parseBehalf(behalf[0])
	}
	return delivery.Caller{Service: id.Service}, nil
}

func callerOfUser(id auth.Identity) delivery.Caller {
	c := delivery.Caller{User: id.User, Device: id.Device}
	if id.Device != "" {
		if c.Bound = id.IssuedAt; c.Bound.IsZero() {
			c.Bound = issuedBefore
		}
	}
	return c
}

// parseBehalf reads user[/device].
func parseBehalf(text string) (delivery.Caller, error) {
	user, device, named := strings.Cut(text, "/")
	err := delivery.ValidIdentifier(user)
	if err == nil && named {
		err = delivery.ValidIdentifier(device)
	}
	if err != nil {
		return delivery.Caller{}, fmt.Errorf("On-Behalf-Of is user or user/device: %w", err)
	}
	return delivery.Caller{User: delivery.UserID(user), Device: device}, nil
}

// An access says who may use a route. The store checks further what is behind it: the outcome
// of a Welcome, for example, only its poster gets.
type access int

const (
	noOne       access = iota // a route that does not say who may use it
	anyone                    // no credentials are looked at
	theOperator               // over the admin socket
	anyCaller                 // with valid credentials
	theUser                   // of the path
	wholeUser                 // of the path, with credentials that are not those of one device
	theDevice                 // of the path, or its user
	aService
)

// permit refuses a caller who may not use the path, whether or not there is anything behind it.
// A service may use every path. If it says for whom it acts, it may use only what they may.
func (r *request) permit() error {
	c := r.caller
	switch who := r.route.who; {
	case who == anyone, who == theOperator && r.operator:
		return nil
	case who == noOne, who == theOperator:
		return fmt.Errorf("%w: no caller of the API may", errForbidden)
	case c.Valid() != nil:
		return c.Valid()
	case who == aService && c.Unrestricted():
		return fmt.Errorf("%w: only a service may, and this request is served without authentication", errForbidden)
	case who == aService && r.identity.Service == "":
		return fmt.Errorf("%w: only a service may", errForbidden)
	case r.identity.ReadOnly && r.Method != http.MethodGet && r.Method != http.MethodHead:
		return errReadOnly
	case c.Unrestricted(), who == anyCaller, c.User == "":
		return nil
	case c.User != r.user:
		return fmt.Errorf("%w: this is another user's", errForbidden)
	case (who == theDevice || who == aService) && c.Device != "" && c.Device != r.device.Name:
		return fmt.Errorf("%w: this is another device's", errForbidden)
	case who == wholeUser && c.Device != "":
		return fmt.Errorf("%w: one device may not act for the whole user", errForbidden)
	}
	return nil
}

// challenge returns the header of a 401, which says what is missing (RFC 6750 §3).
func challenge(err error) string {
	if errors.Is(err, auth.ErrInvalid) {
		return `Bearer error="invalid_token"`
	}
	return "Bearer"
}
