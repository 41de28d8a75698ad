package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/server"
	"welcomed/server/admission"
)

// budgets are what callers may use up, and users have stored. They are one
// setting, whose parts are called as welcomed_budget_exceeded_total calls them.
type budgets struct {
	taken     server.Budgets
	publish   server.Budget
	storage   server.Budget
	checkTime server.CheckTimeBudget
}

func defaultBudgets() budgets {
	return budgets{
		taken:     server.DefaultBudgets(),
		publish:   server.Budget{Burst: 5000, PerHour: 2000},
		storage:   server.Budget{Burst: 256 << 20, PerHour: 32 << 20},
		checkTime: server.CheckTimeBudget{Burst: 10 * time.Second, PerSecond: 200 * time.Millisecond},
	}
}

const budgetsUsage = "how much can be used at once, and how much more in each hour or second. Budgets that `BUDGETS` does not name do not change, and 0 is no limit. " +
	"caller: KeyPackages that one user takes of all others. pair: KeyPackages that one user takes of one other. " +
	"target: KeyPackages that all others take of one user; beyond it they get only the last resort. publish: new KeyPackages of a user. " +
	"store: bytes of a user's KeyPackages, Welcomes and remembered answers. check_time: time for checking a caller's signatures"

func (b *budgets) flag() cli.Flag {
	return valueFlag("budgets", parts{"budget", []part{
		{admission.BudgetCaller, countBudget(&b.taken.Caller)},
		{admission.BudgetPair, countBudget(&b.taken.Pair)},
		{admission.BudgetTarget, countBudget(&b.taken.Target)},
		{admission.BudgetPublish, countBudget(&b.publish)},
		{admission.BudgetStore, byteBudget(&b.storage)},
		{admission.BudgetCheckTime, timeBudget(&b.checkTime)},
	}}, budgetsUsage)
}

// countBudget is of KeyPackages.
func countBudget(p *server.Budget) cli.Value {
	return hourly(p, rate{like: "100+20/h", per: "/h", most: mostKeyPackages,
		parse:  func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) },
		format: func(n int64) string { return strconv.FormatInt(n, 10) }})
}

// byteBudget is of bytes, which may have units.
func byteBudget(p *server.Budget) cli.Value {
	return hourly(p, rate{like: "256MiB+32MiB/h", per: "/h", most: math.MaxInt32, parse: parseSize, format: formatSize})
}

// timeBudget is of processor time.
func timeBudget(p *server.CheckTimeBudget) cli.Value {
	r := rate{like: "10s+200ms/s", per: "/s", most: int64(day),
		parse:  func(s string) (int64, error) { d, err := parseDuration(s); return int64(d), err },
		format: func(n int64) string { return formatDuration(time.Duration(n)) }}
	return value[server.CheckTimeBudget]{p, func(s string) (server.CheckTimeBudget, error) {
		burst, perSecond, err := r.read(s)
		return server.CheckTimeBudget{Burst: time.Duration(burst), PerSecond: time.Duration(perSecond)}, err
	}, func(b server.CheckTimeBudget) string { return r.write(int64(b.Burst), int64(b.PerSecond)) }}
}

func hourly(p *server.Budget, r rate) cli.Value {
	return value[server.Budget]{p, func(s string) (server.Budget, error) {
		burst, perHour, err := r.read(s)
		return server.Budget{Burst: int(burst), PerHour: int(perHour)}, err
	}, func(b server.Budget) string { return r.write(int64(b.Burst), int64(b.PerHour)) }}
}

// mostKeyPackages times their price fits in 32 bits.
const mostKeyPackages = 200_000_000

// A rate is how an amount at once and one for each hour or second are written.
type rate struct {
	like   string // an example
	per    string
	most   int64
	parse  func(string) (int64, error)
	format func(int64) string
}

// read returns zeros for 0, which is no limit.
func (r rate) read(s string) (burst, each int64, err error) {
	if s == "0" {
		return 0, 0, nil
	}
	first, second, _ := strings.Cut(s, "+")
	second, found := strings.CutSuffix(second, r.per)
	var errs [2]error
	burst, errs[0] = r.parse(first)
	each, errs[1] = r.parse(second)
	if !found || errors.Join(errs[:]...) != nil || min(burst, each) < 1 || max(burst, each) > r.most {
		return 0, 0, fmt.Errorf("not a budget like %s, or 0, with numbers up to %s", r.like, r.format(r.most))
	}
	return burst, each, nil
}

func (r rate) write(burst, each int64) string {
	if burst == 0 {
		return "0"
	}
	return r.format(burst) + "+" + r.format(each) + r.per
}
