package cli

import (
	"context"
	"log/slog"

	"github.com/urfave/cli/v3"

	"welcomed/auth"
	"welcomed/delivery"
	"welcomed/server"
)

// The kinds of authentication.
const (
	authNone  = "none"
	authToken = "token"
)

func (c *config) authFlags() []cli.Flag {
	return []cli.Flag{
		valueFlag("auth", choice(&c.auth, authNone, authToken, authOIDC),
			"`KIND` of authentication; token: bearer tokens, see welcomed token; oidc: JWTs of --oidc-issuer; none: everybody who reaches --listen may ask"),
		boolFlag("insecure-no-auth", &c.insecureNoAuth, "with --auth none, also serve other machines, and requests that come through proxies"),
		secretFlag("service-token", &c.serviceToken, "`TOKEN` of the service "+serviceOfToken+", which may act for any user"),
		c.budgets.flag(),
		valueFlag("credential-identity", identityTemplate(&c.identity), "credentials must be basic, and name their publisher as `TEMPLATE` says, with {user} and {device}"),
	}
}

// serviceOfToken is the service whose token --service-token is.
const serviceOfToken = "backend"

func (c *config) checkServiceToken() error {
	var wrong problems
	wrong.when(c.serviceToken != "" && c.auth == authNone,
		"--service-token is of no use with --auth none, where nobody shows a token: leave it out, or start with --auth token")
	wrong.note(checkSecret("--service-token", c.serviceToken))
	return wrong.all()
}

// withServiceToken adds the token of --service-token, if there is one.
func (c *config) withServiceToken(a auth.Authenticator) auth.Authenticator {
	if c.serviceToken == "" {
		return a
	}
	return auth.OfService(c.serviceToken, serviceOfToken, a)
}

// noAuth says whether there is no authentication. Only --auth none means that.
func (c *config) noAuth() server.NoAuth {
	switch {
	case c.auth != authNone:
		return server.AuthRequired
	case c.insecureNoAuth:
		return server.NoAuthPublic
	}
	return server.NoAuthLocal
}

// authenticator returns nil if there is no authentication. It keeps keys up to date until ctx
// is done.
func (c *config) authenticator(ctx context.Context, store delivery.Store, log *slog.Logger) (auth.Authenticator, error) {
	switch c.auth {
	case authToken:
		return auth.Tokens(store), nil
	case authOIDC:
		return c.oidcAuthenticator(ctx, store.Time, log)
	}
	return nil, nil
}
