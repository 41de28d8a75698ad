package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// A Ledger is a store that remembers what it was given, so that its statistics can
// be compared with a recount.
type Ledger struct {
	delivery.Store

	mu          sync.Mutex
	keyPackages map[ref]published
	welcomes    map[welcomeID]delivery.Caller
	users       map[delivery.UserID]bool // who had a KeyPackage, also if it was given to another
}

type published struct {
	device deviceID
	item   kp
}

// NewLedger returns a ledger of a store in which nothing is yet.
func NewLedger(store delivery.Store) *Ledger {
	return &Ledger{Store: store, keyPackages: map[ref]published{}, welcomes: map[welcomeID]delivery.Caller{}, users: map[delivery.UserID]bool{}}
}

// Publish implements delivery.Store.
func (l *Ledger) Publish(ctx context.Context, caller delivery.Caller, d deviceID, items []kp) (delivery.Publications, error) {
	p, err := l.Store.Publish(ctx, caller, d, items)
	l.publishes(d, items, err)
	return p, err
}

// Replace implements delivery.Store.
func (l *Ledger) Replace(ctx context.Context, caller delivery.Caller, d deviceID, suite mls.CipherSuite, items []kp) (delivery.Publications, error) {
	p, err := l.Store.Replace(ctx, caller, d, suite, items)
	l.publishes(d, items, err)
	return p, err
}

func (l *Ledger) publishes(d deviceID, items []kp, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range items {
		if err == nil {
			l.keyPackages[k.Ref], l.users[d.User] = published{d, k}, true
		}
	}
}

// Give implements delivery.Store.
func (l *Ledger) Give(ctx context.Context, caller delivery.Caller, d deviceID, r ref) error {
	err := l.Store.Give(ctx, caller, d, r)
	l.mu.Lock()
	defer l.mu.Unlock()
	if given, known := l.keyPackages[r]; known && err == nil {
		l.keyPackages[r], l.users[d.User] = published{d, given.item}, true
	}
	return err
}

// Post implements delivery.Store.
func (l *Ledger) Post(ctx context.Context, caller delivery.Caller, p delivery.Posting) (delivery.Outcome, error) {
	o, err := l.Store.Post(ctx, caller, p)
	if err == nil && !p.DryRun {
		l.mu.Lock()
		caller.Bound = time.Time{} // the recount asks, also when the device was removed
		l.welcomes[o.ID] = caller
		l.mu.Unlock()
	}
	return o, err
}

// census lists the statistics that are counts.
func census(s delivery.Stats) map[string]int64 {
	c := map[string]int64{
		"devices ok": int64(s.DevicesOK), "devices low": int64(s.DevicesLow), "devices without others than last resorts": int64(s.DevicesEmpty + s.DevicesLastResort),
		"devices idle": int64(s.DevicesIdle), "overdue": int64(s.Overdue), "holds overdue": int64(s.HoldsOverdue), "oldest pending": 0,
	}
	if !s.OldestPending.IsZero() {
		c["oldest pending"] = s.OldestPending.Unix()
	}
	for _, state := range delivery.KeyPackageStates {
		c["KeyPackages "+state.String()] = int64(s.KeyPackages[state])
	}
	for _, state := range delivery.WelcomeStates {
		c["Welcomes "+state.String()] = int64(s.Welcomes[state])
	}
	for suite := range mls.CipherSuite(8) {
		c[shelfName(suite, false)], c[shelfName(suite, true)] = int64(s.Shelves[suite].Available), int64(s.Shelves[suite].LastResort)
	}
	return c
}

func shelfName(suite mls.CipherSuite, lastResort bool) string {
	if lastResort {
		return fmt.Sprintf("KeyPackages on shelves, last resorts of suite %d", suite)
	}
	return fmt.Sprintf("KeyPackages on shelves of suite %d", suite)
}

// Recount compares the statistics, after everything that has had its time was
// swept at now, with what is answered about each KeyPackage, Welcome and device,
// and returns the differences.
func (l *Ledger) Recount(ctx context.Context, limits delivery.Limits, now time.Time) (differences []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	stats, err := l.Stats(ctx)
	if err != nil {
		return nil, fmt.Errorf("recount: %w", err)
	}
	c := recount{Ledger: l, ctx: ctx, counted: map[string]int64{}}
	c.welcomes()
	c.keyPackages(limits, now)
	for name, n := range census(stats) {
		if _, relevant := c.counted[name]; !relevant && (strings.HasPrefix(name, "KeyPackages") || strings.HasPrefix(name, "Welcomes")) {
			c.counted[name] = 0
		}
		if got, ok := c.counted[name]; ok && got != n {
			differences = append(differences, fmt.Sprintf("statistics say %s %d, a recount %d", name, n, got))
		}
	}
	return differences, c.err
}

// A recount is what was counted so far; the first error ends it.
type recount struct {
	*Ledger
	ctx     context.Context
	counted map[string]int64
	err     error
}

// failed reports whether there is nothing to be counted: the object is forgotten,
// or the store has failed.
func (c *recount) failed(err error) bool {
	if err != nil && !errors.Is(err, delivery.ErrNotFound) && c.err == nil {
		c.err = fmt.Errorf("recount: %w", err)
	}
	return err != nil
}

func (c *recount) welcomes() {
	for id, caller := range c.Ledger.welcomes {
		o, err := c.Outcome(c.ctx, caller, id)
		if c.failed(err) {
			continue
		}
		for _, r := range o.Recipients {
			if r.Matched {
				c.counted["Welcomes "+string(r.Status)]++
			}
		}
	}
}

func (c *recount) keyPackages(limits delivery.Limits, now time.Time) {
	stock := map[deviceID]int{}
	for r, p := range c.Ledger.keyPackages {
		status, err := c.KeyPackage(c.ctx, nobody, r)
		if c.failed(err) {
			continue
		}
		c.counted["KeyPackages "+status.State.String()]++
		early := p.item.Lifetime.NotBefore > uint64(now.Unix())
		if status.State == delivery.Available && !early {
			c.counted[shelfName(status.Suite, status.LastResort)]++
		}
		if status.State == delivery.Available && !early && !p.item.LastResort {
			stock[p.device]++
		}
	}
	c.devices(limits, stock, now)
}

func (c *recount) devices(limits delivery.Limits, stock map[deviceID]int, now time.Time) {
	const none = "devices without others than last resorts"
	c.counted[none], c.counted["devices low"], c.counted["devices ok"], c.counted["devices idle"] = 0, 0, 0, 0
	for user := range c.Ledger.users {
		devices, err := c.Devices(c.ctx, delivery.Caller{User: user}, user)
		if c.failed(err) {
			continue
		}
		for _, d := range devices {
			switch n := stock[deviceID{User: user, Name: d.Device}]; {
			case !now.Before(d.SeenAt.Add(delivery.IdleApart)):
				c.counted["devices idle"]++
			case n == 0:
				c.counted[none]++
			case n < limits.LowWatermark:
				c.counted["devices low"]++
			default:
				c.counted["devices ok"]++
			}
		}
	}
}
