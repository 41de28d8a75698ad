package storetest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// A Sample describes the contents that a SampleMaker has put into a store: what can be
// asked about them, and what the store answered when they were made.
type Sample struct {
	Days     int // since the clock of the tests began
	Refs     []string
	Welcomes []string
	Answers  []string
}

// A SampleMaker fills a store with a Sample: some KeyPackages and Welcomes for each
// state that one can be in.
type SampleMaker struct {
	T     *testing.T
	Store delivery.Store
	Clock *Clock
	Sample
}

// MakeSample fills an empty store. The Sample has no answers yet: Ask returns them.
func MakeSample(t *testing.T, s delivery.Store, clock *Clock) Sample {
	v := &SampleMaker{T: t, Store: s, Clock: clock}
	v.Make()
	return v.Sample
}

// SampleDevices are the devices that publish at the beginning. The last of them is
// removed.
var SampleDevices = []delivery.DeviceID{{User: "alice", Name: "phone"}, {User: "alice", Name: "tablet"}, {User: "bob", Name: "phone"}, {User: "carol", Name: "laptop"}, {User: "dave", Name: "gone"}}

// LastDevice is the device that publishes at the end.
var LastDevice = delivery.DeviceID{User: "erin", Name: "phone"}

// Publish publishes a KeyPackage of a new signer, and a minute passes.
func (v *SampleMaker) Publish(id delivery.DeviceID, options ...mlstest.Option) delivery.NewKeyPackage {
	v.T.Helper()
	k, err := mls.ParseKeyPackage(mlstest.NewSigner(mls.CipherSuite(1+len(v.Refs)%2), string(id.User)).KeyPackage(options...))
	v.must(err)
	item := delivery.Publication(k)
	inv, err := v.Store.Inventory(v.T.Context(), nobody, id)
	v.must(err)
	item.RestoreEpoch = inv.RestoreEpoch
	_, err = v.Store.Publish(v.T.Context(), delivery.Caller{User: id.User, Device: id.Name}, id, []delivery.NewKeyPackage{item})
	v.must(err)
	v.Refs = append(v.Refs, item.Ref.String())
	v.Clock.Advance(time.Minute)
	return item
}

// Post posts a Welcome of ann for these KeyPackages, and a minute passes.
func (v *SampleMaker) Post(hold bool, items ...delivery.NewKeyPackage) delivery.WelcomeID {
	v.T.Helper()
	var refs []mls.KeyPackageRef
	for _, item := range items {
		refs = append(refs, item.Ref)
	}
	w, err := mls.ParseWelcome(mlstest.Welcome(items[0].Suite, refs...))
	v.must(err)
	o, err := v.Store.Post(v.T.Context(), delivery.Caller{User: "ann"}, delivery.Posting{Welcome: w, Hold: hold, RatchetTree: bytes.Repeat([]byte{7}, 5000), Context: []byte("here")})
	v.must(err)
	v.Welcomes = append(v.Welcomes, o.ID.String())
	v.Clock.Advance(time.Minute)
	return o.ID
}

// Make fills the store. At its end the Clock stands 25 days after its start.
func (v *SampleMaker) Make() {
	ctx, ann := v.T.Context(), delivery.Caller{User: "ann"}
	for _, id := range SampleDevices {
		self := delivery.Caller{User: id.User, Device: id.Name}
		var items []delivery.NewKeyPackage
		for range 14 {
			items = append(items, v.Publish(id))
		}
		last := v.Publish(id, mlstest.LastResort())
		v.must(v.Store.Withdraw(ctx, self, id, items[0].Ref))
		acked := v.Post(false, items[1], last)
		v.Claim(id)
		v.must(v.Store.Acknowledge(ctx, self, id, acked, items[1].Ref))
		_, err := v.Store.Reject(ctx, self, id, v.Post(false, items[2]), items[2].Ref, delivery.ReasonOther, "why")
		if !errors.Is(err, delivery.ErrNotDelivered) {
			v.T.Fatal(err)
		}
		v.Claim(id)
		v.Post(true, items[3])
		cancelled := v.Post(true, items[4], items[6])
		_, err = v.Store.Cancel(ctx, ann, cancelled)
		v.must(err)
		v.Post(false, items[5])
		_, err = v.Store.Reserve(ctx, ann, delivery.ReserveRequest{Devices: []delivery.DeviceID{id}, IdempotencyKey: id.String()})
		v.must(err)
	}
	v.must(v.Store.RemoveDevice(ctx, nobody, SampleDevices[4]))
	for _, id := range []string{"one", "two"} {
		_, err := v.Store.AddToken(ctx, delivery.Token{ID: id, Owner: delivery.TokenOwner{User: "alice", Device: "phone"}, Expires: v.Clock.Now().Add(9000 * time.Hour)})
		v.must(err)
	}
	v.Clock.Advance(20 * 24 * time.Hour)
	_, err := v.Store.Sweep(ctx)
	v.must(err)
	v.Publish(LastDevice)
	v.Post(false, v.Publish(LastDevice))
	v.Days = 25
	v.Clock.Advance(NewClock().Now().AddDate(0, 0, v.Days).Sub(v.Clock.Now()))
}

