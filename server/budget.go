package server

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"golang.org/x/time/rate"

	"welcomed/delivery"
)

// A Budget is a number of KeyPackages that may be taken at once, and how many
// more in each hour. A burst of zero is no limit.
type Budget struct{ Burst, PerHour int }

// Budgets bound what a user may take of the KeyPackages of others, so that
// nobody can empty a shelf or learn about everybody. Each that is reserved or
// named in a Welcome counts. Listings have budgets of their own, of the same
// size, where ten KeyPackages that are listed count as one: who may only read
// keeps nobody from reserving. There is no budget for one's own KeyPackages, nor
// for a service that acts for nobody: it can sign up as many users as it likes.
type Budgets struct {
	Caller Budget // what one user may take of all others, and list of them
	Pair   Budget // what one user may take of one other, and list of them
	Target Budget // what all others together may take of one user; beyond it there is only the last resort
}

// DefaultBudgets let somebody create two groups of 5,000 devices within an hour.
func DefaultBudgets() Budgets {
	return Budgets{
		Caller: Budget{20_000, 20_000},
		Pair:   Budget{100, 20},
		Target: Budget{1_000, 200},
	}
}

// The budgets, as they are counted when one has nothing left.
const (
	BudgetCaller = "caller"
	BudgetPair   = "pair"
	BudgetList   = "list"
	BudgetTarget = "target" // also when only the last resort is handed out

	BudgetCheckTime = "check_time"
	BudgetPublish   = "publish"
	BudgetStore     = "store"
)

// What a KeyPackage is charged, in the unit of the buckets.
const (
	listedCost = 1
	takenCost  = 10
)

// budgets keep account of what has been taken.
type budgets struct {
	caller *buckets // by caller
	pair   *pairs   // by caller, and whose the KeyPackages are
	target *buckets // by whose the KeyPackages are: users who have some

	// What callers have listed.
	lists  *buckets
	listed *pairs

	observe func(string)
	log     *slog.Logger
	drained rate.Sometimes // how often the log tells of a drain
}

func newBudgets(o Options) *budgets {
	of := func(b Budget) *buckets { return newBuckets(b.Burst*takenCost, b.PerHour*takenCost, o.BudgetClock) }
	ofPair := func(b Budget) *pairs { return newPairs(b.Burst*takenCost, b.PerHour*takenCost, o.BudgetClock) }
	return &budgets{
		caller: of(o.Budgets.Caller), pair: ofPair(o.Budgets.Pair), target: of(o.Budgets.Target),
		lists: of(o.Budgets.Caller), listed: ofPair(o.Budgets.Pair),
		observe: o.OverBudget, log: o.Log, drained: rate.Sometimes{First: 1, Interval: time.Minute},
	}
}

// charged reports whether what the caller takes of user is charged for. Without
// authentication there is nobody to be charged.
func charged(c delivery.Caller, user delivery.UserID) bool { return c.User != "" && c.User != user }

// What a client is told whose budget has nothing left.
var (
	errCallerBudget = errors.New("you have taken as many KeyPackages as you may for now")
	errTooManyNames = errors.New("you have asked for the KeyPackages of as many users as you may for now")
	errPairBudget   = errors.New("you have taken as many KeyPackages of this user as you may for now")
	errTargetBudget = errors.New("as many KeyPackages of this user were taken as may be for now")
	errListBudget   = errors.New("you have listed as many KeyPackages as you may for now")
)

// chargePairs charges the caller for all users, or for none: then the caller's own
// budget is given back too. Who repeats what was refused loses nothing by it.
func (b *budgets) chargePairs(c delivery.Caller, price map[string]int, total int, owe bool) error {
	caller := string(c.User)
	need := total
	if owe && b.caller != nil {
		need = min(total, b.caller.burst)
	}
	if b.caller != nil {
		if wait, ok := b.caller.takeIf(caller, need, total); !ok {
			b.observe(BudgetCaller)
			return &laterError{errCallerBudget, wait}
		}
	}
	user, wait, err := b.pair.takeAll(caller, price, owe)
	if err == nil {
		return nil
	}
	b.caller.charge(caller, -total)
	if user == "" {
		b.observe(BudgetCaller)
		return &laterError{err, wait}
	}
	b.observe(BudgetPair)
	return &laterError{fmt.Errorf("%w: %s", err, user), wait}
}

// targetSpent tells of a user of whom as many were taken as may be.
func (b *budgets) targetSpent(c delivery.Caller, user string) {
	b.observe(BudgetTarget)
	b.drained.Do(func() {
		b.log.Warn("as many KeyPackages of a user were taken as may be; only the last resort is handed out",
			"user", user, "last_caller", string(c.User))
	})
}

// A laterError is a refusal that ends by itself.
type laterError struct {
	error
	wait time.Duration
}

func (e *laterError) Unwrap() error { return e.error }

// retryAfter is for the header of that name: whole seconds, at least one.
func (e *laterError) retryAfter() int {
	return max(1, int(math.Ceil(min(e.wait, 24*time.Hour).Seconds())))
}

