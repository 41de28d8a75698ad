package bolt_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// A world has devices, adders and a store. When the store is put back to an earlier state,
// the world still knows what was handed out and posted before.
type world struct {
	t      *testing.T
	rand   *rand.Rand
	path   string
	s      *bolt.Store
	phones []*ownDevice
	given  map[mls.KeyPackageRef]delivery.Caller // who reserved it
	posted map[mls.KeyPackageRef]bool            // a Welcome for it was accepted
	opts   bolt.Options
}

// An ownDevice holds private keys. It deletes one when it has joined with it, or when a
// sync says that it is spent.
type ownDevice struct {
	id     delivery.DeviceID
	signer *mlstest.Signer
	keys   map[mls.KeyPackageRef]delivery.NewKeyPackage
}

var adders = []delivery.Caller{{User: "ann"}, {User: "ben"}, {User: "cem"}}

func newWorld(t *testing.T, seed uint64, opts bolt.Options) *world {
	w := &world{t: t, rand: rand.New(rand.NewPCG(seed, 7)), path: filepath.Join(t.TempDir(), "welcomed.db"), opts: opts,
		given: map[mls.KeyPackageRef]delivery.Caller{}, posted: map[mls.KeyPackageRef]bool{}}
	w.s = open(t, w.path, opts)
	for _, id := range []delivery.DeviceID{{User: "u1", Name: "a"}, {User: "u1", Name: "b"}, {User: "u2", Name: "a"}, {User: "u3", Name: "a"}} {
		p := &ownDevice{id, mlstest.NewSigner(1, string(id.User)), map[mls.KeyPackageRef]delivery.NewKeyPackage{}}
		w.phones = append(w.phones, p)
		w.publish(p, 1+w.rand.IntN(5))
	}
	return w
}

func (w *world) phone() *ownDevice        { return w.phones[w.rand.IntN(len(w.phones))] }
func (w *world) adder() delivery.Caller   { return adders[w.rand.IntN(len(adders))] }
func (w *world) self(p *ownDevice) caller { return caller{User: p.id.User, Device: p.id.Name} }

type caller = delivery.Caller

func (w *world) publish(p *ownDevice, n int) {
	w.t.Helper()
	inv, err := w.s.Inventory(w.t.Context(), w.self(p), p.id)
	must(w.t, err)
	var items []delivery.NewKeyPackage
	for range n {
		items = append(items, newKeyPackage(w.t, p.signer))
	}
	if w.rand.IntN(4) == 0 {
		items = append(items, newKeyPackage(w.t, p.signer, mlstest.LastResort()))
	}
	for i := range items {
		items[i].RestoreEpoch = inv.RestoreEpoch
		p.keys[items[i].Ref] = items[i]
	}
	_, err = w.s.Publish(w.t.Context(), w.self(p), p.id, items)
	must(w.t, err)
}

// publishAll publishes all keys of a device again, as a client does that does not ask which
// are there.
func (w *world) publishAll(p *ownDevice) {
	w.t.Helper()
	for _, item := range p.keys {
		_, err := w.s.Publish(w.t.Context(), w.self(p), p.id, []delivery.NewKeyPackage{item})
		if !errors.Is(err, delivery.ErrKeyPackageSpent) {
			must(w.t, err)
		}
	}
}

// reserve has somebody reserve from all devices, and returns what was handed
// out, last-resort ones left out.
func (w *world) reserve(by delivery.Caller) (refs []mls.KeyPackageRef) {
	w.t.Helper()
	r, err := w.s.Reserve(w.t.Context(), by, delivery.ReserveRequest{Users: []delivery.UserID{"u1", "u2", "u3"}})
	must(w.t, err)
	for _, user := range r.Users {
		for _, d := range user.Devices {
			if d.Status != delivery.DeviceReserved {
				continue
			}
			ref := d.KeyPackage.Ref
			if first, again := w.given[ref]; again {
				w.t.Fatalf("%s was handed to %s and then to %s", ref, first.User, by.User)
			}
			w.given[ref] = by
			refs = append(refs, ref)
		}
	}
	return refs
}

func (w *world) post(by delivery.Caller, ref mls.KeyPackageRef) delivery.Status {
	w.t.Helper()
	m, err := mls.ParseWelcome(mlstest.Welcome(1, ref))
	must(w.t, err)
	o, err := w.s.Post(w.t.Context(), by, delivery.Posting{Welcome: m})
	if refused, ok := errors.AsType[*delivery.NoMatchError](err); ok {
		return refused.Recipients[0].Status
	}
	must(w.t, err)
	w.posted[ref] = true
	return o.Recipients[0].Status
}

