// Package auth says who sends a request: it turns a bearer token into the
// [Identity] that the token stands for.
//
// It promises that an identity comes only out of a token that its issuer would
// stand by now, and that nothing that it returns or logs has a secret in it. It
// refuses to know what an identity may do, and how requests arrive.
package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"welcomed/delivery"
)

var (
	// ErrInvalid: the token is malformed, unknown, revoked or expired, or
	// somebody else's. The words around it say which of these a client can do
	// something about, and never whether a guess was close.
	ErrInvalid = errors.New("invalid token")
	// ErrNobody: an authenticator accepted a token and did not say whom it stands
	// for. That is a fault of the authenticator.
	ErrNobody = errors.New("a token that stands for nobody was accepted")
	// ErrBadSubject: the token is valid, and yet stands for nobody here: a claim that
	// has to name a user, a device or a service is missing, or what it names is no
	// identifier. Another token of that issuer would say the same.
	ErrBadSubject = errors.New("bad subject")
	// ErrUnavailable: whether the token is valid cannot be said now.
	ErrUnavailable = errors.New("tokens cannot be checked now")
)

// An Identity is whom a token was made for: a user, a user's device or a
// service. Either User or Service is set: the zero Identity is nobody.
type Identity struct {
	User    delivery.UserID
	Device  string // empty: any device of the user
	Service string // may act for any user

	ReadOnly bool // changes nothing

	IssuedAt time.Time // not before it, by the clock of this server; zero if the token does not say
	Expires  time.Time // from when on it is refused; zero: never
}

// Owner is whose tokens the identity's is one of.
func (i Identity) Owner() delivery.TokenOwner {
	return delivery.TokenOwner{User: i.User, Device: i.Device, Service: i.Service}
}

// Valid returns [ErrNobody] with the reason unless id names a user, a user's
// device or a service.
func (id Identity) Valid() error {
	owner := delivery.TokenOwner{User: id.User, Device: id.Device, Service: id.Service}
	if err := owner.Valid(); err != nil {
		return fmt.Errorf("%w: %v", ErrNobody, err) // not %w: it is not the client's identifier
	}
	return nil
}

// An Authenticator checks bearer tokens.
type Authenticator interface {
	// Authenticate returns whom the token stands for, which is Valid, or ErrInvalid,
	// ErrBadSubject, ErrUnavailable, or [delivery.ErrClock] if whether the token is
	// valid hangs on a clock that is not trusted. It may be called by many at a time.
	Authenticate(ctx context.Context, token string) (Identity, error)
}
