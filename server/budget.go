package server

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"welcomed/delivery"
	"welcomed/mls"
)

// A Budget is a number of KeyPackages that may be taken at once, and how many
// more in each hour. A burst of zero is no limit.
type Budget struct{ Burst, PerHour int }

// Budgets bound what a user may take of the KeyPackages of others, so that
// nobody can empty a shelf or learn about everybody: each that is reserved or
// named in a Welcome counts, and each ten that are listed count as one, as a
// listing of fewer does for its caller. There is no budget for one's own
// KeyPackages, nor for a service that acts for nobody: it can sign up as many
// users as it likes.
type Budgets struct {
	Caller Budget // what one user may take of all others
	Pair   Budget // what one user may take of one other
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
	caller, pair, target *buckets
	observe              func(string)
	log                  *slog.Logger
	drained              rate.Sometimes // how often the log tells of a drain
}

func newBudgets(o Options) *budgets {
	of := func(b Budget) *buckets { return newBuckets(b.Burst*takenCost, b.PerHour*takenCost, o.BudgetClock) }
	return &budgets{caller: of(o.Budgets.Caller), pair: of(o.Budgets.Pair), target: of(o.Budgets.Target),
		observe: o.OverBudget, log: o.Log, drained: rate.Sometimes{First: 1, Interval: time.Minute}}
}

// charged reports whether what the caller takes of user is charged for. Without
// authentication there is nobody to be charged.
func charged(c delivery.Caller, user delivery.UserID) bool { return c.User != "" && c.User != user }

func pairKey(c delivery.Caller, user delivery.UserID) string {
	return string(c.User) + "\x00" + string(user)
}

// What a client is told whose budget has nothing left.
var (
	errCallerBudget = errors.New("you have taken as many KeyPackages as you may for now")
	errPairBudget   = errors.New("you have taken as many KeyPackages of this user as you may for now")
	errTargetBudget = errors.New("as many KeyPackages of this user were taken as may be for now")
)

// chargeCaller takes a price from the caller's own budget.
func (b *budgets) chargeCaller(c delivery.Caller, price int) error {
	if wait, ok := b.caller.take(string(c.User), price); !ok {
		b.observe(BudgetCaller)
		return &laterError{errCallerBudget, wait}
	}
	return nil
}

// chargePair takes a price from what the caller may take of user.
func (b *budgets) chargePair(c delivery.Caller, user delivery.UserID, price int) error {
	if wait, ok := b.pair.take(pairKey(c, user), price); !ok {
		b.observe(BudgetPair)
		return &laterError{fmt.Errorf("%w: %s", errPairBudget, user), wait}
	}
	return nil
}

// chargeTarget takes a price from what all may take of user. What the last of
// them is told may be an error or less than was asked for, but it always shows
// in the metrics and in the log.
func (b *budgets) chargeTarget(c delivery.Caller, user delivery.UserID, price int) error {
	wait, ok := b.target.take(string(user), price)
	if ok {
		return nil
	}
	b.observe(BudgetTarget)
	b.drained.Do(func() {
		b.log.Warn("as many KeyPackages of a user were taken as may be; only the last resort is handed out",
			"user", string(user), "last_caller", string(c.User))
	})
	return &laterError{fmt.Errorf("%w: %s", errTargetBudget, user), wait}
}

