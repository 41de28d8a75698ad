package bolt_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

var makeFormat = flag.String("make-format", "", "keep a file of this format, and what is answered of it, in this directory")

// A village is what is asked about a file, and what was answered when it was made.
type village struct {
	Days     int // since the clock of the tests began
	Refs     []string
	Welcomes []string
	Answers  []string
}

// A villager makes a village: everything that can become of a KeyPackage and of a
// Welcome happens to some.
type villager struct {
	t     *testing.T
	s     *bolt.Store
	clock *storetest.Clock
	village
}

var villageDevices = []delivery.DeviceID{{User: "alice", Name: "phone"}, {User: "alice", Name: "tablet"}, {User: "bob", Name: "phone"}, {User: "carol", Name: "laptop"}, {User: "dave", Name: "gone"}}

var newcomer = delivery.DeviceID{User: "erin", Name: "phone"}

func (v *villager) publish(id delivery.DeviceID, options ...mlstest.Option) delivery.NewKeyPackage {
	v.t.Helper()
	item := newKeyPackage(v.t, mlstest.NewSigner(mls.CipherSuite(1+len(v.Refs)%2), string(id.User)), options...)
	inv, err := v.s.Inventory(v.t.Context(), delivery.Unauthenticated(), id)
	must(v.t, err)
	item.RestoreEpoch = inv.RestoreEpoch
	_, err = v.s.Publish(v.t.Context(), delivery.Caller{User: id.User, Device: id.Name}, id, []delivery.NewKeyPackage{item})
	must(v.t, err)
	v.Refs = append(v.Refs, item.Ref.String())
	v.clock.Advance(time.Minute)
	return item
}

func (v *villager) post(hold bool, items ...delivery.NewKeyPackage) delivery.WelcomeID {
	v.t.Helper()
	var refs []mls.KeyPackageRef
	for _, item := range items {
		refs = append(refs, item.Ref)
	}
	w, err := mls.ParseWelcome(mlstest.Welcome(items[0].Suite, refs...))
	must(v.t, err)
	o, err := v.s.Post(v.t.Context(), delivery.Caller{User: "ann"}, delivery.Posting{Welcome: w, Hold: hold, RatchetTree: bytes.Repeat([]byte{7}, 5000), Context: []byte("here")})
	must(v.t, err)
	v.Welcomes = append(v.Welcomes, o.ID.String())
	v.clock.Advance(time.Minute)
	return o.ID
}

func (v *villager) live() {
	ctx, ann := v.t.Context(), delivery.Caller{User: "ann"}
	for _, id := range villageDevices {
		self := delivery.Caller{User: id.User, Device: id.Name}
		var items []delivery.NewKeyPackage
		for range 14 {
			items = append(items, v.publish(id))
		}
		last := v.publish(id, mlstest.LastResort())
		must(v.t, v.s.Withdraw(ctx, self, id, items[0].Ref))
		acked := v.post(false, items[1], last)
		v.claim(id)
		must(v.t, v.s.Acknowledge(ctx, self, id, acked, items[1].Ref))
		_, err := v.s.Reject(ctx, self, id, v.post(false, items[2]), items[2].Ref, delivery.ReasonOther, "why")
		if !errors.Is(err, delivery.ErrNotDelivered) {
			v.t.Fatal(err)
		}
		v.claim(id)
		v.post(true, items[3])
		cancelled := v.post(true, items[4], items[6])
		_, err = v.s.Cancel(ctx, ann, cancelled)
		must(v.t, err)
		v.post(false, items[5])
		_, err = v.s.Reserve(ctx, ann, delivery.ReserveRequest{Devices: []delivery.DeviceID{id}, IdempotencyKey: id.String()})
		must(v.t, err)
	}
	must(v.t, v.s.RemoveDevice(ctx, delivery.Unauthenticated(), villageDevices[4]))
	for _, id := range []string{"one", "two"} {
		_, err := v.s.AddToken(ctx, delivery.Token{ID: id, Owner: delivery.TokenOwner{User: "alice", Device: "phone"}, Expires: v.clock.Now().Add(9000 * time.Hour)})
		must(v.t, err)
	}
	v.clock.Advance(20 * 24 * time.Hour)
	_, err := v.s.Sweep(ctx)
	must(v.t, err)
	v.publish(newcomer)
	v.post(false, v.publish(newcomer))
	v.Days = 25
	v.clock.Advance(storetest.NewClock().Now().AddDate(0, 0, v.Days).Sub(v.clock.Now()))
}

func (v *villager) claim(id delivery.DeviceID) {
	_, err := v.s.Claim(v.t.Context(), delivery.Caller{User: id.User, Device: id.Name}, id, delivery.ClaimOptions{Max: 1})
	must(v.t, err)
	v.clock.Advance(time.Minute)
}