// beginList charges a listing for one KeyPackage, the caller for ten of them, and
// narrows it to what the budgets of listings have left. What cannot be taken is
// not listed.
func (b *budgets) beginList(c delivery.Caller, user delivery.UserID, o *delivery.ListOptions) error {
	if !charged(c, user) {
		return nil
	}
	caller := string(c.User)
	if wait, ok := b.lists.take(caller, takenCost); !ok {
		return b.listRefused(errListBudget, wait)
	}
	if _, wait, err := b.listed.takeAll(caller, map[string]int{string(user): listedCost}, false); err != nil {
		b.lists.charge(caller, -takenCost)
		return b.listRefused(errListBudget, wait)
	}
	if b.target.left(string(user)) < takenCost {
		b.targetSpent(c, string(user))
		o.LastResortOnly = true
	}
	left := min(b.lists.left(caller)+takenCost-listedCost, b.listed.left(caller, string(user)))
	o.Limit = min(o.Limit, 1+left/listedCost)
	return nil
}

func (b *budgets) listRefused(err error, wait time.Duration) error {
	b.observe(BudgetList)
	return &laterError{err, wait}
}

// endList charges for the rest.
func (b *budgets) endList(c delivery.Caller, user delivery.UserID, page delivery.Listing) {
	if !charged(c, user) {
		return
	}
	count := 0
	for _, d := range page.Devices {
		count += len(d.KeyPackages)
	}
	b.lists.charge(string(c.User), max(0, count*listedCost-takenCost))
	b.listed.charge(string(c.User), string(user), max(0, count-1)*listedCost)
}

// A reserveBill is what a reservation was charged before it was made.
type reserveBill struct {
	*budgets
	caller string
	named  map[delivery.UserID]int // as often as the request does
	price  map[string]int          // by user
	target map[string]bool         // who has paid for it too
}

// beginReserve charges for one KeyPackage of each device that is asked for, and
// for one of each name that nobody has: what a name costs does not say whether it
// is somebody's. It says of whom only the last resort may be handed out.
func (b *budgets) beginReserve(c delivery.Caller, req *delivery.ReserveRequest, devices map[delivery.UserID]int) (*reserveBill, error) {
	bill := &reserveBill{b, string(c.User), namedIn(c, *req), make(map[string]int), make(map[string]bool)}
	total := 0
	for user, n := range bill.named {
		bill.price[string(user)] = max(n, devices[user]) * takenCost
		total += bill.price[string(user)]
	}
	if err := b.chargePairs(c, bill.price, total, true); err != nil {
		return nil, err
	}
	for user := range bill.named {
		if devices[user] == 0 {
			continue // of a name that nobody has nothing can be taken
		}
		if _, ok := b.target.takeOrOwe(string(user), bill.price[string(user)]); ok {
			bill.target[string(user)] = true
			continue
		}
		b.targetSpent(c, string(user))
		req.LastResortOnly = append(req.LastResortOnly, user)
	}
	return bill, nil
}

// namedIn counts how often a request names each user whose KeyPackages are
// charged for.
func namedIn(c delivery.Caller, req delivery.ReserveRequest) map[delivery.UserID]int {
	named := make(map[delivery.UserID]int)
	for _, user := range req.Users {
		if charged(c, user) {
			named[user]++
		}
	}
	for _, d := range req.Devices {
		if charged(c, d.User) {
			named[d.User]++
		}
	}
	return named
}

// end gives back what was not taken. Of a user who was named without success the
// caller pays for one all the same, and the user's own budget for nothing.
func (b *reserveBill) end(r delivery.Reservation, err error) {
	if errors.Is(err, delivery.ErrOutcomeUnknown) {
		return
	}
	taken, lastResorts := make(map[string]int), make(map[string]int)
	for _, user := range r.Users {
		for _, d := range user.Devices {
			switch d.Status {
			case delivery.DeviceReserved:
				taken[string(user.User)]++
			case delivery.DeviceLastResort:
				lastResorts[string(user.User)]++
			}
		}
	}
	for user, price := range b.price {
		pair := max(b.named[delivery.UserID(user)], taken[user]+lastResorts[user]) * takenCost
		target := taken[user] * takenCost
		if err != nil || r.Repeated {
			pair, target = 0, 0
		}
		b.budgets.caller.charge(b.caller, pair-price)
		b.pair.charge(b.caller, user, pair-price)
		if b.target[user] {
			b.budgets.target.charge(user, target-price)
		}
	}
}

// chargePost charges for every KeyPackage that a Welcome names: what the caller
// has reserved was charged to its owner's budgets then, and what is no last
// resort can be taken from others.
func (b *budgets) chargePost(c delivery.Caller, owners []delivery.Owner, recipients int) error {
	pair, target := make(map[string]int), make(map[string]int)
	for _, o := range owners {
		if !charged(c, o.User) || o.Reserved {
			continue
		}
		pair[string(o.User)] += takenCost
		if !o.LastResort {
			target[string(o.User)] += takenCost
		}
	}
	return b.chargeOwners(c, pair, target, recipients*takenCost)
}

// chargeOwners charges for all or for nothing. It does not say whose KeyPackage it
// was that there were too many of: who posts knows a ref, and may not know that.
func (b *budgets) chargeOwners(c delivery.Caller, pair, target map[string]int, total int) error {
	if err := b.chargePairs(c, pair, total, false); err != nil {
		later, _ := errors.AsType[*laterError](err)
		if errors.Is(err, errPairBudget) {
			return &laterError{errPairBudget, later.wait}
		}
		return err
	}
	paid := make(map[string]int)
	for user, price := range target {
		wait, ok := b.target.take(user, price)
		if ok {
			paid[user] = price
			continue
		}
		b.targetSpent(c, user)
		for other, price := range paid {
			b.target.charge(other, -price)
		}
		for other, price := range pair {
			b.pair.charge(string(c.User), other, -price)
		}
		b.caller.charge(string(c.User), -total)
		return &laterError{errTargetBudget, wait}
	}
	return nil
}