// join has a device claim and acknowledge all that it can open.
func (w *world) join(p *ownDevice) (refs []mls.KeyPackageRef) {
	w.t.Helper()
	r, err := w.s.Claim(w.t.Context(), w.self(p), p.id, delivery.ClaimOptions{})
	must(w.t, err)
	for _, d := range r.Deliveries {
		if _, holds := p.keys[d.Ref]; !holds {
			w.t.Fatalf("%s was given a Welcome that it has no key for", p.id)
		}
		delete(p.keys, d.Ref)
		must(w.t, w.s.Acknowledge(w.t.Context(), w.self(p), p.id, d.ID, d.Ref))
		refs = append(refs, d.Ref)
	}
	return refs
}

// sync does what clients do: the device says which keys it has, and publishes those that
// the store does not know.
func (w *world) sync(p *ownDevice) delivery.SyncResult {
	w.t.Helper()
	inv, err := w.s.Inventory(w.t.Context(), w.self(p), p.id)
	must(w.t, err)
	var held []mls.KeyPackageRef
	for ref := range p.keys {
		held = append(held, ref)
	}
	r, err := w.s.Sync(w.t.Context(), w.self(p), p.id, inv.Digest, held)
	must(w.t, err)
	var items []delivery.NewKeyPackage
	for _, ref := range r.Unknown {
		items = append(items, p.keys[ref])
	}
	for _, ref := range r.Spent {
		delete(p.keys, ref)
	}
	if len(items) > 0 {
		_, err = w.s.Publish(w.t.Context(), w.self(p), p.id, items)
		must(w.t, err)
	}
	return r
}

// act lets a random device or adder do something.
func (w *world) act() {
	w.t.Helper()
	switch w.rand.IntN(6) {
	case 0, 1:
		w.publish(w.phone(), 1+w.rand.IntN(4))
	case 2:
		w.reserve(w.adder())
	case 3:
		for ref, by := range w.given {
			if !w.posted[ref] && w.rand.IntN(2) == 0 {
				w.post(by, ref)
			}
		}
	case 4:
		w.join(w.phone())
	case 5:
		w.sync(w.phone())
	}
}

// onShelves is what a list shows, last-resort ones left out.
func (w *world) onShelves() map[mls.KeyPackageRef]bool {
	w.t.Helper()
	all := map[mls.KeyPackageRef]bool{}
	for _, user := range []delivery.UserID{"u1", "u2", "u3"} {
		l, err := w.s.List(w.t.Context(), delivery.Caller{User: "eve"}, user, delivery.ListOptions{})
		must(w.t, err)
		for _, d := range l.Devices {
			for _, k := range d.KeyPackages {
				if !k.LastResort {
					all[k.Ref] = true
				}
			}
		}
	}
	return all
}

// crash closes the store and goes on with the copy.
func (w *world) crash(restored string) {
	w.t.Helper()
	must(w.t, w.s.Close())
	w.path = restored
	w.s = open(w.t, restored, w.opts)
}

// What was on a shelf when the copy was made, or was published later, is not
// handed out after a restore if it was before; what was reserved is matched all
// the same, and a device that publishes has something to be handed out.
func TestNothingIsHandedOutAgainAfterARestore(t *testing.T) {
	for name, copy := range map[string]func(w *world, to string){
		"from a backup":              (*world).backUp,
		"from a file that is marked": (*world).copyByHand,
		"from a backup of a file":    (*world).backUpFile,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(25) {
				testRestore(newWorld(t, seed, bolt.Options{LogSize: 1 << (8 + seed%12)}), copy)
			}
		})
	}
}

func testRestore(w *world, copy func(*world, string)) {
	w.t.Helper()
	for range w.rand.IntN(30) {
		w.act()
	}
	reservedBefore := w.reserve(adders[0])
	shelved := w.onShelves()
	restored := filepath.Join(w.t.TempDir(), "restored.db")
	copy(w, restored)
	for range w.rand.IntN(30) {
		w.act()
	}
	lost := w.reserve(adders[1])
	w.crash(restored)
	w.never(shelved, "right after the restore")

	// Adders post what they had reserved, whatever the records say.
	order := w.rand.Perm(len(w.phones))
	for n, i := range order[:len(order)/2] {
		if n%2 == 0 {
			w.publishAll(w.phones[i])
		}
		w.sync(w.phones[i])
	}
	for _, ref := range slices.Concat(reservedBefore, lost) {
		if w.held(ref) && !w.posted[ref] {
			by := w.given[ref]
			if status := w.post(by, ref); status != delivery.StatusPending && !(shelved[ref] == false && status == delivery.StatusUnknown) {
				w.t.Fatalf("a Welcome for one that was reserved is %s", status)
			}
		}
	}
	for _, i := range order {
		w.publish(w.phones[i], 1)
		w.sync(w.phones[i])
		w.never(shelved, "after a sync")
	}
	for range 3 {
		w.reserve(w.adder()) // fails if one comes again
	}
	for _, p := range w.phones {
		w.join(p)
		w.publish(p, 1)
	}
	if fresh := w.reserve(adders[2]); len(fresh) != len(w.phones) {
		w.t.Fatalf("%d of %d devices have something to hand out after they published", len(fresh), len(w.phones))
	}
	must(w.t, w.s.Close())
	must(w.t, bolt.Check(w.t.Context(), w.path))
}

