package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

const (
	groupTail = 1.6  // of the Pareto distribution of sizes, which begins at 2
	groupMost = 1000 // users
	picking   = 0.1  // of small groups: the adder lists and picks, and reserves nothing
	pickingTo = 5    // users, in a group whose adder picks
	abandoned = 0.03 // reserve and never post
	holding   = 0.7  // post with a hold
	forgotten = 0.03 // of holds: neither released nor cancelled
	cancelled = 0.04 // of holds
	regretted = 0.01 // of the others: cancelled after the fact
	again     = 0.5  // of what was cancelled is posted anew

	groupInfoBytes = 450
	treeBytes      = 200 // for each member
)

// A stage is what an adder does next.
type stage int

const (
	toReserve stage = iota
	toList
	toPost
	toEnd // the hold, or what follows a Welcome that is regretted
	done
)

// A group is made by an adder. It is followed until its Welcome is settled.
type group struct {
	adder   *device
	members []delivery.UserID // the adder's own other devices are added too
	random  *rand.Rand
	key     string
	stage   stage
	kps     []*keyPackage
	posting delivery.Posting
	welcome *welcome

	// The answer to the last request, and what it was.
	reservation delivery.Reservation
	outcome     delivery.Outcome
	refusal     error
}

// newGroups decides who makes a group now. Evenings are livelier than nights.
func (y *year) newGroups(now time.Time) []*group {
	hour := float64(now.Hour()) + float64(now.Minute())/60
	share := y.step.Hours() / 24
	if y.step < 12*time.Hour {
		share *= 1 + math.Sin(2*math.Pi*(hour-13)/24)
	}
	mean := groupsPerDay * float64(len(y.users)) * share
	n := int(mean)
	if y.random.Float64() < mean-float64(n) {
		n++
	}
	var groups []*group
	for range n {
		if adder := y.anyDevice(); adder != nil {
			groups = append(groups, y.newGroup(adder))
		}
	}
	return groups
}

// anyDevice is one that is in use; nil if chance meets somebody who has none.
func (y *year) anyDevice() *device {
	u := y.users[y.random.IntN(len(y.users))]
	d := u.devices[y.random.IntN(len(u.devices))]
	if d.lost || d.removed || len(d.keyPackages) == 0 {
		return nil
	}
	return d
}

func (y *year) newGroup(adder *device) *group {
	y.made++
	g := &group{adder: adder, random: rand.New(rand.NewPCG(y.seed, 1<<32+uint64(y.made))), key: fmt.Sprint(y.made)}
	most := min(groupMost, max(2, len(y.users)/4))
	size := min(most, int(2*math.Pow(1-g.random.Float64(), -1/groupTail)))
	in := map[delivery.UserID]bool{adder.user.id: true}
	g.members = append(g.members, adder.user.id)
	for len(g.members) < size {
		if u := y.users[g.random.IntN(len(y.users))]; !in[u.id] {
			in[u.id] = true
			g.members = append(g.members, u.id)
		}
	}
	if len(g.members) <= pickingTo && g.random.Float64() < picking {
		g.stage = toList
	}
	return g
}

// list picks from what the members have on their shelves. Nobody publishes or
// reserves at this time, so what is listed is what the ledger has.
func (y *year) list(ctx context.Context, g *group) error {
	for _, user := range g.members {
		l, err := y.store.List(ctx, g.adder.self, user, delivery.ListOptions{})
		if err != nil {
			return disagree("list %s: %v", user, err)
		}
		y.count("list", 1)
		for _, listed := range l.Devices {
			k, err := y.compareListing(user, listed)
			if err != nil {
				return err
			}
			if k.owner != g.adder {
				g.kps = append(g.kps, k)
			}
		}
	}
	g.stage = toPost
	if len(g.kps) == 0 {
		g.stage = done
	}
	return nil
}

// compareListing checks a device's part of a listing and returns what an adder
// would pick.
func (y *year) compareListing(user delivery.UserID, listed delivery.DeviceListing) (*keyPackage, error) {
	d := y.device(delivery.DeviceID{User: user, Name: listed.Device})
	if d == nil {
		return nil, disagree("device %s of %s is listed", listed.Device, user)
	}
	shelf, last := d.shelf()
	if last != nil {
		shelf = append(shelf, last)
	}
	if len(shelf) != len(listed.KeyPackages) || len(shelf) == 0 {
		return nil, disagree("%d KeyPackages of %s are listed, by the ledger %d", len(listed.KeyPackages), d.id, len(shelf))
	}
	for i, k := range listed.KeyPackages {
		if k.Ref != shelf[i].rec.Ref {
			return nil, disagree("KeyPackage %d of %s in the list is %s, by the ledger %s", i, d.id, k.Ref, shelf[i].rec.Ref)
		}
	}
	return shelf[0], nil
}

