package store

import (
	"errors"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// What is over leaves nothing in the database: a service that makes tokens for a year
// and revokes them every day would fill it.
func TestARevokedTokenLeavesNothing(t *testing.T) {
	clock := storetest.NewClock()
	s := openAt(t, clock)
	owner := delivery.TokenOwner{User: "alice", Device: "phone"}
	add := func(id string) {
		_, err := s.AddToken(t.Context(), delivery.Token{ID: id, Owner: owner, Expires: clock.Now().Add(10000 * time.Hour)})
		must(t, err)
	}
	add("revoked")
	must(t, s.RevokeToken(t.Context(), owner, "revoked"))
	add("removed")
	must(t, s.RemoveDevice(t.Context(), delivery.Unauthenticated(), phone))
	left := 0
	must(t, s.View(t.Context(), func(x *Txn) error {
		for _, b := range []*Kind{kindTokens, kindOwners, kindTimers} {
			left += len(x.keys(b, nil, 0))
		}
		return nil
	}))
	if left > 0 {
		t.Errorf("%d rows are left", left)
	}
}

// After a restore a device could publish old KeyPackages without end, and all of
// them would be kept beside its shelf. They are no part of its shelf.
func TestWhatIsNotAfterARestoreCountsAsRetired(t *testing.T) {
	limits := delivery.DefaultLimits()
	limits.RetiredPerDevice, limits.KeyPackagesPerDevice = 3, 2
	m, clock := NewMemory(), storetest.NewClock()
	m.Change(NoteRestored)
	s, err := m.Open(clock, false, Options{Limits: limits})
	must(t, err)
	publish := func(n int, epoch string) error {
		item := unsigned(n)
		item.RestoreEpoch = epoch
		_, err := s.Publish(t.Context(), delivery.Unauthenticated(), phone, []delivery.NewKeyPackage{item})
		return err
	}
	for n := range limits.RetiredPerDevice {
		must(t, publish(n, ""))
	}
	full, ok := errors.AsType[*delivery.StockFullError](publish(9, ""))
	if !ok || full.Full != delivery.FullRetired {
		t.Errorf("one more: %v", full)
	}
	must(t, publish(10, s.restore.Epoch))
	must(t, publish(11, s.restore.Epoch))
}

// One device with tens of thousands of KeyPackages made one transaction of any size.
func TestASweepOfOneDeviceIsInParts(t *testing.T) {
	clock := storetest.NewClock()
	s, err := NewMemory().Open(clock, true, Options{Limits: delivery.DefaultLimits()})
	must(t, err)
	for i := range 100 {
		var items []delivery.NewKeyPackage
		for j := range 100 {
			items = append(items, unsigned(100*i+j))
		}
		must(t, s.run(t.Context(), func(x *Txn) error {
			_, err := x.publish(publication{id: phone, items: items, replace: true})
			return err
		}))
	}
	clock.Advance(100 * 24 * time.Hour)
	var r delivery.SweepResult
	more, _, err := s.sweepBatch(t.Context(), sweepers[0], 1, new(int), &r)
	must(t, err)
	if !more || r.Expired > sweepWrites || r.Expired == 0 {
		t.Errorf("one transaction ended %d KeyPackages", r.Expired)
	}
	all, err := s.Sweep(t.Context())
	must(t, err)
	if all.Expired+r.Expired != 9900 || all.Retired+r.Retired != 100 {
		t.Errorf("%d expired, %d retired", all.Expired+r.Expired, all.Retired+r.Retired)
	}
	forgotten := 0
	for range 2 { // those that were on the shelf end in the first
		clock.Advance(501 * 24 * time.Hour)
		all, err = s.Sweep(t.Context())
		must(t, err)
		forgotten += all.ForgottenKeyPackage
	}
	if forgotten != 10_000 {
		t.Errorf("%d forgotten", forgotten)
	}
}

// A KeyPackage that had expired was matchable again after a restore.
func TestARestoreDoesNotReviveWhatHasExpired(t *testing.T) {
	clock, m := storetest.NewClock(), NewMemory()
	opts := Options{Limits: delivery.DefaultLimits()}
	s, err := m.Open(clock, true, opts)
	must(t, err)
	item := publishOne(t, s, phone)
	must(t, s.Close())
	m.Change(NoteRestored)
	clock.Advance(200 * 24 * time.Hour)
	s, err = m.Open(clock, true, opts)
	must(t, err)
	w, err := mls.ParseWelcome(mlstest.Welcome(item.Suite, item.Ref))
	must(t, err)
	if _, err := s.Post(t.Context(), delivery.Unauthenticated(), delivery.Posting{Welcome: w}); !errors.Is(err, delivery.ErrNoMatchingKeyPackage) {
		t.Errorf("a Welcome for it: %v", err)
	}
	_, err = s.Sweep(t.Context())
	must(t, err)
	status, err := s.KeyPackage(t.Context(), delivery.Unauthenticated(), item.Ref)
	must(t, err)
	if status.State != delivery.Expired {
		t.Errorf("it is %v", status.State)
	}
}

// A device that was removed leaves no hint, and no entry that would make one due.
func TestARemovedDeviceLeavesNoHint(t *testing.T) {
	clock := storetest.NewClock()
	s := openAt(t, clock)
	s.KeepHints(delivery.HintWebhook, true)
	item := publishOne(t, s, phone)
	_, err := s.Post(t.Context(), ann, delivery.Posting{Welcome: parsedWelcome(t, item.Ref)})
	must(t, err)
	left := func() (n int) {
		must(t, s.View(t.Context(), func(x *Txn) error {
			n = len(x.keys(kindTimers, []byte{timerWebhook}, 0))
			for key := range x.scan(kindDevices, nil, nil) {
				if key[numberBytes] == rowHint {
					n++
				}
			}
			return nil
		}))
		return n
	}
	if n := left(); n != 4 {
		t.Fatalf("%d rows of hints of two kinds", n)
	}
	must(t, s.RemoveDevice(t.Context(), delivery.Unauthenticated(), phone))
	_, err = s.Sweep(t.Context())
	must(t, err)
	if n := left(); n > 0 || totals(s).hints[0] != 0 {
		t.Errorf("%d rows of hints are left, %d are counted", n, totals(s).hints[0])
	}
}
