package store

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// seenExact is by how much the last-seen time of a device may be too early if it only asks. So
// an idle device costs one commit in this time.
const seenExact = 24 * time.Hour

// Claim implements delivery.Store.
func (s *Store) Claim(ctx context.Context, caller delivery.Caller, id delivery.DeviceID, opts delivery.ClaimOptions) (delivery.ClaimResult, error) {
	c := claim{id: id, filter: newClaimFilter(opts), room: opts.Room}
	err := errFoundDamage
	for errors.Is(err, errFoundDamage) {
		for _, f := range c.found { // whether or not it ends now, it is not given
			_ = s.endDamaged(ctx, f)
		}
		err = s.doAs(ctx, caller, &Event{Look: c.look, Run: c.apply})
	}
	if (errors.Is(err, delivery.ErrFull) || errors.Is(err, delivery.ErrClock)) && len(c.looked.fresh) == 0 {
		// A full disk or an impossible time keeps us from taking notes, not the
		// device from what it was given.
		c.plan = c.looked
		c.plan.noted = nil
		err = s.settled(ctx)
	}
	if err != nil {
		return delivery.ClaimResult{}, err
	}
	return c.result(), nil
}

// errFoundDamage: a claim has found damaged data, which has to end before the claim is decided.
var errFoundDamage = errors.New("something of what waits is damaged")

// A claim is a claim in progress. What it delivers does not change until it is settled. So the
// claim reads it and compares its checksums outside the writer, before it is decided.
type claim struct {
	id      delivery.DeviceID
	filter  claimFilter
	room    func(int) error
	looked  claimPlan // outside the writer
	plan    claimPlan
	fetched map[recipientKey]delivery.Delivery
	found   []damagedRecipient // in the last look
}

// look finds out what the claim would do. If it finds damaged data, it makes the plan again
// without that, until it has found all of it.
func (c *claim) look(t *Txn) (changes bool, err error) {
	c.found = nil
	t.aheadOfDevice(c.id, nil, func(w *Wanted, number uint64) { w.mailbox(number, 0) })
	d := t.device(c.id)
	t.aheadOfClaim(d, &c.filter)
	for {
		c.planFor(t, d)
		c.looked = c.plan
		sound, err := c.fetch(t)
		if err == nil && sound && len(c.found) > 0 {
			err = errFoundDamage
		}
		if err != nil || sound {
			return c.plan.changes, err
		}
	}
}

func (c *claim) planFor(t *Txn, d *device) {
	c.plan = t.planClaim(d, c.filter)
	for _, key := range c.plan.broken {
		c.foundDamage(key, false)
	}
}

// foundDamage notes a damaged recipient: plans leave it out from now on.
func (c *claim) foundDamage(key recipientKey, shared bool) {
	c.found = append(c.found, damagedRecipient{recipientPlace{c.plan.device.number, key}, shared})
	if c.filter.damaged == nil {
		c.filter.damaged = make(map[recipientKey]bool)
	}
	c.filter.damaged[key] = true
}

// apply carries out what look has decided, if nothing of the device has changed since. It does
// not look again itself: a device may have thousands of Welcomes that wait or are withheld.
func (c *claim) apply(t *Txn) error {
	d, looked := t.sameDevice(c.looked.device, c.id), c.looked.device
	if d == nil || looked == nil || d.number != looked.number || d.changes != looked.changes {
		return ErrMoved
	}
	c.plan = c.looked.copyFor(d)
	t.claim(c.plan)
	return nil
}

// sameDevice is device, without the look-up by name if the device is already known.
func (t *Txn) sameDevice(known *device, id delivery.DeviceID) *device {
	if known != nil {
		if d := t.deviceByNumber(known.number); d != nil && d.id == id && !d.removed {
			return d
		}
	}
	return t.device(id)
}