// reserve asks for one KeyPackage of each device of each member.
func (y *year) reserve(ctx context.Context, g *group) (err error) {
	req := delivery.ReserveRequest{Users: g.members, Suites: []mls.CipherSuite{1}, IdempotencyKey: g.key}
	if g.reservation, err = y.store.Reserve(ctx, g.adder.self, req); err != nil {
		return disagree("reserve for %d users: %v", len(g.members), err)
	}
	y.count("reserve", 1)
	if g.random.Float64() >= lostReply {
		return nil
	}
	second, err := y.store.Reserve(ctx, g.adder.self, req)
	if err != nil || !second.Repeated || fmt.Sprint(refsOf(second)) != fmt.Sprint(refsOf(g.reservation)) {
		return disagree("a repeated reservation is answered differently, %v", err)
	}
	return nil
}

func refsOf(r delivery.Reservation) (refs []mls.KeyPackageRef) {
	for _, u := range r.Users {
		for _, d := range u.Devices {
			if d.KeyPackage != nil {
				refs = append(refs, d.KeyPackage.Ref)
			}
		}
	}
	return refs
}

// reserved notes a reservation: nothing that somebody else has.
func (y *year) reserved(g *group, now time.Time) error {
	for _, u := range g.reservation.Users {
		for _, answer := range u.Devices {
			id := delivery.DeviceID{User: u.User, Name: answer.Device}
			d := y.device(id)
			if d == nil {
				return disagree("%s is asked for a KeyPackage and does not exist", id)
			}
			y.count("device "+string(answer.Status), 1)
			if answer.KeyPackage == nil {
				continue
			}
			k := d.keyPackage(answer.KeyPackage.Ref)
			if k == nil || k.rec.State != delivery.Available || k.rec.LastResort != (answer.Status == delivery.DeviceLastResort) {
				return disagree("%s is reserved for a second time, or was never on the shelf of %s", answer.KeyPackage.Ref, id)
			}
			k.rec.reserve(y.limits, g.adder.self.ID(), now)
			g.kps = append(g.kps, k)
		}
	}
	g.stage = toPost
	if g.random.Float64() < abandoned || len(g.kps) == 0 {
		g.stage = done
	}
	return nil
}

// compareShelves checks, when all of a step have reserved, that nobody was handed
// less than there was, or a younger one than was left.
func (y *year) compareShelves(g *group, now time.Time) error {
	for _, u := range g.reservation.Users {
		for _, answer := range u.Devices {
			d := y.device(delivery.DeviceID{User: u.User, Name: answer.Device})
			ordinary, last := d.shelf()
			if answer.Status == delivery.DeviceLastResort && len(ordinary) > 0 || answer.Status == delivery.DeviceExhausted && (last != nil || len(ordinary) > 0) {
				return disagree("%s is %s and has %d on the shelf", d.id, answer.Status, len(ordinary))
			}
			left := false
			for _, k := range d.keyPackages {
				left = left || k.rec.State == delivery.Available && !k.rec.LastResort
				if left && k.rec.State == delivery.Reserved && k.rec.ReservedAt.Equal(now) {
					return disagree("a younger KeyPackage of %s is reserved than is left", d.id)
				}
			}
		}
	}
	return nil
}

// prepare makes the Welcome. In a large group the ratchet tree is apart.
func (g *group) prepare() error {
	refs := make([]mls.KeyPackageRef, len(g.kps))
	for i, k := range g.kps {
		refs[i] = k.rec.Ref
	}
	tree := treeBytes * len(refs)
	g.posting = delivery.Posting{Hold: g.random.Float64() < holding, RequireAll: g.welcome == nil && g.refusal == nil}
	if len(refs) > 50 {
		g.posting.RatchetTree, tree = mlstest.Random(tree), 0
	}
	w, err := mls.ParseWelcome(mlstest.WelcomeSize(groupInfoBytes+tree, 1, refs...))
	g.posting.Welcome = w
	return err
}

