package model

import (
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"time"

	"pgregory.net/rapid"

	"welcomed/delivery"
	"welcomed/mls"
)

const day = 24 * time.Hour

// Those who take part. Few, so that they meet.
var (
	devices = []delivery.DeviceID{{User: "alice", Name: "phone"}, {User: "alice", Name: "tablet"}, {User: "alice", Name: "watch"}, {User: "bob", Name: "phone"}}
	users   = []delivery.UserID{"alice", "bob", "carol"}
	nobody  = delivery.Unauthenticated()
	callers = []delivery.Caller{{User: "bob"}, {User: "carol"}, {User: "bob", Device: "phone"}, {User: "alice", Device: "phone"}, {Service: "app"}, nobody}
	details = []string{"", "no key"}
)

// devicesOf are those that a user may have.
func devicesOf(user delivery.UserID) []delivery.DeviceID {
	return slices.DeleteFunc(slices.Clone(devices), func(d delivery.DeviceID) bool { return d.User != user })
}

func pick[T any](w *world, what string, from []T) T {
	return rapid.SampledFrom(from).Draw(w.t, what)
}

// oneIn is true once in n times, and not in the shortest sequence.
func (w *world) oneIn(n int, what string) bool {
	return rapid.IntRange(0, n-1).Draw(w.t, what) == n-1
}

func (w *world) upTo(n int, what string) int { return rapid.IntRange(0, n).Draw(w.t, what) }

// some draws up to most of these.
func some[T any](w *world, what string, from []T, most int) (drawn []T) {
	if len(from) == 0 {
		return nil
	}
	for range w.upTo(most, "how many of "+what) {
		drawn = append(drawn, pick(w, what, from))
	}
	return drawn
}

// unsigned makes the nth KeyPackage of a sequence. Whether it is signed is
// nothing to a store.
func unsigned(n int) delivery.NewKeyPackage {
	bytes := fmt.Appendf(nil, "Package %04d", n) // none begins as another
	key := sha256.Sum256(fmt.Append(nil, "init_key ", n))
	return delivery.NewKeyPackage{
		Ref: mls.CipherSuite(1).RefOf(bytes), Suite: 1, InitKey: key[:], Bytes: bytes,
		Lifetime: mls.Lifetime{NotAfter: math.MaxUint64},
	}
}

// newItem draws a KeyPackage that was not published before.
func (w *world) newItem() delivery.NewKeyPackage {
	item := unsigned(len(w.made))
	switch w.upTo(9, "suite") {
	case 7, 8:
		item.Suite = 2
	case 9:
		item.Suite = pick(w, "other suite", []mls.CipherSuite{2, 3})
	}
	item.LastResort = w.oneIn(5, "last resort")
	if w.oneIn(3, "lifetime") {
		item.Lifetime = mls.Lifetime{NotBefore: w.seconds("not_before"), NotAfter: w.seconds("not_after")}
		if item.Lifetime.NotBefore > item.Lifetime.NotAfter { // refused in front of the store
			item.Lifetime.NotBefore, item.Lifetime.NotAfter = item.Lifetime.NotAfter, item.Lifetime.NotBefore
		}
	}
	if w.oneIn(2, "names an epoch") { // one that its device has read by now
		item.RestoreEpoch = pick(w, "epoch", w.epochs)
	}
	if len(w.made) > 0 && w.oneIn(12, "same init_key") {
		item.InitKey = pick(w, "init_key of", w.made).InitKey
	}
	w.made = append(w.made, item)
	return item
}

// seconds draws a time of a lifetime: a little from now, or where integers end.
func (w *world) seconds(what string) uint64 {
	const year9999 = 253402300799
	ends := []uint64{0, 1, math.MaxInt64 - 1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64 - 1, math.MaxUint64, year9999, year9999 + 1}
	if w.oneIn(3, "extreme "+what) {
		return pick(w, what, ends)
	}
	return uint64(w.clock.Now().Add(pick(w, what, spans)).Unix())
}

var spans = []time.Duration{
	40 * day, 2 * day, -day, -time.Second, 0, time.Second, time.Hour, 12 * time.Hour, day - time.Second, day, day + time.Second,
	day + time.Hour, 300 * day, 399 * day, 401 * day,
}

// items draws a publication.
func (w *world) items() (items []delivery.NewKeyPackage) {
	for range 1 + w.upTo(2, "more items") {
		if len(w.made) > 0 && w.oneIn(4, "published before") {
			item := pick(w, "item", w.made)
			if w.oneIn(3, "names none") {
				item.RestoreEpoch = ""
			}
			items = append(items, item)
		} else {
			items = append(items, w.newItem())
		}
	}
	return items
}