// never checks that nothing on a shelf was there at the time of the copy, or was
// handed out since.
func (w *world) never(shelved map[mls.KeyPackageRef]bool, when string) {
	w.t.Helper()
	for ref := range w.onShelves() {
		if by, given := w.given[ref]; given || shelved[ref] {
			w.t.Fatalf("%s, %s is on a shelf (handed out: %v, to %q)", when, ref, given, by.User)
		}
	}
}

func (w *world) held(ref mls.KeyPackageRef) bool {
	return slices.ContainsFunc(w.phones, func(p *ownDevice) bool { _, ok := p.keys[ref]; return ok })
}

func (w *world) backUp(to string) {
	w.t.Helper()
	f, err := w.s.Backup(w.t.Context())
	must(w.t, err)
	w.save(f, to)
}

func (w *world) backUpFile(to string) {
	w.t.Helper()
	must(w.t, w.s.Close())
	f, err := bolt.BackupFile(w.t.Context(), w.path)
	must(w.t, err)
	w.save(f, to)
	w.s = open(w.t, w.path, w.opts)
}

func (w *world) save(f *os.File, to string) {
	w.t.Helper()
	defer f.Close()
	b, err := io.ReadAll(f)
	must(w.t, err)
	write(w.t, to, b)
	if _, err := os.Stat(w.path + ".copy.part"); err == nil {
		w.t.Error("the copy has a name")
	}
}

// copyByHand copies a file that nobody writes to, as after a crash, and marks it.
func (w *world) copyByHand(to string) {
	w.t.Helper()
	must(w.t, w.s.Close())
	b, err := os.ReadFile(w.path)
	must(w.t, err)
	write(w.t, to, b)
	must(w.t, bolt.MarkRestored(w.t.Context(), to))
	w.s = open(w.t, w.path, w.opts)
}

// A device publishes more after the backup than its shelf holds at a time, because
// others take what lies on it, and is in step with the server after the restore.
func TestWhatWasHandedOutIsKnownHoweverMuchItWas(t *testing.T) {
	limits := delivery.DefaultLimits()
	limits.KeyPackagesPerDevice = 20
	path, opts := filepath.Join(t.TempDir(), "welcomed.db"), bolt.Options{Limits: limits}
	s, err := bolt.Open(path, bolt.Small(opts))
	must(t, err)
	id, self, signer := delivery.DeviceID{User: "alice", Name: "phone"}, delivery.Caller{User: "alice"}, mlstest.NewSigner(1, "alice")
	var held []delivery.NewKeyPackage
	publish := func(items ...delivery.NewKeyPackage) {
		_, err := s.Publish(t.Context(), self, id, items)
		must(t, err)
	}
	make := func(n int) {
		for range n {
			held = append(held, newKeyPackage(t, signer))
		}
		publish(held[len(held)-n:]...)
	}
	given := map[mls.KeyPackageRef]bool{}
	reserve := func(n int) {
		t.Helper()
		for range n {
			r, err := s.Reserve(t.Context(), delivery.Caller{User: "bob"}, delivery.ReserveRequest{Users: []delivery.UserID{"alice"}})
			must(t, err)
			if kp := r.Users[0].Devices[0].KeyPackage; kp != nil {
				if given[kp.Ref] {
					t.Fatalf("%s was handed out twice", kp.Ref)
				}
				given[kp.Ref] = true
			}
		}
	}
	make(1)
	w := &world{t: t, s: s, path: path}
	restored := filepath.Join(t.TempDir(), "restored.db")
	f, err := s.Backup(t.Context())
	must(t, err)
	w.save(f, restored)
	make(19)
	reserve(16)
	make(15)
	must(t, s.Close())
	s, err = bolt.Open(restored, bolt.Small(opts))
	must(t, err)
	defer s.Close()
	inv, err := s.Inventory(t.Context(), self, id)
	must(t, err)
	var refs []mls.KeyPackageRef
	for _, item := range held[:34] {
		refs = append(refs, item.Ref)
	}
	_, err = s.Sync(t.Context(), self, id, inv.Digest, refs)
	must(t, err)
	for items := range slices.Chunk(held, 5) {
		publish(items...)
	}
	reserve(14)
	held = nil
	fresh := newKeyPackage(t, signer)
	fresh.RestoreEpoch = inv.RestoreEpoch
	publish(fresh)
	if reserve(1); !given[fresh.Ref] {
		t.Error("what was made after the restore is not handed out")
	}
}

