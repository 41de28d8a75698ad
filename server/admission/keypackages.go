package admission

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"welcomed/delivery"
)

// What a KeyPackage costs, in tokens of the buckets.
const (
	listedCost = 1
	takenCost  = 10
)

// KeyPackages has the budgets for the KeyPackages that callers take of others.
type KeyPackages struct {
	caller *buckets // by caller
	pair   *pairs   // by caller, and whose the KeyPackages are
	target *buckets // by whose the KeyPackages are: users who have some

	// What callers have listed.
	lists  *buckets
	listed *pairs

	exceeded func(string)
	log      *slog.Logger
	drained  rate.Sometimes // how often the log tells of a drain
}

// NewKeyPackages returns budgets of which nothing has been taken.
func NewKeyPackages(o BudgetOptions) *KeyPackages {
	of := func(b Budget) *buckets { return newBuckets(b.Burst*takenCost, b.PerHour*takenCost, o.Clock) }
	ofPair := func(b Budget) *pairs { return newPairs(b.Burst*takenCost, b.PerHour*takenCost, o.Clock) }
	return &KeyPackages{
		caller: of(o.KeyPackages.Caller), pair: ofPair(o.KeyPackages.Pair), target: of(o.KeyPackages.Target),
		lists: of(o.KeyPackages.Caller), listed: ofPair(o.KeyPackages.Pair),
		exceeded: o.Exceeded, log: o.Log, drained: rate.Sometimes{First: 1, Interval: time.Minute},
	}
}

// charged reports whether the caller is charged for KeyPackages of user. Without authentication
// nobody can be charged.
func charged(c delivery.Caller, user delivery.UserID) bool { return c.User != "" && c.User != user }

// chargePairs charges the caller for all users, or for none. If it charges for none, it gives
// back what it took from the caller's own budget, so that repeating a refused request costs
// nothing.
func (b *KeyPackages) chargePairs(c delivery.Caller, price map[string]int, total int, owe bool) error {
	caller := string(c.User)
	need := total
	if owe && b.caller != nil {
		need = min(total, b.caller.burst)
	}
	if b.caller != nil {
		if wait, ok := b.caller.takeIf(caller, need, total); !ok {
			b.exceeded(BudgetCaller)
			return &RetryError{ErrCallerBudget, wait}
		}
	}
	user, wait, err := b.pair.takeAll(caller, price, owe)
	if err == nil {
		return nil
	}
	b.caller.charge(caller, -total)
	if user == "" {
		b.exceeded(BudgetCaller)
		return &RetryError{err, wait}
	}
	b.exceeded(BudgetPair)
	return &RetryError{fmt.Errorf("%w: %s", err, user), wait}
}

// targetSpent reports that the budget of a user, of which all others take together, has nothing
// left.
func (b *KeyPackages) targetSpent(c delivery.Caller, user string) {
	b.exceeded(BudgetTarget)
	b.drained.Do(func() {
		b.log.Warn("others have taken as many KeyPackages of a user as their budget allows; for now they get only the last resort",
			"user", user, "last_caller", string(c.User))
	})
}

// ChargeListing charges a list for one KeyPackage of the user, and the caller for ten. It
// narrows the list to what the budgets of lists have left.
func (b *KeyPackages) ChargeListing(c delivery.Caller, user delivery.UserID, o *delivery.ListOptions) (ListingCharge, error) {
	if !charged(c, user) {
		return ListingCharge{}, nil
	}
	caller := string(c.User)
	if wait, ok := b.lists.take(caller, takenCost); !ok {
		return ListingCharge{}, b.listRefused(ErrListBudget, wait)
	}
	if _, wait, err := b.listed.takeAll(caller, map[string]int{string(user): listedCost}, false); err != nil {
		b.lists.charge(caller, -takenCost)
		return ListingCharge{}, b.listRefused(ErrListBudget, wait)
	}
	if b.target.left(string(user)) < takenCost {
		b.targetSpent(c, string(user))
		o.LastResortOnly = true
	}
	left := min(b.lists.left(caller)+takenCost-listedCost, b.listed.left(caller, string(user)))
	o.Limit = min(o.Limit, 1+left/listedCost)
	return ListingCharge{b, caller, string(user)}, nil
}