// owe charges what an answer had beyond what was charged before it, but not to
// the caller's own budget.
func (b *budgets) owe(c delivery.Caller, user delivery.UserID, price int, lastResort bool) {
	b.pair.charge(pairKey(c, user), price)
	if !lastResort {
		b.target.charge(string(user), price)
	}
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

// beginList charges a listing for one KeyPackage and narrows it to what the
// budgets have left. The caller's own budget pays for ten: with names that nobody
// has, listings are the cheapest way to have other buckets forgotten.
func (b *budgets) beginList(c delivery.Caller, user delivery.UserID, o *delivery.ListOptions) error {
	if !charged(c, user) {
		return nil
	}
	if err := b.chargeCaller(c, takenCost); err != nil {
		return err
	}
	if err := b.chargePair(c, user, listedCost); err != nil {
		return err
	}
	o.LastResortOnly = b.chargeTarget(c, user, listedCost) != nil
	left := min(b.caller.left(string(c.User))+takenCost-listedCost, b.pair.left(pairKey(c, user)))
	o.Limit = min(o.Limit, 1+left/listedCost)
	return nil
}

// endList charges for the rest.
func (b *budgets) endList(c delivery.Caller, user delivery.UserID, o delivery.ListOptions, page delivery.Listing) {
	if !charged(c, user) {
		return
	}
	listed := 0
	for _, d := range page.Devices {
		listed += len(d.KeyPackages)
	}
	b.caller.charge(string(c.User), max(0, listed*listedCost-takenCost))
	b.owe(c, user, max(0, listed-1)*listedCost, o.LastResortOnly)
}

// beginReserve charges for one KeyPackage of each user and device that are
// named, and says of whom only the last resort may be handed out.
func (b *budgets) beginReserve(c delivery.Caller, req *delivery.ReserveRequest) error {
	named, total := namedIn(c, *req), 0
	for _, n := range named {
		total += n
	}
	if total == 0 {
		return nil
	}
	if err := b.chargeCaller(c, total*takenCost); err != nil {
		return err
	}
	if err := b.chargePairs(c, named); err != nil {
		return err // the caller's own budget pays all the same, see beginList
	}
	for user, n := range named {
		if b.chargeTarget(c, user, n*takenCost) != nil {
			req.LastResortOnly = append(req.LastResortOnly, user)
		}
	}
	return nil
}

// chargePairs charges for all who are named, or for none: a reservation is
// refused as a whole, and who repeats it has taken nothing of the others.
func (b *budgets) chargePairs(c delivery.Caller, named map[delivery.UserID]int) error {
	var paid []delivery.UserID
	for user, n := range named {
		if err := b.chargePair(c, user, n*takenCost); err != nil {
			for _, other := range paid {
				b.pair.charge(pairKey(c, other), -named[other]*takenCost)
			}
			return err
		}
		paid = append(paid, user)
	}
	return nil
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

// endReserve charges for the KeyPackages beyond one for each that was named. A
// retry, which takes nothing, is given back what it was charged.
func (b *budgets) endReserve(c delivery.Caller, req delivery.ReserveRequest, r delivery.Reservation) {
	named := namedIn(c, req)
	if r.Repeated {
		for user, n := range named {
			b.caller.charge(string(c.User), -n*takenCost)
			b.owe(c, user, -n*takenCost, slices.Contains(req.LastResortOnly, user))
		}
		return
	}
	for _, user := range r.Users {
		if !charged(c, user.User) {
			continue
		}
		taken, lastResort := 0, 0
		for _, d := range user.Devices {
			switch d.Status {
			case delivery.DeviceReserved:
				taken++
			case delivery.DeviceLastResort:
				lastResort++
			}
		}
		beyond := max(0, taken+lastResort-named[user.User])
		b.caller.charge(string(c.User), beyond*takenCost)
		b.owe(c, user.User, beyond*takenCost, taken == 0)
	}
}

// chargePost charges for every KeyPackage that a Welcome names: what the caller
// has reserved was charged to its owner's budgets then, and what is no last
// resort can be taken from others.
func (s *Server) chargePost(r *request, secrets []mls.EncryptedGroupSecrets) error {
	b, c := s.budgets, r.caller
	if c.User == "" {
		return nil
	}
	if err := b.chargeCaller(c, len(secrets)*takenCost); err != nil {
		return err
	}
	if b.pair == nil && b.target == nil {
		return nil
	}
	refs := make([]mls.KeyPackageRef, len(secrets))
	for i, secret := range secrets {
		refs[i] = secret.NewMember
	}
	owners, err := s.store.Owners(r.Context(), c, refs)
	if err != nil {
		return err
	}
	return b.chargeOwners(c, owners)
}

func (b *budgets) chargeOwners(c delivery.Caller, owners []delivery.Owner) error {
	pair, target := make(map[delivery.UserID]int), make(map[delivery.UserID]int)
	for _, o := range owners {
		if !charged(c, o.User) || o.Reserved {
			continue
		}
		pair[o.User] += takenCost
		if !o.LastResort {
			target[o.User] += takenCost
		}
	}
	for user, price := range pair {
		if err := b.chargePair(c, user, price); err != nil {
			return unnamed(err, errPairBudget)
		}
	}
	for user, price := range target {
		if err := b.chargeTarget(c, user, price); err != nil {
			return unnamed(err, errTargetBudget)
		}
	}
	return nil
}

// unnamed leaves out of a refusal whose KeyPackage it was: who posts knows a ref,
// and may not know that.
func unnamed(err, refusal error) error {
	if later, ok := errors.AsType[*laterError](err); ok {
		return &laterError{refusal, later.wait}
	}
	return err
}
