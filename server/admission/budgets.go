package admission

import (
	"log/slog"
	"time"

	"welcomed/delivery"
)

// A Budget is how many KeyPackages can be taken at once, and how many more in each hour. A
// burst of zero is no limit.
type Budget struct{ Burst, PerHour int }

// Budgets bound how many KeyPackages of others a user may take, so that nobody can empty a
// shelf or learn about everybody. Each KeyPackage that is reserved, or named in a Welcome,
// counts. Lists have budgets of their own, of the same size, in which ten listed KeyPackages
// count as one. So a user who may only read cannot keep anybody from reserving. There is no
// budget for one's own KeyPackages, and none for a service that acts for nobody: it could sign
// up as many users as it likes.
type Budgets struct {
	Caller Budget // what one user may take of all others, and list of them
	Pair   Budget // what one user may take of one other, and list of them
	Target Budget // what all others together may take of one user; beyond it there is only the last resort
}

// DefaultBudgets allow one user to create two groups of 5,000 devices within an hour.
func DefaultBudgets() Budgets {
	return Budgets{
		Caller: Budget{20_000, 20_000},
		Pair:   Budget{100, 20},
		Target: Budget{1_000, 200},
	}
}

// The names under which budgets are counted when they refuse something.
const (
	BudgetCaller = "caller"
	BudgetPair   = "pair"
	BudgetList   = "list"
	BudgetTarget = "target" // also when only the last resort is handed out

	BudgetCheckTime = "check_time"
	BudgetPublish   = "publish"
	BudgetStore     = "store"
)

// BudgetOptions say how much callers may use up. A burst of zero is no limit.
type BudgetOptions struct {
	KeyPackages Budgets         // of others
	CheckTime   CheckTimeBudget // processor time
	Publish     Budget          // KeyPackages newly stored for a user
	Store       Budget          // bytes stored for a user

	Clock    func() time.Time
	Exceeded func(budget string) // is told of each time that a budget has nothing left
	Log      *slog.Logger
}

// An Account is a budget that each user has. A user who owes nothing may take more than is
// left, and then owes the difference.
type Account struct {
	spent    *buckets
	name     string
	refusal  error
	exceeded func(string)
}

func newAccount(b Budget, name string, refusal error, o BudgetOptions) *Account {
	return &Account{newBuckets(b.Burst, b.PerHour, o.Clock), name, refusal, o.Exceeded}
}

// NewPublications returns the account of KeyPackages that are newly stored for users. Each
// leaves a tombstone for up to TombstoneKeptMost.
func NewPublications(o BudgetOptions) *Account {
	return newAccount(o.Publish, BudgetPublish, ErrTooManyPublications, o)
}

// NewStorage returns the account of bytes stored for users.
func NewStorage(o BudgetOptions) *Account {
	return newAccount(o.Store, BudgetStore, ErrTooMuchStored, o)
}

// Charge takes n from a user's budget before it is known how much will be used. It refuses a
// user who owes something, unless n is zero. The empty user owes nothing.
func (a *Account) Charge(user delivery.UserID, n int) (Charge, error) {
	if user == "" {
		return Charge{}, nil
	}
	if n > 0 {
		if wait, ok := a.spent.borrow(string(user), n); !ok {
			a.exceeded(a.name)
			return Charge{}, &RetryError{a.refusal, wait}
		}
	}
	return Charge{a.spent, string(user), n}, nil
}

// A Charge is what was taken from an account. The zero Charge belongs to nobody.
type Charge struct {
	spent *buckets
	user  string
	n     int
}

// Settle corrects the charge to what was used.
func (c Charge) Settle(used int) { c.spent.charge(c.user, used-c.n) }