func (b *KeyPackages) listRefused(err error, wait time.Duration) error {
	b.exceeded(BudgetList)
	return &RetryError{err, wait}
}

// A ListingCharge is what a list was charged before it was made. The zero ListingCharge charges
// nobody.
type ListingCharge struct {
	of           *KeyPackages
	caller, user string
}

// Settle charges for the rest of what was listed.
func (l ListingCharge) Settle(page delivery.Listing) {
	if l.of == nil {
		return
	}
	count := 0
	for _, d := range page.Devices {
		count += len(d.KeyPackages)
	}
	l.of.lists.charge(l.caller, max(0, count*listedCost-takenCost))
	l.of.listed.charge(l.caller, l.user, max(0, count-1)*listedCost)
}

// A ReserveCharge is what a reservation was charged before it was made.
type ReserveCharge struct {
	of     *KeyPackages
	caller string
	named  map[delivery.UserID]int // as often as the request does
	price  map[string]int          // by user
	target map[string]bool         // who has paid for it too
}

// ChargeReserve charges for one KeyPackage of each device that is asked for, and for one of
// each user id that nobody has. So the cost of an id does not say whether anybody has it. It
// notes in the request the users of whom only last resorts may be handed out.
func (b *KeyPackages) ChargeReserve(c delivery.Caller, req *delivery.ReserveRequest, devices map[delivery.UserID]int) (*ReserveCharge, error) {
	charge := &ReserveCharge{b, string(c.User), namedIn(c, *req), make(map[string]int), make(map[string]bool)}
	total := 0
	for user, n := range charge.named {
		charge.price[string(user)] = max(n, devices[user]) * takenCost
		total += charge.price[string(user)]
	}
	if err := b.chargePairs(c, charge.price, total, true); err != nil {
		return nil, err
	}
	for user := range charge.named {
		if devices[user] == 0 {
			continue // of a name that nobody has nothing can be taken
		}
		if _, ok := b.target.takeOrOwe(string(user), charge.price[string(user)]); ok {
			charge.target[string(user)] = true
			continue
		}
		b.targetSpent(c, string(user))
		req.LastResortOnly = append(req.LastResortOnly, user)
	}
	return charge, nil
}

// namedIn counts how often a request names each user whose KeyPackages cost something.
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

// Settle gives back what was charged and not taken. For a user who was named without success,
// the caller still pays for one KeyPackage, and the user's own budget pays nothing.
func (c *ReserveCharge) Settle(r delivery.Reservation, err error) {
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
	for user, price := range c.price {
		pair := max(c.named[delivery.UserID(user)], taken[user]+lastResorts[user]) * takenCost
		target := taken[user] * takenCost
		if err != nil || r.Repeated {
			pair, target = 0, 0
		}
		c.of.caller.charge(c.caller, pair-price)
		c.of.pair.charge(c.caller, user, pair-price)
		if c.target[user] {
			c.of.target.charge(user, target-price)
		}
	}
}

// ChargePost charges for every KeyPackage that a Welcome names. For one that the caller has
// reserved, the budgets pair and target pay nothing, because they paid at the reservation. For a
// last resort, target pays nothing, because others can still take it.
func (b *KeyPackages) ChargePost(c delivery.Caller, owners []delivery.Owner, recipients int) error {
	pair, target := make(map[string]int), make(map[string]int)
	for _, o := range owners {
		if !charged(c, o.Device.User) || o.Reserved {
			continue
		}
		pair[string(o.Device.User)] += takenCost
		if !o.LastResort {
			target[string(o.Device.User)] += takenCost
		}
	}
	return b.chargeOwners(c, pair, target, recipients*takenCost)
}

// chargeOwners charges for all owners or for none. A refusal does not name the owner of whom
// too many were taken: the poster knows a ref, but may not learn whose it is.
func (b *KeyPackages) chargeOwners(c delivery.Caller, pair, target map[string]int, total int) error {
	if err := b.chargePairs(c, pair, total, false); err != nil {
		later, _ := errors.AsType[*RetryError](err)
		if errors.Is(err, ErrPairBudget) {
			return &RetryError{ErrPairBudget, later.Wait}
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
		return &RetryError{ErrTargetBudget, wait}
	}
	return nil
}