// ask asks everything that can be asked, what changes something last.
func (v *village) ask(t *testing.T, s *bolt.Store) (answers []string) {
	t.Helper()
	ctx, nobody := t.Context(), delivery.Unauthenticated()
	say := func(format string, args ...any) { answers = append(answers, fmt.Sprintf(format, args...)) }
	sum := func(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
	at := func(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }
	listed := func(k *delivery.ListedKeyPackage) string {
		return fmt.Sprint(k.Ref, k.Suite, k.LastResort, k.Lifetime, at(k.ExpiresAt), sum(k.Bytes))
	}
	for _, text := range v.Refs {
		ref, err := mls.ParseKeyPackageRef(text)
		must(t, err)
		k, err := s.KeyPackage(ctx, nobody, ref)
		say("KeyPackage %s: %v %v %v %v %v %s %s %s %s %v", text, err, k.Device, k.Suite, k.LastResort, k.State, at(k.PublishedAt), at(k.ReservedAt), at(k.HandedOutAt), at(k.EndedAt), k.Welcome != nil)
	}
	for _, text := range v.Welcomes {
		id, err := delivery.ParseWelcomeID(text)
		must(t, err)
		o, err := s.Outcome(ctx, nobody, id)
		say("Outcome %s: %v %s %v %v", text, err, at(o.PostedAt), o.Hold, o.Cancelled)
		for _, r := range o.Recipients {
			say("  %v %v %v %v %s %s %s", r.Ref, r.Status, r.Matched, r.Device, at(r.ReleasedAt), at(r.DeliveredAt), at(r.EndedAt))
		}
	}
	stats, err := s.Stats(ctx)
	must(t, err)
	if stats.Welcomes[delivery.Damaged] == 0 {
		delete(stats.Welcomes, delivery.Damaged) // which the kept answers do not have
	}
	say("Stats %v %v %d %d %d %d %d %s", stats.KeyPackages, stats.Welcomes, stats.DevicesOK, stats.DevicesLow, stats.DevicesEmpty, stats.Overdue, stats.HoldsOverdue, at(stats.OldestPending))
	tokens, err := s.Tokens(ctx, delivery.TokenOwner{})
	say("Tokens %v %v", tokens, err)
	for _, id := range append(villageDevices, newcomer) {
		infos, err := s.Devices(ctx, nobody, id.User)
		say("Devices %v %v", devicesAsKept(infos), err)
		inv, err := s.Inventory(ctx, nobody, id)
		say("Inventory %v %v %v %v", countsAsKept(inv.Counts), inv.Refs, err, len(inv.LastResort))
		l, err := s.List(ctx, nobody, id.User, delivery.ListOptions{})
		must(t, err)
		for _, d := range l.Devices {
			for _, k := range d.KeyPackages {
				say("List %s %s", d.Device, listed(&k))
			}
		}
		for _, key := range []string{id.String(), ""} {
			r, err := s.Reserve(ctx, delivery.Caller{User: "ann"}, delivery.ReserveRequest{Devices: []delivery.DeviceID{id}, IdempotencyKey: key})
			must(t, err)
			if k := r.Users[0].Devices[0].KeyPackage; k != nil {
				say("Reserve %v %v %s", r.Users[0].Status, r.Repeated, listed(k))
			}
		}
		for range 3 {
			c, err := s.Claim(ctx, delivery.Caller{User: id.User, Device: id.Name}, id, delivery.ClaimOptions{Max: 2})
			must(t, err)
			for _, d := range c.Deliveries {
				tree, err := s.RatchetTree(ctx, nobody, id, d.ID)
				must(t, err)
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

func (v *village) open(t *testing.T, path string) *bolt.Store {
	clock := storetest.NewClock()
	clock.Advance(storetest.NewClock().Now().AddDate(0, 0, v.Days).Sub(clock.Now()))
	return open(t, path, bolt.Options{Clock: clock, LogSize: 8 << 10})
}

// What a file answers after a crash, it answers when it was not closed. With
// -make-format, both are kept: see testdata/README.md.
func TestAVillageIsTheSameAfterACrash(t *testing.T) {
	v := &villager{t: t, clock: storetest.NewClock()}
	path := filepath.Join(t.TempDir(), "welcomed.db")
	v.s = open(t, path, bolt.Options{Clock: v.clock, LogSize: 8 << 10})
	v.live()
	file, err := os.ReadFile(path)
	must(t, err)
	v.Answers = v.ask(t, v.s)
	crashed := filepath.Join(t.TempDir(), "welcomed.db")
	must(t, os.WriteFile(crashed, file, 0o600))
	if *makeFormat != "" {
		keepVillage(t, *makeFormat, file, v.village)
	}
	requireSame(t, v.ask(t, v.open(t, crashed)), v.Answers)
}

// A built village is a file of this format, closed, which many tests damage.
var built struct {
	sync.Once
	file []byte
	village
}

// newVillage puts it into a directory of its own.
func newVillage(t *testing.T) (path string, v village) {
	t.Helper()
	built.Do(func() {
		v := &villager{t: t, clock: storetest.NewClock()}
		path := filepath.Join(t.TempDir(), "welcomed.db")
		v.s = open(t, path, bolt.Options{Clock: v.clock, LogSize: 8 << 10})
		v.live()
		must(t, v.s.Close())
		file, err := os.ReadFile(path)
		must(t, err)
		answered := filepath.Join(t.TempDir(), "welcomed.db")
		must(t, os.WriteFile(answered, file, 0o600))
		v.Answers = v.ask(t, v.open(t, answered))
		built.file, built.village = file, v.village
	})
	path = filepath.Join(t.TempDir(), "welcomed.db")
	must(t, os.WriteFile(path, built.file, 0o600))
	return path, built.village
}

func keepVillage(t *testing.T, dir string, file []byte, v village) {
	t.Helper()
	answers, err := json.MarshalIndent(v, "", "\t")
	must(t, err)
	for name, content := range map[string][]byte{"welcomed.db.gz": file, "answers.json.gz": answers} {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
		_, err = z.Write(content)
		must(t, errors.Join(err, z.Close()))
		must(t, os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644))
	}
}

func requireSame(t *testing.T, got, want []string) {
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

func unzipped(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	b, err := io.ReadAll(z)
	must(t, err)
	return b
}