// waiting draws a device, most often one for which a Welcome waits.
func (w *world) waiting() delivery.DeviceID {
	var those []delivery.DeviceID
	for _, d := range devices {
		for _, e := range w.book.recipients(d) {
			if e.open() && !slices.Contains(those, d) {
				those = append(those, d)
			}
		}
	}
	if len(those) == 0 || w.oneIn(5, "any device") {
		return pick(w, "device", devices)
	}
	return pick(w, "waiting device", those)
}

// ref draws one that was made, or one that nobody knows.
func (w *world) ref(what string) mls.KeyPackageRef {
	if len(w.made) == 0 || w.oneIn(20, "unknown "+what) {
		return unsigned(-1).Ref
	}
	return pick(w, what, w.made).Ref
}

// owned draws the ref of a KeyPackage of the device, if it has any.
func (w *world) owned(id delivery.DeviceID, what string) mls.KeyPackageRef {
	if own := w.book.of(id); len(own) > 0 && !w.oneIn(6, "any "+what) {
		return pick(w, what, own).item.Ref
	}
	return w.ref(what)
}

// makeWelcome makes a Welcome of n-th contents for some KeyPackages. What should be
// encrypted in it is counted; some are large.
func makeWelcome(n int, suite mls.CipherSuite, refs []mls.KeyPackageRef) *mls.Welcome {
	var secrets []byte
	for i, ref := range refs {
		secrets = append(append(secrets, byte(len(ref))), ref...)
		secret := fmt.Append(nil, "secret ", n, " ", i)
		secrets = append(append(secrets, 0, byte(len(secret))), secret...)
	}
	info := fmt.Append(nil, "GroupInfo ", n)
	if n%7 == 6 {
		info = append(info, make([]byte, 5000)...)
	}
	parsed, err := mls.ParseWelcome(mls.SliceWelcome(suite, secrets, info))
	if err != nil {
		panic(err)
	}
	return parsed
}

// posting draws a new Welcome, most often for KeyPackages that would match.
func (w *world) posting() delivery.Posting {
	var refs []mls.KeyPackageRef
	for range 1 + w.upTo(2, "more recipients") {
		ref := w.recipient()
		if len(refs) < 4 && !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	suite := mls.CipherSuite(1)
	if k := w.book.find(refs[0]); k != nil && !w.oneIn(12, "wrong suite") {
		suite = k.item.Suite
	}
	p := delivery.Posting{Welcome: makeWelcome(len(w.posted), suite, refs)}
	w.vary(&p)
	return p
}

func (w *world) recipient() mls.KeyPackageRef {
	var fitting []mls.KeyPackageRef
	for _, k := range w.book.keyPackages {
		if s := k.stateAt(w.book.sure); s == delivery.Available || s == delivery.Reserved || s == delivery.Retired {
			fitting = append(fitting, k.item.Ref)
		}
	}
	if len(fitting) > 0 && !w.oneIn(5, "any recipient") {
		return pick(w, "recipient", fitting)
	}
	return w.ref("recipient")
}

// vary draws how a Welcome is posted.
func (w *world) vary(p *delivery.Posting) {
	p.Hold = w.oneIn(3, "hold")
	p.RequireAll = w.oneIn(3, "require all")
	p.DryRun = w.oneIn(8, "dry run")
	p.RatchetTree, p.Context = nil, nil
	if w.oneIn(3, "tree") {
		p.RatchetTree = make([]byte, pick(w, "tree size", []int{1, 3000, delivery.TreeInline, delivery.TreeInline + 1}))
	}
	if w.oneIn(4, "context") {
		p.Context = []byte("context")
	}
}

// welcomeID draws the id of a Welcome that was posted, and its poster.
func (w *world) welcomeID(what string) (delivery.Caller, delivery.WelcomeID) {
	if len(w.book.welcomes) > 0 && !w.oneIn(10, "any "+what) {
		l := pick(w, what, w.book.welcomes)
		return w.posterOf(l.poster), l.id
	}
	if len(w.posted) > 0 {
		p := pick(w, what, w.posted)
		return w.posterOf(p.caller), p.id()
	}
	return nobody, delivery.WelcomeID{}
}

func (w *world) posterOf(poster delivery.Caller) delivery.Caller {
	if w.oneIn(6, "another caller") {
		return pick(w, "caller", callers)
	}
	return poster
}
