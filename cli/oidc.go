package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"welcomed/auth"
	"welcomed/delivery"
)

// authOIDC is authentication by the tokens of an OpenID Connect issuer.
const authOIDC = "oidc"

func (c *config) oidcFlags() []cli.Flag {
	o := &c.oidc
	return []cli.Flag{
		textFlag("oidc-issuer", &o.Issuer, "with --auth oidc, accept tokens of the issuer `URL`, which must be exactly their iss"),
		valueFlag("oidc-audience", words(&o.Audience, nil), "accept only tokens for one of `AUDIENCES`, a list with commas"),
		textFlag("oidc-jwks", &o.JWKS, "`FILE-OR-URL` has the issuer's keys, and is read again when it changes; if empty, the issuer says where they are"),
		textFlag("oidc-user-claim", &o.UserClaim, "the `CLAIM` that has the user; a dot leads into an object"),
		valueFlag("oidc-user-encoding", userEncoding(&o.UserEncoding), "the `ENCODING` that makes user ids of the values of --oidc-user-claim: none; or base64url, for all of them, if some cannot be ids (they have / or spaces)"),
		textFlag("oidc-device-claim", &o.DeviceClaim, "the `CLAIM` that has the device; a token without it is refused. If empty, tokens are for all devices of a user"),
		textFlag("oidc-service-scope", &o.ServiceScope, "a token with `SCOPE` belongs to a service, which may act for any user; if empty, no token does"),
	}
}

// checkOIDC says which flag --auth oidc lacks, and which flag has no effect without it: whoever
// sets one expects that tokens are checked.
func (c *config) checkOIDC() error {
	o := c.oidc
	if c.auth != authOIDC {
		return c.checkNoOIDC()
	}
	var wrong problems
	wrong.when(o.Issuer == "", "--auth oidc needs --oidc-issuer, whose tokens are believed")
	wrong.when(len(o.Audience) == 0, "--auth oidc needs --oidc-audience, without which tokens for other servers would be valid here")
	wrong.when(o.UserClaim == "", "--oidc-user-claim is empty")
	if o.JWKS == "" && o.Issuer != "" {
		err := auth.ValidIssuer(o.Issuer)
		wrong.when(err != nil, "--oidc-issuer %s: %w", o.Issuer, err)
	}
	err := auth.ValidJWKS(o.JWKS)
	wrong.when(err != nil, "--oidc-jwks %s: %w", o.JWKS, err)
	return wrong.all()
}

func (c *config) checkNoOIDC() error {
	o, standard := c.oidc, auth.DefaultOIDCOptions()
	var wrong problems
	for _, flag := range []struct {
		name string
		set  bool
	}{
		{"issuer", o.Issuer != ""},
		{"audience", len(o.Audience) > 0},
		{"jwks", o.JWKS != ""},
		{"user-claim", o.UserClaim != standard.UserClaim},
		{"user-encoding", o.UserEncoding != standard.UserEncoding},
		{"device-claim", o.DeviceClaim != ""},
		{"service-scope", o.ServiceScope != ""},
	} {
		wrong.when(flag.set, "--oidc-%s has no effect with --auth %s: is --auth oidc meant?", flag.name, c.auth)
	}
	return wrong.all()
}

// oidcAuthenticator returns the authenticator of --auth oidc, which is up to date until ctx is
// done. clock tells the time; nil is the clock of the machine.
func (c *config) oidcAuthenticator(ctx context.Context, clock func() delivery.ClockReading, log *slog.Logger) (auth.Authenticator, error) {
	opts := c.oidc
	opts.Log, opts.Time = log, clock
	a, err := auth.OIDC(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("--auth oidc: %w", err)
	}
	return a, nil
}

// noEncoding is the name of auth.Plain on the command line.
const noEncoding = "none"

func userEncoding(p *auth.UserEncoding) cli.Value {
	return value[auth.UserEncoding]{p, func(s string) (auth.UserEncoding, error) {
		switch s {
		case noEncoding:
			return auth.Plain, nil
		case string(auth.Base64URL):
			return auth.Base64URL, nil
		}
		return "", fmt.Errorf("neither %s nor %s", noEncoding, auth.Base64URL)
	}, func(e auth.UserEncoding) string { return cmp.Or(string(e), noEncoding) }}
}

// words is a list of different words. valid, if it is not nil, has to accept each.
func words(p *[]string, valid func(string) error) cli.Value {
	return value[[]string]{p, func(s string) ([]string, error) { return parseWords(s, valid) },
		func(list []string) string { return strings.Join(list, ",") }}
}

func parseWords(s string, valid func(string) error) (list []string, err error) {
	if s == "" {
		return nil, nil
	}
	for word := range strings.SplitSeq(s, ",") {
		word = strings.TrimSpace(word)
		if word == "" || slices.Contains(list, word) {
			return nil, errors.New("not a list of different words with commas between them")
		}
		if valid != nil {
			if err := valid(word); err != nil {
				return nil, err
			}
		}
		list = append(list, word)
	}
	return list, nil
}
