package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"welcomed/delivery"
)

// A token reads welcomed_ID_SECRET. The prefix lets scanners find one that was
// published by mistake; the id is no secret; the secret has 130 random bits, so
// a plain hash of it can be kept.
const (
	tokenPrefix = "welcomed_"
	idLength    = 12
)

// NewToken returns a token for owner that a store can keep, and its text, which
// has the secret and is shown once.
func NewToken(owner delivery.TokenOwner) (token delivery.Token, text string) {
	id, secret := strings.ToLower(rand.Text()[:idLength]), rand.Text()
	token = delivery.Token{ID: id, Owner: owner, Hash: sha256.Sum256([]byte(secret))}
	return token, tokenPrefix + id + "_" + secret
}

// A TokenStore is where tokens are looked up.
type TokenStore interface {
	// Token returns the token with that id, or [delivery.ErrNotFound] if there
	// is none that is valid.
	Token(ctx context.Context, id string) (delivery.Token, error)
}

// Tokens returns an authenticator for the tokens in store. Each is looked up
// each time, so a revocation works at once.
func Tokens(store TokenStore) Authenticator { return tokens{store} }

type tokens struct{ store TokenStore }

func (a tokens) Authenticate(ctx context.Context, text string) (Identity, error) {
	id, secret, ok := splitToken(text)
	if !ok {
		return Identity{}, fmt.Errorf("%w: not one of this server", ErrInvalid)
	}
	token, err := a.store.Token(ctx, id)
	known := err == nil
	if err != nil && !errors.Is(err, delivery.ErrNotFound) {
		return Identity{}, err
	}
	hash := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(hash[:], token.Hash[:]) != 1 || !known {
		return Identity{}, fmt.Errorf("%w: unknown, revoked or expired", ErrInvalid)
	}
	return Identity{
		User: token.Owner.User, Device: token.Owner.Device, Service: token.Owner.Service,
		ReadOnly: token.ReadOnly, IssuedAt: token.CreatedAt, Expires: token.Expires,
	}, nil
}

// OfService returns an authenticator for which text is a token of a service, and
// that asks next for every other token. It is for a token that is not in a store.
func OfService(text, service string, next Authenticator) Authenticator {
	return serviceToken{sha256.Sum256([]byte(text)), service, next}
}

type serviceToken struct {
	hash    [sha256.Size]byte
	service string
	next    Authenticator
}

func (a serviceToken) Authenticate(ctx context.Context, text string) (Identity, error) {
	hash := sha256.Sum256([]byte(text))
	if subtle.ConstantTimeCompare(hash[:], a.hash[:]) == 1 {
		return Identity{Service: a.service}, nil
	}
	return a.next.Authenticate(ctx, text)
}

// splitToken does not accept what no token can be, so nothing long is looked up.
func splitToken(text string) (id, secret string, ok bool) {
	rest, ours := strings.CutPrefix(text, tokenPrefix)
	id, secret, parts := strings.Cut(rest, "_")
	return id, secret, ours && parts && len(id) == idLength && len(secret) == len(rand.Text())
}
