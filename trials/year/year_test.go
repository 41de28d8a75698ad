package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
)

func init() { storetest.DirectoriesInMemory() }

// smallYear is 40 days of 25 users.
func smallYear(t *testing.T, callers int) *year {
	c := config{users: 25, scale: 1, days: 40, step: 2 * time.Hour, seed: 7, callers: callers, json: true, ratio: 1000, compacted: 1000}
	y, err := newYear(c, t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(y.close)
	return y
}

func TestStoreAndLedgerAgree(t *testing.T) {
	y := smallYear(t, 16)
	if err := y.live(t.Context(), y.days); err != nil {
		t.Fatal(err)
	}
	if err := y.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, event := range []string{"publish", "reserve", "list", "post", "release", "cancel", "claim", "delivery", "acknowledge", "inventory"} {
		if y.counts[event] == 0 {
			t.Errorf("nobody did %s", event)
		}
	}
}

func TestSameSeedIsTheSameYear(t *testing.T) {
	counts := func() map[string]int {
		y := smallYear(t, 1)
		if err := y.live(t.Context(), y.days); err != nil {
			t.Fatal(err)
		}
		return y.counts
	}
	if first, second := counts(), counts(); !maps.Equal(first, second) {
		t.Fatalf("%v, and then %v", first, second)
	}
}

// TestDisagreementIsFound tells the ledger what has not happened. A simulation
// that would not notice proves nothing.
func TestDisagreementIsFound(t *testing.T) {
	for name, tamper := range map[string]func(*year) bool{
		"a Welcome is acknowledged in the ledger only": func(y *year) bool {
			return y.anyRecipient(delivery.Pending, func(m *recipient) { m.delivered(y.limits, y.clock.Now()); m.rec.State = delivery.Acknowledged })
		},
		"an acknowledgement is lost": func(y *year) bool {
			return y.anyRecipient(delivery.Acknowledged, func(m *recipient) { m.rec.State = delivery.Delivered })
		},
		"a Welcome that waits is unknown to the ledger": func(y *year) bool {
			return y.anyRecipient(delivery.Pending, func(m *recipient) {
				y.welcomes = slices.DeleteFunc(y.welcomes, func(w *welcome) bool { return w == m.welcome })
			})
		},
		"a Welcome has other bytes": func(y *year) bool {
			return y.anyRecipient(delivery.Pending, func(m *recipient) { m.welcome.groupInfo[0]++ })
		},
		"a KeyPackage is reserved in the ledger only": func(y *year) bool {
			return y.anyKeyPackage(func(k *keyPackage) { k.rec.reserve(y.limits, "nobody", y.clock.Now()) })
		},
		"a KeyPackage is on the shelf in the ledger only": func(y *year) bool {
			return y.anyKeyPackage(func(k *keyPackage) {
				more := *k
				k.owner.keyPackages = append(k.owner.keyPackages, &more)
			})
		},
		"a tombstone is put away too early": func(y *year) bool {
			for _, d := range y.byDevice {
				if len(d.tombstones) > 0 {
					d.tombstones = d.tombstones[1:]
					return true
				}
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y := smallYear(t, 16)
			if err := y.live(t.Context(), 20); err != nil {
				t.Fatal(err)
			}
			if !tamper(y) {
				t.Fatal("nothing to tell")
			}
			if err := y.liveAndCompare(t.Context()); !errors.Is(err, errLedger) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

// liveAndCompare lives on until there is something to say, at most ten days.
func (y *year) liveAndCompare(ctx context.Context) error {
	if err := y.live(ctx, 30); err != nil {
		return err
	}
	return y.compareAll(ctx, y.clock.Now())
}

func (y *year) anyRecipient(s delivery.WelcomeState, do func(*recipient)) bool {
	for _, w := range y.welcomes {
		for _, m := range w.recipients {
			if m.rec.State == s {
				do(m)
				return true
			}
		}
	}
	return false
}

func (y *year) anyKeyPackage(do func(*keyPackage)) bool {
	for _, u := range y.users {
		for _, d := range u.devices {
			if shelf, _ := d.shelf(); len(shelf) > 0 && !d.removed {
				do(shelf[len(shelf)-1])
				return true
			}
		}
	}
	return false
}