// fetch reads what the plan delivers, except what was read before. It reports whether all of it
// is sound.
func (c *claim) fetch(t *Txn) (sound bool, err error) {
	given := c.plan.given()
	if c.fetched == nil {
		c.fetched = make(map[recipientKey]delivery.Delivery, len(given))
	}
	missing := slices.DeleteFunc(slices.Clone(given), func(m *recipient) bool { _, ok := c.fetched[m.recipientKey]; return ok })
	size := int64(0)
	for _, m := range missing {
		size += m.size
	}
	if c.room != nil && size > 0 {
		if err := c.room(int(size)); err != nil {
			return false, err
		}
	}
	sound = true
	for _, m := range missing {
		d, damage := t.delivery(m)
		if damage != none {
			c.foundDamage(m.recipientKey, damage == ofAll)
			sound = false
			continue
		}
		c.fetched[m.recipientKey] = d
	}
	return sound, nil
}

// result is the answer.
func (c *claim) result() delivery.ClaimResult {
	p := &c.plan
	r := delivery.ClaimResult{More: p.more, Withheld: len(p.withheld), NewlyWithheld: len(p.noted), Stock: p.stock, Unsettled: p.unsettled, Exists: p.device != nil}
	for i, m := range p.given() {
		if d, ok := c.fetched[m.recipientKey]; ok {
			d.RedeliveredUntil, d.Redelivered = m.rec.Until, i >= len(p.fresh)
			r.Deliveries = append(r.Deliveries, d)
		}
	}
	return r
}

