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
func (s *Store) Claim(ctx context.Context, caller delivery.Caller, id delivery.DeviceID, opts delivery.ClaimOptions) (delivery.ClaimResult, error) {
	c := claim{id: id, filter: newClaimFilter(opts), room: opts.Room}
	apply := c.apply
	for n := 1; ; n++ {
		seen, err := s.readAs(ctx, caller, c.look)
		if err != nil {
			if waitErr := s.writer.wait(seen); waitErr != nil {
				err = waitErr
			}
			return delivery.ClaimResult{}, err
		}
		if !c.plan.changes {
			return c.result(), s.writer.wait(seen)
		}
		if n > looks {
			apply = c.consume
		}
		err = s.writer.do(ctx, 0, as(caller, apply))
		if errors.Is(err, errMoved) {
			continue
		}
		if (errors.Is(err, delivery.ErrFull) || errors.Is(err, delivery.ErrClock)) && len(c.looked.fresh) == 0 {
			// A full disk or an impossible time keeps us from taking notes, not the
			// device from what it was given.
			c.plan = c.looked
			c.plan.noted = nil
			return c.result(), s.writer.wait(seen)
		}
		if err != nil {
			return delivery.ClaimResult{}, err
		}
		if !c.ready() {
			err = s.viewCommitted(ctx, c.fetch)
		}
		return c.result(), err
	}
}

// A claim is one on its way. What it delivers never changes and stays until it
// is settled, so it is read outside the writer: before the claim is decided, or
// after, if it was not foreseen.
type claim struct {
	id      delivery.DeviceID
	filter  claimFilter
	room    func(int) error
	looked  claimPlan // outside the writer
	plan    claimPlan
	fetched map[mailKey]delivery.Delivery
}

// look finds out what the claim would do, in a transaction that only reads.
func (c *claim) look(t *txn) error {
	c.plan = t.planClaim(t.device(c.id), c.filter)
	c.looked = c.plan
	return c.fetch(t)
}

// apply carries out what look has decided, if nothing of the device has changed
// since: a device may have thousands of Welcomes that wait or are withheld.
func (c *claim) apply(t *txn) error {
	d, looked := t.sameDevice(c.looked.device, c.id), c.looked.device
	if d == nil || looked == nil || d.number != looked.number || d.changes != looked.changes {
		return errMoved
	}
	c.plan = c.looked.copyFor(d)
	t.claim(c.plan)
	return nil
}

// consume decides in the writer, and carries it out.
func (c *claim) consume(t *txn) error {
	c.plan = t.planClaim(t.sameDevice(c.plan.device, c.id), c.filter)
	t.claim(c.plan)
	return nil
}

// sameDevice is device without looking up the name of one that is known.
func (t *txn) sameDevice(known *device, id delivery.DeviceID) *device {
	if known != nil {
		if d := t.deviceByNumber(known.number); d != nil && d.id == id && !d.removed {
			return d
		}
	}
	return t.device(id)
}

// ready reports whether all that is delivered has been fetched.
func (c *claim) ready() bool {
	for _, m := range c.plan.given() {
		if _, ok := c.fetched[m.mailKey]; !ok {
			return false
		}
	}
	return true
}

// fetch reads what the plan delivers and was not read before.
func (c *claim) fetch(t *txn) error {
	given := c.plan.given()
	if c.fetched == nil {
		c.fetched = make(map[mailKey]delivery.Delivery, len(given))
	}
	missing := slices.DeleteFunc(slices.Clone(given), func(m *mail) bool { _, ok := c.fetched[m.mailKey]; return ok })
	size := int64(0)
	for _, m := range missing {
		size += m.size
	}
	if c.room != nil && size > 0 {
		if err := c.room(int(size)); err != nil {
			return err
		}
	}
	for _, m := range missing {
		if d, ok := t.delivery(m); ok {
			c.fetched[m.mailKey] = d
		}
	}
	return nil
}