func (y *year) post(ctx context.Context, g *group) error {
	if err := g.prepare(); err != nil {
		return err
	}
	g.outcome, g.refusal = y.store.Post(ctx, g.adder.self, g.posting)
	y.count("post", 1)
	if g.refusal != nil && !errors.Is(g.refusal, delivery.ErrNoMatchingKeyPackage) {
		return disagree("post for %d: %v", len(g.kps), g.refusal)
	}
	if g.refusal != nil || g.random.Float64() >= lostReply {
		return nil
	}
	second, err := y.store.Post(ctx, g.adder.self, g.posting)
	if err != nil || !second.Repeated || second.ID != g.outcome.ID || len(second.Recipients) != len(g.outcome.Recipients) {
		return disagree("a repeated post is answered differently, %v", err)
	}
	return nil
}

// posted notes a Welcome that was accepted. No KeyPackage is matched twice.
func (y *year) posted(g *group, now time.Time) error {
	if g.refusal != nil {
		return nil
	}
	bare := g.posting.Welcome
	w := &welcome{
		id: g.outcome.ID, poster: g.adder.self, hold: g.posting.Hold, postedAt: now,
		size: len(bare.Bytes()) + len(g.posting.RatchetTree), groupInfo: sha256.Sum256(bare.EncryptedGroupInfo),
	}
	for i, r := range g.outcome.Recipients {
		if !r.Matched {
			continue
		}
		k := g.kps[i]
		if k.rec.Ref != r.Ref || k.rec.match(g.adder.self, now) != "" {
			return disagree("%s is matched by %s, although it is %s", r.Ref, w.id, k.rec.State)
		}
		k.matched(w, y.limits, now)
	}
	y.count("recipient", len(w.recipients))
	y.welcomes = append(y.welcomes, w)
	g.welcome = w
	return nil
}

// judged checks, when all of a step have posted, why recipients were refused, and
// decides what the adder does next.
func (y *year) judged(g *group, now time.Time) error {
	recipients := g.outcome.Recipients
	var refused *delivery.NoMatchError
	if errors.As(g.refusal, &refused) {
		recipients = refused.Recipients
	}
	var left []*keyPackage
	for i, r := range recipients {
		k := g.kps[i]
		if r.Matched {
			left = append(left, k)
			continue
		}
		y.count("mismatch "+string(r.Status), 1)
		if want := k.rec.match(g.adder.self, now); r.Status != want {
			return disagree("%s does not match because it is %s, by the ledger %q", r.Ref, r.Status, want)
		}
	}
	if g.refusal != nil && len(left) == len(recipients) {
		return disagree("a Welcome is refused although all of its %d recipients match", len(recipients))
	}
	g.kps = left
	g.stage = g.afterPost()
	return nil
}

func (g *group) afterPost() stage {
	switch {
	case g.refusal != nil && len(g.kps) > 0:
		return toPost
	case g.refusal != nil, g.posting.Hold && g.random.Float64() < forgotten, !g.posting.Hold && g.random.Float64() >= regretted:
		return done
	}
	return toEnd
}

// end releases a hold, or cancels.
func (y *year) end(ctx context.Context, g *group) error {
	var err error
	if g.posting.Hold && g.random.Float64() >= cancelled {
		g.outcome, err = y.store.Release(ctx, g.adder.self, g.welcome.id)
		y.count("release", 1)
	} else {
		g.outcome, err = y.store.Cancel(ctx, g.adder.self, g.welcome.id)
		y.count("cancel", 1)
	}
	if err != nil {
		return disagree("end of Welcome %s: %v", g.welcome.id, err)
	}
	return nil
}

// finished notes what end did, and compares.
func (y *year) finished(g *group, now time.Time) error {
	w := g.welcome
	g.stage = done
	if !g.outcome.Cancelled {
		w.release(now)
		return w.compare(g.outcome)
	}
	w.cancel(y.limits, now)
	g.kps = g.reservedStill()
	if len(g.kps) > 0 && g.random.Float64() < again {
		g.stage, g.refusal = toPost, nil
	}
	return w.compare(g.outcome)
}

// reservedStill are those of the KeyPackages that a cancelled Welcome has left to
// its poster.
func (g *group) reservedStill() (left []*keyPackage) {
	for _, k := range g.kps {
		if k.rec.State == delivery.Reserved && k.rec.ReservedBy == g.adder.self.ID() {
			left = append(left, k)
		}
	}
	return left
}
