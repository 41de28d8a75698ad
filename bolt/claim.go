package bolt

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// seenExact is how far the last-seen time of a device that only asks may lag
// behind: an idle device costs one commit in this time.
const seenExact = 24 * time.Hour

// Claim implements delivery.Store.
func (s *Store) Claim(ctx context.Context, _ delivery.Caller, id delivery.DeviceID, opts delivery.ClaimOptions) (delivery.ClaimResult, error) {
	filter := newClaimFilter(opts)
	var plan claimPlan
	var result delivery.ClaimResult
	err := s.view(ctx, func(t *txn) error {
		if plan = t.planClaim(t.device(id), filter); len(plan.fresh) == 0 {
			result = t.claimed(plan)
		}
		return nil
	})
	if err != nil || !plan.changes {
		return result, err
	}
	onlyNotes := len(plan.fresh) == 0
	err = s.writer.do(ctx, 0, func(t *txn) error {
		plan = t.planClaim(t.device(id), filter)
		t.claim(plan)
		return nil
	})
	if errors.Is(err, delivery.ErrFull) && onlyNotes {
		// A full disk keeps us from taking notes, not the device from what it
		// was given.
		result.NewlyWithheld = 0
		return result, nil
	}
	if err != nil {
		return delivery.ClaimResult{}, err
	}
	// What was claimed stays until it is settled, so its bytes can be read
	// outside the writer.
	err = s.viewCommitted(ctx, func(t *txn) error {
		result = t.claimed(plan)
		return nil
	})
	return result, err
}

// A claimFilter is what a claim's options say, made ready for thousands of
// comparisons.
type claimFilter struct {
	refs  map[mls.KeyPackageRef]bool // nil: no filter
	skip  map[delivery.WelcomeID]bool
	max   int
	bytes int64
}

func newClaimFilter(opts delivery.ClaimOptions) claimFilter {
	f := claimFilter{skip: make(map[delivery.WelcomeID]bool, len(opts.Skip)), max: orUnlimited(opts.Max), bytes: int64(orUnlimited(opts.Bytes))}
	for _, id := range opts.Skip {
		f.skip[id] = true
	}
	if opts.Refs == nil {
		return f
	}
	f.refs = make(map[mls.KeyPackageRef]bool, len(opts.Refs))
	for _, ref := range opts.Refs {
		f.refs[ref] = true
	}
	return f
}

// A claimPlan is what a claim will do, decided before anything is written.
type claimPlan struct {
	device   *device
	fresh    []*mail // given for the first time
	again    []*mail // given before, not settled
	withheld []*mail // the device holds no key for
	newly    int     // withheld that never were before
	more     bool
	reorder  bool // some of those given before had no room: the next claim begins with them
	overdue  int  // left pending
	changes  bool
	stock    delivery.Stock
}

func (t *txn) planClaim(d *device, f claimFilter) (plan claimPlan) {
	if d == nil || d.removed {
		plan.stock = t.stock(nil)
		return plan
	}
	plan.device, plan.stock = d, t.stock(d)
	room := claimRoom{mails: f.max, bytes: f.bytes}
	for _, m := range t.inbox(d, inboxNew) {
		if m.rec.StateAt(t.now) != delivery.Pending || !t.opens(d, m) {
			continue // its time has passed, the next sweep ends it
		}
		if t.wanted(d, m, f, &plan) {
			plan.fresh = appendIfRoom(plan.fresh, m, &room)
		}
	}
	for _, m := range t.inbox(d, inboxDelivered) {
		if m.rec.StateAt(t.now) == delivery.Delivered && t.wanted(d, m, f, &plan) {
			before := len(plan.again)
			plan.again = appendIfRoom(plan.again, m, &room)
			plan.reorder = plan.reorder || len(plan.again) == before
		}
	}
	plan.more = room.refused
	plan.reorder = plan.reorder && len(plan.again) > 0
	plan.overdue = d.pending - len(plan.fresh)
	plan.changes = len(plan.fresh) > 0 || plan.newly > 0 || plan.reorder || plan.overdue != d.overdue || t.now.Sub(d.seenAt) >= seenExact
	return plan
}

// opens reports whether the mail's KeyPackage is there to be consumed. It always
// is; if a damaged file says otherwise, the device still gets the other Welcomes.
func (t *txn) opens(d *device, m *mail) bool {
	k := t.keyPackage(d, m.kp)
	return k != nil && (k.rec.LastResort || k.rec.State == delivery.Matched)
}

