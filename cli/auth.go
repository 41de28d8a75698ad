package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"

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
	b := &c.budgets
	return []cli.Flag{
		valueFlag("auth", choice(&c.auth, authNone, authToken, authOIDC),
			"`KIND` of authentication; token: bearer tokens, see welcomed token; oidc: JWTs of --oidc-issuer; none: everybody who reaches --listen may ask"),
		boolFlag("insecure-no-auth", &c.insecureNoAuth, "with --auth none, serve other machines too, also through proxies"),
		valueFlag("caller-budget", budget(&b.Caller), "one user may take `N+N/h` KeyPackages of all others: at once, and more in each hour; 0: any number"),
		valueFlag("pair-budget", budget(&b.Pair), "one user may take `N+N/h` KeyPackages of one other"),
		valueFlag("target-budget", budget(&b.Target), "all others may take `N+N/h` KeyPackages of one user; beyond it there is only the last resort"),
	}
}

// noAuth says whether there is no authentication, which only --auth none does.
func (c *config) noAuth() server.NoAuth {
	switch {
	case c.auth != authNone:
		return server.AuthRequired
	case c.insecureNoAuth:
		return server.NoAuthPublic
	}
	return server.NoAuthLocal
}

// authenticator is nil if there is no authentication. It is up to date until ctx
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

// budget is a number at once and one for each hour, or 0.
func budget(p *server.Budget) cli.Value {
	return budgetOf(p, "100+20/h", mostKeyPackages, strconv.Atoi, strconv.Itoa)
}

// byteBudget is a budget of bytes, which may have units.
func byteBudget(p *server.Budget) cli.Value {
	parse := func(s string) (int, error) {
		n, err := parseSize(s)
		return int(min(n, math.MaxInt)), err
	}
	return budgetOf(p, "256MiB+32MiB/h", math.MaxInt32, parse, func(n int) string { return formatSize(int64(n)) })
}

// mostKeyPackages times their price fits in 32 bits.
const mostKeyPackages = 200_000_000

func budgetOf(p *server.Budget, like string, most int, parse func(string) (int, error), format func(int) string) cli.Value {
	return value[server.Budget]{p, func(s string) (b server.Budget, err error) {
		if s == "0" {
			return b, nil
		}
		burst, rate, _ := strings.Cut(s, "+")
		perHour, hourly := strings.CutSuffix(rate, "/h")
		var errs [2]error
		b.Burst, errs[0] = parse(burst)
		b.PerHour, errs[1] = parse(perHour)
		if !hourly || errors.Join(errs[:]...) != nil || min(b.Burst, b.PerHour) < 1 || max(b.Burst, b.PerHour) > most {
			return server.Budget{}, fmt.Errorf("not a budget like %s, or 0, with numbers up to %s", like, format(most))
		}
		return b, nil
	}, func(b server.Budget) string {
		if b.Burst == 0 {
			return "0"
		}
		return format(b.Burst) + "+" + format(b.PerHour) + "/h"
	}}
}