// Claim claims one Welcome, and a minute passes.
func (v *SampleMaker) Claim(id delivery.DeviceID) {
	_, err := v.Store.Claim(v.T.Context(), delivery.Caller{User: id.User, Device: id.Name}, id, delivery.ClaimOptions{Max: 1})
	v.must(err)
	v.Clock.Advance(time.Minute)
}

func (v *SampleMaker) must(err error) {
	v.T.Helper()
	if err != nil {
		v.T.Fatal(err)
	}
}

// Ask asks everything that can be asked. The questions that change something come last.
func (v *Sample) Ask(t *testing.T, s delivery.Store) (answers []string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	say := func(format string, args ...any) { answers = append(answers, fmt.Sprintf(format, args...)) }
	sum := func(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
	at := func(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }
	listed := func(k *delivery.ListedKeyPackage) string {
		return fmt.Sprint(k.Ref, k.Suite, k.LastResort, k.Lifetime, at(k.ExpiresAt), sum(k.Bytes))
	}
	for _, text := range v.Refs {
		ref, err := mls.ParseKeyPackageRef(text)
		must(err)
		k, err := s.KeyPackage(ctx, nobody, ref)
		say("KeyPackage %s: %v %v %v %v %v %s %s %s %s %v", text, err, k.Device, k.Suite, k.LastResort, k.State, at(k.PublishedAt), at(k.ReservedAt), at(k.HandedOutAt), at(k.EndedAt), k.Welcome != nil)
	}
	for _, text := range v.Welcomes {
		id, err := delivery.ParseWelcomeID(text)
		must(err)
		o, err := s.Outcome(ctx, nobody, id)
		say("Outcome %s: %v %s %v %v", text, err, at(o.PostedAt), o.Hold, o.Cancelled)
		for _, r := range o.Recipients {
			say("  %v %v %v %v %s %s %s", r.Ref, r.Status, r.Matched, r.Device, at(r.ReleasedAt), at(r.DeliveredAt), at(r.EndedAt))
		}
	}
	stats, err := s.Stats(ctx)
	must(err)
	if stats.Welcomes[delivery.Damaged] == 0 {
		delete(stats.Welcomes, delivery.Damaged) // which the kept answers do not have
	}
	say("Stats %v %v %d %d %d %d %d %s", stats.KeyPackages, stats.Welcomes, stats.DevicesOK, stats.DevicesLow, stats.DevicesEmpty, stats.Overdue, stats.HoldsOverdue, at(stats.OldestPending))
	tokens, err := s.Tokens(ctx, delivery.TokenOwner{})
	say("Tokens %v %v", tokens, err)
	for _, id := range append(SampleDevices, LastDevice) {
		infos, err := s.Devices(ctx, nobody, id.User)
		say("Devices %v %v", devicesAsKept(infos), err)
		inv, err := s.Inventory(ctx, nobody, id)
		say("Inventory %v %v %v %v", countsAsKept(inv.Counts), inv.Refs, err, len(inv.LastResort))
		l, err := s.List(ctx, nobody, id.User, delivery.ListOptions{})
		must(err)
		for _, d := range l.Devices {
			for _, k := range d.KeyPackages {
				say("List %s %s", d.Device, listed(&k))
			}
		}
		for _, key := range []string{id.String(), ""} {
			r, err := s.Reserve(ctx, delivery.Caller{User: "ann"}, delivery.ReserveRequest{Devices: []delivery.DeviceID{id}, IdempotencyKey: key})
			must(err)
			if k := r.Users[0].Devices[0].KeyPackage; k != nil {
				say("Reserve %v %v %s", r.Users[0].Status, r.Repeated, listed(k))
			}
		}
		for range 3 {
			c, err := s.Claim(ctx, delivery.Caller{User: id.User, Device: id.Name}, id, delivery.ClaimOptions{Max: 2})
			must(err)
			for _, d := range c.Deliveries {
				tree, err := s.RatchetTree(ctx, nobody, id, d.ID)
				must(err)
				say("Claim %v %v %v %s %s %s", d.ID, d.Ref, d.Redelivered, sum(d.Welcome), d.Context, sum(tree))
			}
		}
	}
	return answers
}

// countsKept are the fields of a delivery.SuiteCounts that the kept answers have.
type countsKept struct {
	Suite                                            mls.CipherSuite
	Available, Reserved, Retired, Matched, Delivered int
}

func countsAsKept(counts []delivery.SuiteCounts) (kept []countsKept) {
	for _, c := range counts {
		kept = append(kept, countsKept{c.Suite, c.Available + c.NotYetValid, c.Reserved, c.Retired, c.Matched, c.Delivered})
	}
	return kept
}

// A deviceKept has the fields of a delivery.DeviceInfo that the kept answers have.
type deviceKept struct {
	Device  string
	SeenAt  time.Time
	Counts  []countsKept
	Pending int
}

func devicesAsKept(infos []delivery.DeviceInfo) (kept []deviceKept) {
	for _, d := range infos {
		kept = append(kept, deviceKept{d.Device, d.SeenAt, countsAsKept(d.Counts), d.Pending})
	}
	return kept
}

// SameAnswers compares the lines that Ask has returned with those that it should return.
func SameAnswers(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d answers, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("answer %d:\n got %s\nwant %s", i, got[i], want[i])
		}
	}
}