// result is the answer. What was settled and swept since the claim is left out.
func (c *claim) result() delivery.ClaimResult {
	p := &c.plan
	r := delivery.ClaimResult{More: p.more, Withheld: len(p.withheld), NewlyWithheld: len(p.noted), Stock: p.stock, Unsettled: p.unsettled, Exists: p.device != nil}
	for i, m := range p.given() {
		if d, ok := c.fetched[m.mailKey]; ok {
			d.ExpiresAt, d.Redelivered = m.rec.Until, i >= len(p.fresh)
			r.Deliveries = append(r.Deliveries, d)
		}
	}
	return r
}

// A claimFilter is what a claim's options say, made ready for thousands of
// comparisons.
type claimFilter struct {
	refs  map[mls.KeyPackageRef]bool // nil: no filter
	skip  map[delivery.WelcomeID]bool
	max   int
	bytes int64

	newOnly bool
}

func newClaimFilter(opts delivery.ClaimOptions) claimFilter {
	f := claimFilter{max: orUnlimited(opts.Max), bytes: int64(orUnlimited(opts.Bytes)), newOnly: opts.NewOnly}
	if len(opts.Skip) > 0 {
		f.skip = make(map[delivery.WelcomeID]bool, len(opts.Skip))
	}
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

// notesAtOnce is how many Welcomes a claim notes as withheld; the next claim notes
// the others. A device may have thousands.
const notesAtOnce = 250

// A claimPlan is what a claim will do, decided before anything is written.
type claimPlan struct {
	device   *device
	fresh    []*mail // given for the first time
	again    []*mail // given before, not settled
	withheld []*mail // the device holds no key for
	// unsettled names what would have been given again.
	unsettled []delivery.Unsettled
	noted     []*mail // withheld that never were before, at most notesAtOnce of them
	more      bool
	reorder   bool // some of those given before had no room: the next claim begins with them
	overdue   int  // left pending
	changes   bool
	stock     delivery.Stock
}

// copyFor returns the plan with its own copy of what it will change.
func (p claimPlan) copyFor(d *device) claimPlan {
	p.device = d
	p.fresh, p.again, p.noted = copyMails(p.fresh), copyMails(p.again), copyMails(p.noted)
	return p
}

func copyMails(mails []*mail) []*mail {
	copies := make([]*mail, len(mails))
	for i, m := range mails {
		own := *m
		copies[i] = &own
	}
	return copies
}

// given are the mails that are delivered, new ones first.
func (p *claimPlan) given() []*mail {
	if len(p.again) == 0 {
		return p.fresh
	}
	return slices.Concat(p.fresh, p.again)
}

func (t *txn) planClaim(d *device, f claimFilter) (plan claimPlan) {
	if d == nil {
		plan.stock = t.stock(nil)
		return plan
	}
	plan.device, plan.stock = d, t.stock(d)
	room := claimRoom{mails: f.max, bytes: f.bytes}
	for _, m := range t.mails(d, rowPending) {
		if t.opens(d, m) && t.wanted(d, m, f, &plan) {
			plan.fresh = appendIfRoom(plan.fresh, m, &room)
		}
	}
	for _, m := range t.mails(d, rowDelivered) {
		if t.wanted(d, m, f, &plan) {
			before := len(plan.again)
			plan.again = appendIfRoom(plan.again, m, &room)
			plan.reorder = plan.reorder || len(plan.again) == before
		}
	}
	plan.more = room.refused
	if f.newOnly && len(plan.fresh) == 0 {
		for _, m := range plan.again {
			plan.unsettled = append(plan.unsettled, delivery.Unsettled{ID: t.idOf(m), Ref: t.refOf(d, m)})
		}
		plan.again, plan.more = nil, false
	}
	plan.reorder = plan.reorder && len(plan.again) > 0
	plan.overdue = d.pending - len(plan.fresh)
	plan.changes = len(plan.fresh) > 0 || len(plan.noted) > 0 || plan.reorder || plan.overdue != d.overdue || t.seenLong(d)
	return plan
}

// seenLong reports whether the device was last seen too long ago to be left
// so, or in a future that was wrong.
func (t *txn) seenLong(d *device) bool {
	since := t.now.Sub(d.seenAt)
	return since < 0 || since >= seenExact
}

// opens reports whether the mail's KeyPackage is there to be consumed. It always
// is; if a damaged file says otherwise, the device still gets the other Welcomes.
func (t *txn) opens(d *device, m *mail) bool {
	k := t.keyPackage(d, m.kp)
	return k != nil && (k.rec.LastResort || k.rec.State == delivery.Matched)
}

// wanted applies the filters of a claim and notes what the device cannot open.
func (t *txn) wanted(d *device, m *mail, f claimFilter, plan *claimPlan) bool {
	if len(f.skip) > 0 && f.skip[t.idOf(m)] {
		return false
	}
	if f.refs == nil || f.refs[t.refOf(d, m)] {
		return true
	}
	if m.rec.WithheldAt.IsZero() && len(plan.noted) < notesAtOnce {
		plan.noted = append(plan.noted, m)
	}
	plan.withheld = append(plan.withheld, m)
	return false
}

func (t *txn) idOf(m *mail) delivery.WelcomeID {
	w := t.header(m.welcome)
	if w == nil {
		panic(errCorrupt)
	}
	return w.id
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
	for _, m := range plan.noted {
		m.rec.WithheldAt = t.now
		t.saveMail(d, m)
	}
	d.overdue, d.claimed = plan.overdue, t.state.sequence
	t.touch(d)
}

// delivery is a mail as its device gets it; false if its bytes are gone.
func (t *txn) delivery(m *mail) (d delivery.Delivery, ok bool) {
	w := t.header(m.welcome)
	if w == nil {
		return d, false
	}
	if w.apart {
		w.groupInfo = t.payload(w.number, partGroupInfo)
	}
	if len(w.groupInfo) == 0 {
		return d, false
	}
	r := t.recipient(m.mailKey)
	d = delivery.Delivery{
		ID: w.id, Ref: r.ref, PostedAt: w.postedAt, Context: cloneBytes(w.context),
		Welcome:         mls.SliceWelcome(w.suite, r.encoded(), w.groupInfo),
		RatchetTreeSize: w.treeSize,
	}
	if !strings.Contains(w.poster, "/") {
		d.PostedBy = delivery.UserID(w.poster)
	}
	if w.treeSize > 0 && w.treeSize <= delivery.TreeInline {
		d.RatchetTree = t.payload(w.number, partTree)
	}
	return d, true
}

// RatchetTree implements delivery.Store.
func (s *Store) RatchetTree(ctx context.Context, caller delivery.Caller, id delivery.DeviceID, welcome delivery.WelcomeID) (tree []byte, err error) {
	err = s.viewAs(ctx, caller, func(t *txn) error {
		_, mails, err := t.received(id, welcome)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(mails, func(m *mail) bool { return !m.rec.DeliveredAt.IsZero() }) {
			return delivery.ErrNotDelivered
		}
		if tree = t.payload(mails[0].welcome, partTree); tree == nil {
			return delivery.ErrNotFound
		}
		return nil
	})
	return tree, err
}

// received returns the device and its part of a Welcome, at least one mail.
func (t *txn) received(id delivery.DeviceID, welcome delivery.WelcomeID) (*device, []*mail, error) {
	d, w := t.device(id), t.welcomeByID(welcome)
	if d == nil || w == nil {
		return nil, nil, delivery.ErrNotFound
	}
	mails := t.mailsOf(d, w.number)
	if len(mails) == 0 {
		return nil, nil, delivery.ErrNotFound
	}
	return d, mails, nil
}