// A claimFilter has the options of a claim in a form that is fast to compare with thousands of
// recipients.
type claimFilter struct {
	refs  map[mls.KeyPackageRef]bool // nil: no filter
	skip  map[delivery.WelcomeID]bool
	max   int
	bytes int64

	newOnly bool
	damaged map[recipientKey]bool // found so far: neither given nor counted
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

// notesAtOnce is how many Welcomes one claim notes as withheld. A device may have thousands;
// later claims note the others.
const notesAtOnce = 250

// A claimPlan is what a claim will do, decided before anything is written.
type claimPlan struct {
	device   *device
	fresh    []*recipient // given for the first time
	again    []*recipient // given before, not settled
	withheld []*recipient // the device holds no key for
	// unsettled names what would have been given again.
	unsettled []delivery.Unsettled
	noted     []*recipient   // withheld that never were before, at most notesAtOnce of them
	broken    []recipientKey // their states cannot be read, or their KeyPackages cannot be consumed
	more      bool
	reorder   bool // some of those given before had no room: the next claim begins with them
	overdue   int  // left pending
	changes   bool
	stock     delivery.Stock
}

// copyFor returns a copy of the plan whose recipients can be changed without changing this
// plan.
func (p claimPlan) copyFor(d *device) claimPlan {
	p.device = d
	p.fresh, p.again, p.noted = copyRecipients(p.fresh), copyRecipients(p.again), copyRecipients(p.noted)
	return p
}

func copyRecipients(recipients []*recipient) []*recipient {
	copies := make([]*recipient, len(recipients))
	for i, m := range recipients {
		own := *m
		copies[i] = &own
	}
	return copies
}

// given returns the recipients that the claim delivers, new ones first.
func (p *claimPlan) given() []*recipient {
	if len(p.again) == 0 {
		return p.fresh
	}
	return slices.Concat(p.fresh, p.again)
}

func (t *Txn) planClaim(d *device, f claimFilter) (plan claimPlan) {
	if d == nil {
		plan.stock = t.stock(nil)
		return plan
	}
	plan.device, plan.stock = d, t.stock(d)
	room := claimRoom{recipients: f.max, bytes: f.bytes}
	for _, m := range t.claimable(d, rowPending, f, &plan) {
		if t.wanted(d, m, f, &plan) {
			plan.fresh = appendIfRoom(plan.fresh, m, &room)
		}
	}
	for _, m := range t.claimable(d, rowDelivered, f, &plan) {
		if t.wanted(d, m, f, &plan) {
			before := len(plan.again)
			plan.again = appendIfRoom(plan.again, m, &room)
			plan.reorder = plan.reorder || len(plan.again) == before
		}
	}
	plan.more = room.refused
	if f.newOnly && len(plan.fresh) == 0 {
		for _, m := range plan.again {
			if w := t.header(m.welcome); w != nil { // else it was not read yet, and is damaged
				plan.unsettled = append(plan.unsettled, delivery.Unsettled{ID: w.id, Ref: t.refOf(d, m)})
			}
		}
		plan.again, plan.more = nil, false
	}
	plan.reorder = plan.reorder && len(plan.again) > 0
	plan.overdue = d.pending - len(plan.fresh)
	plan.changes = len(plan.fresh) > 0 || len(plan.noted) > 0 || plan.reorder || plan.overdue != d.overdue || t.seenLong(d)
	return plan
}

// seenLong reports whether the device's last-seen time has to be written again: because it is
// old, or because a wrong clock set it to the future.
func (t *Txn) seenLong(d *device) bool {
	since := t.now.Sub(d.seenAt)
	return since < 0 || since >= seenExact
}

// claimable returns the device's recipients of a kind, except those that were found damaged. A
// recipient whose row cannot be read will be ended, and so will one whose KeyPackage is
// missing: the device gets the others.
func (t *Txn) claimable(d *device, kind byte, f claimFilter, plan *claimPlan) []*recipient {
	recipients, unreadable := t.readRecipients(d, kind)
	for _, key := range unreadable {
		if !f.damaged[key] {
			plan.broken = append(plan.broken, key)
		}
	}
	return slices.DeleteFunc(recipients, func(m *recipient) bool {
		if f.damaged[m.recipientKey] {
			return true
		}
		if t.opens(d, m) {
			return false
		}
		plan.broken = append(plan.broken, m.recipientKey)
		return true
	})
}

// opens reports whether the recipient's KeyPackage is there to be consumed, or was consumed by
// it. Only in a damaged file it is not.
func (t *Txn) opens(d *device, m *recipient) bool {
	k := t.keyPackage(d, m.kp)
	return k != nil && (k.rec.LastResort || m.rec.State == delivery.Delivered || k.rec.State == delivery.Matched)
}

// wanted applies the filters of a claim and notes what the device cannot open.
func (t *Txn) wanted(d *device, m *recipient, f claimFilter, plan *claimPlan) bool {
	if len(f.skip) > 0 {
		if w := t.header(m.welcome); w != nil && f.skip[w.id] {
			return false
		}
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

func (t *Txn) refOf(d *device, m *recipient) mls.KeyPackageRef {
	k := t.keyPackage(d, m.kp)
	if k == nil {
		panic(ErrCorrupt)
	}
	return k.rec.Ref
}

// A claimRoom is the room that an answer has left. One Welcome always fits.
type claimRoom struct {
	recipients int
	bytes      int64
	used       bool
	refused    bool
}

func orUnlimited(n int) int {
	if n <= 0 {
		return math.MaxInt
	}
	return n
}

func appendIfRoom(recipients []*recipient, m *recipient, room *claimRoom) []*recipient {
	if room.refused || room.recipients == 0 || room.used && m.size > room.bytes {
		room.refused = true
		return recipients
	}
	room.used = true
	room.recipients--
	room.bytes -= m.size
	return append(recipients, m)
}

// claim carries out a plan: it consumes the KeyPackages and marks the Welcomes as delivered.
func (t *Txn) claim(plan claimPlan) {
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
		t.saveRecipient(d, m)
	}
	if plan.reorder {
		for _, m := range plan.again {
			m.order = t.next()
			t.saveRecipient(d, m)
		}
	}
	for _, m := range plan.noted {
		m.rec.WithheldAt = t.now
		t.saveRecipient(d, m)
	}
	d.overdue, d.claimed = plan.overdue, t.rows.Last()
	t.touch(d)
}

// A damage says which recipients damaged data concerns.
type damage byte

const (
	none  damage = iota
	ofOne        // the recipient
	ofAll        // who have the Welcome in common
)

// delivery returns what the device gets of a recipient, unless a part of it is damaged.
func (t *Txn) delivery(m *recipient) (d delivery.Delivery, found damage) {
	w := t.header(m.welcome)
	if w == nil || !t.loadGroupInfo(w) {
		return d, ofAll
	}
	r := t.postedRecipient(m.recipientKey)
	if r.lost || r.damaged || len(r.secret) == 0 {
		return d, ofOne
	}
	m.from, m.ref = &source{w.id, w.poster}, r.ref // its event need not look them up again
	d = delivery.Delivery{
		ID: w.id, Ref: r.ref, PostedAt: w.postedAt, Context: cloneBytes(w.context),
		Welcome:         mls.SliceWelcome(w.suite, r.encoded(), w.groupInfo),
		RatchetTreeSize: w.treeSize,
	}
	if !strings.Contains(w.poster, "/") {
		d.PostedBy = delivery.UserID(w.poster)
	}
	if w.treeSize > 0 && w.treeSize <= delivery.TreeInline {
		if d.RatchetTree = t.tree(w); d.RatchetTree == nil {
			return d, ofAll
		}
	}
	return d, none
}

// loadGroupInfo reads the encrypted_group_info and reports whether it is what was posted.
func (t *Txn) loadGroupInfo(w *welcome) bool {
	sound := !w.damaged
	if w.apart {
		var whole bool
		w.groupInfo, whole = t.payload(w.number, partGroupInfo)
		sound = sound && whole && (w.infoSize == 0 || len(w.groupInfo) == w.infoSize)
	}
	return sound && len(w.groupInfo) > 0
}

// tree reads the ratchet tree that came with a Welcome; nil if it is not what was posted. Rows
// without checksums are compared by the hash of the tree.
func (t *Txn) tree(w *welcome) []byte {
	tree, sound := t.payload(w.number, partTree)
	if !sound || len(tree) != w.treeSize || !t.summed(w.number) && !bytes.Equal(treeHash(tree), w.treeHash) {
		return nil
	}
	return tree
}

// RatchetTree implements delivery.Store.
func (s *Store) RatchetTree(ctx context.Context, caller delivery.Caller, id delivery.DeviceID, welcome delivery.WelcomeID) (tree []byte, err error) {
	var found damagedRecipient
	err = s.viewAs(ctx, caller, func(t *Txn) error {
		d, recipients, err := t.received(id, welcome)
		if err != nil {
			return err
		}
		t.ahead(func(w *Wanted) { w.begins(kindWelcomes, partKey(recipients[0].welcome, partTree), 0) })
		given := slices.IndexFunc(recipients, func(m *recipient) bool { return !m.rec.DeliveredAt.IsZero() })
		if given < 0 {
			return delivery.ErrNotDelivered
		}
		w := t.welcome(recipients[0].welcome)
		if w != nil && (w.treeSize == 0 || !t.hasPayload(w)) {
			return delivery.ErrNotFound
		}
		if w != nil {
			tree = t.tree(w)
		}
		if tree == nil {
			found = damagedRecipient{recipientPlace{d.number, recipients[given].recipientKey}, true}
			return delivery.ErrDamaged
		}
		return nil
	})
	if errors.Is(err, delivery.ErrDamaged) {
		_ = s.endDamaged(ctx, found) // the next who comes for it tries again
	}
	return tree, err
}

// hasPayload reports whether the payload of a Welcome has not been put away.
func (t *Txn) hasPayload(w *welcome) bool {
	return w.open > 0 || w.apart || len(w.groupInfo) > 0 || w.damaged
}

// received returns a device and its recipients of one Welcome, at least one.
func (t *Txn) received(id delivery.DeviceID, welcome delivery.WelcomeID) (*device, []*recipient, error) {
	t.aheadOfReceived(id, welcome)
	d, number := t.device(id), t.welcomeNumber(welcome)
	if d == nil || number == 0 {
		return nil, nil, delivery.ErrNotFound
	}
	recipients := t.recipientsOf(d, number)
	if len(recipients) == 0 {
		return nil, nil, delivery.ErrNotFound
	}
	return d, recipients, nil
}