// An epoch is that of one restore: what was made before the next does not name it.
func TestEveryRestoreHasAnEpoch(t *testing.T) {
	path, opts := filepath.Join(t.TempDir(), "welcomed.db"), bolt.Options{Limits: delivery.DefaultLimits()}
	id, self, signer := delivery.DeviceID{User: "alice", Name: "phone"}, delivery.Caller{User: "alice"}, mlstest.NewSigner(1, "alice")
	epochs := []string{""}
	for restores := range 3 {
		if restores > 0 {
			must(t, bolt.MarkRestored(t.Context(), path))
		}
		for range 2 { // an opening changes nothing
			s := open(t, path, opts)
			inv, err := s.Inventory(t.Context(), self, id)
			must(t, err)
			if again := inv.RestoreEpoch == epochs[len(epochs)-1]; again {
				must(t, s.Close())
				continue
			}
			if slices.Contains(epochs, inv.RestoreEpoch) {
				t.Fatalf("%q is the epoch again", inv.RestoreEpoch)
			}
			epochs = append(epochs, inv.RestoreEpoch)
			for i, epoch := range epochs {
				item := newKeyPackage(t, signer)
				item.RestoreEpoch = epoch
				p, err := s.Publish(t.Context(), self, id, []delivery.NewKeyPackage{item})
				must(t, err)
				want := delivery.NotAfterRestore
				if restores == 0 || i == len(epochs)-1 {
					want = delivery.Stored
				}
				if got := p.Items[0].Status; got != want || p.RestoreEpoch != inv.RestoreEpoch {
					t.Errorf("after %d restores, one that names epoch %d is %s, want %s; the epoch is %q", restores, i, got, want, p.RestoreEpoch)
				}
			}
			must(t, s.Close())
		}
		if len(epochs) != restores+2 {
			t.Fatalf("%d restores, %d epochs", restores, len(epochs)-1)
		}
	}
}

// With --match reserved too, a Welcome is matched whose KeyPackage may have been
// reserved after the backup: nobody can say any more that it was not.
func TestWhatWasReservedAfterTheBackupIsMatched(t *testing.T) {
	path, opts := filepath.Join(t.TempDir(), "welcomed.db"), bolt.Options{Limits: delivery.DefaultLimits()}
	opts.Limits.MatchReserved = true
	s, err := bolt.Open(path, bolt.Small(opts))
	must(t, err)
	id, signer := delivery.DeviceID{User: "alice", Name: "phone"}, mlstest.NewSigner(1, "alice")
	before, last := newKeyPackage(t, signer), newKeyPackage(t, signer, mlstest.LastResort())
	lost, fresh := newKeyPackage(t, signer), newKeyPackage(t, signer)
	publish := func(kp delivery.NewKeyPackage) {
		_, err := s.Publish(t.Context(), delivery.Caller{User: "alice"}, id, []delivery.NewKeyPackage{kp})
		must(t, err)
	}
	post := func(kp delivery.NewKeyPackage) error {
		w, err := mls.ParseWelcome(mlstest.WelcomeFor(kp.Bytes))
		must(t, err)
		_, err = s.Post(t.Context(), delivery.Caller{User: "bob"}, delivery.Posting{Welcome: w})
		return err
	}
	publish(before)
	publish(last)
	must(t, s.Close())
	must(t, bolt.MarkRestored(t.Context(), path))
	s, err = bolt.Open(path, bolt.Small(opts))
	must(t, err)
	defer s.Close()
	inv, err := s.Inventory(t.Context(), delivery.Unauthenticated(), id)
	must(t, err)
	fresh.RestoreEpoch = inv.RestoreEpoch
	publish(lost)
	publish(fresh)
	for _, kp := range []delivery.NewKeyPackage{before, last, lost} {
		must(t, post(kp))
	}
	if err := post(fresh); !errors.Is(err, delivery.ErrNoMatchingKeyPackage) {
		t.Errorf("one on the shelf that nobody has reserved: %v", err)
	}
}
