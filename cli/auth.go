package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// authenticator is nil if there is no authentication. It is up to date until ctx
// is done.
func (c *config) authenticator(ctx context.Context, store delivery.Store, log *slog.Logger) (auth.Authenticator, error) {
	switch c.auth {
	case authToken:
		return auth.Tokens(store), nil
	case authOIDC:
		return c.oidcAuthenticator(ctx, log)
	}
	return nil, nil
}

// budget is a number at once and one for each hour, or 0.
func budget(p *server.Budget) cli.Value {
	return value[server.Budget]{p, parseBudget, formatBudget}
}

func parseBudget(s string) (b server.Budget, err error) {
	if s == "0" {
		return b, nil
	}
	burst, rate, _ := strings.Cut(s, "+")
	perHour, hourly := strings.CutSuffix(rate, "/h")
	var errs [2]error
	b.Burst, errs[0] = strconv.Atoi(burst)
	b.PerHour, errs[1] = strconv.Atoi(perHour)
	if !hourly || errors.Join(errs[:]...) != nil || min(b.Burst, b.PerHour) < 1 || max(b.Burst, b.PerHour) > mostBudget {
		return server.Budget{}, fmt.Errorf("not a budget like 100+20/h, or 0, with numbers up to %d", mostBudget)
	}
	return b, nil
}

const mostBudget = 100_000_000

func formatBudget(b server.Budget) string {
	if b.Burst == 0 {
		return "0"
	}
	return fmt.Sprintf("%d+%d/h", b.Burst, b.PerHour)
}