// wanted applies the filters of a claim and notes what the device cannot open.
func (t *txn) wanted(d *device, m *mail, f claimFilter, plan *claimPlan) bool {
	if f.skip[m.id] {
		return false
	}
	if f.refs == nil || f.refs[t.refOf(d, m)] {
		return true
	}
	if m.rec.WithheldAt.IsZero() {
		plan.newly++
	}
	plan.withheld = append(plan.withheld, m)
	return false
}

func (t *txn) refOf(d *device, m *mail) mls.KeyPackageRef {
	k := t.keyPackage(d, m.kp)
	if k == nil {
		panic(errCorrupt)
	}
	return k.rec.Ref
}

// A claimRoom is how much more an answer takes. One Welcome always fits.
type claimRoom struct {
	mails   int
	bytes   int64
	used    bool
	refused bool
}

func orUnlimited(n int) int {
	if n <= 0 {
		return math.MaxInt
	}
	return n
}

func appendIfRoom(mails []*mail, m *mail, room *claimRoom) []*mail {
	if room.refused || room.mails == 0 || room.used && m.size > room.bytes {
		room.refused = true
		return mails
	}
	room.used = true
	room.mails--
	room.bytes -= m.size
	return append(mails, m)
}

// claim carries out a plan: match and consume.
func (t *txn) claim(plan claimPlan) {
	d := plan.device
	if !plan.changes {
		return
	}
	for _, m := range plan.fresh {
		if k := t.keyPackage(d, m.kp); !k.rec.LastResort {
			k.rec.End(delivery.Consumed, t.now)
			t.saveKeyPackage(d, k)
		}
		m.rec.Deliver(*t.limits, t.now)
		m.order = t.next()
		t.saveMail(d, m)
	}
	if plan.reorder {
		for _, m := range plan.again {
			m.order = t.next()
			t.saveMail(d, m)
		}
	}
	for _, m := range plan.withheld {
		if m.rec.WithheldAt.IsZero() {
			m.rec.WithheldAt = t.now
			t.saveMail(d, m)
		}
	}
	d.overdue, d.claimed = plan.overdue, t.state.sequence
	t.touch(d)
}

// claimed is the answer to a claim.
func (t *txn) claimed(plan claimPlan) delivery.ClaimResult {
	r := delivery.ClaimResult{More: plan.more, Withheld: len(plan.withheld), NewlyWithheld: plan.newly, Stock: plan.stock}
	for _, m := range plan.fresh {
		t.deliver(&r, m, false)
	}
	for _, m := range plan.again {
		t.deliver(&r, m, true)
	}
	return r
}

// deliver adds a mail to the answer, unless it was settled and swept since the
// claim.
func (t *txn) deliver(answer *delivery.ClaimResult, m *mail, again bool) {
	w, groupInfo := t.welcome(m.welcome), t.get(bucketPayloads, payloadKey(m.welcome, partGroupInfo))
	if w == nil || groupInfo == nil {
		return
	}
	r := t.recipient(m.mailKey)
	d := delivery.Delivery{
		ID: w.id, Ref: r.ref, PostedAt: w.postedAt, ExpiresAt: m.rec.Until, Context: w.context,
		Welcome:         mls.SliceWelcome(w.suite, r.secret, groupInfo),
		RatchetTreeSize: w.treeSize, Redelivered: again,
	}
	if !strings.Contains(w.poster, "/") {
		d.PostedBy = delivery.UserID(w.poster)
	}
	if w.treeSize > 0 && w.treeSize <= delivery.TreeInline {
		d.RatchetTree = cloneBytes(t.get(bucketPayloads, payloadKey(w.number, partTree)))
	}
	answer.Deliveries = append(answer.Deliveries, d)
}

// RatchetTree implements delivery.Store.
func (s *Store) RatchetTree(ctx context.Context, _ delivery.Caller, id delivery.DeviceID, welcome delivery.WelcomeID) (tree []byte, err error) {
	err = s.view(ctx, func(t *txn) error {
		_, mails, err := t.received(id, welcome)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(mails, func(m *mail) bool { return !m.rec.DeliveredAt.IsZero() }) {
			return delivery.ErrNotDelivered
		}
		if tree = cloneBytes(t.get(bucketPayloads, payloadKey(mails[0].welcome, partTree))); tree == nil {
			return delivery.ErrNotFound
		}
		return nil
	})
	return tree, err
}

// received returns the device and its part of a Welcome, at least one mail.
func (t *txn) received(id delivery.DeviceID, welcome delivery.WelcomeID) (*device, []*mail, error) {
	d, w := t.device(id), t.welcomeByID(welcome)
	if d == nil || d.removed || w == nil {
		return nil, nil, delivery.ErrNotFound
	}
	mails := t.mailsOf(d, w.number)
	if len(mails) == 0 {
		return nil, nil, delivery.ErrNotFound
	}
	return d, mails, nil
}
