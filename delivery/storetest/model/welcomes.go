package model

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// post is Post, and what it would do if it is a dry run.
func (b *book) post(caller delivery.Caller, p delivery.Posting) (delivery.Outcome, error) {
	id := delivery.IDOf(caller, p.Welcome.Bytes())
	if l := b.welcome(id); l != nil {
		return b.postAgain(l, p)
	}
	if len(p.Welcome.Secrets) > b.limits.RecipientsPerWelcome {
		return delivery.Outcome{}, delivery.ErrTooMany
	}
	recipients, matched := b.judge(caller, p)
	o := delivery.Outcome{ID: id, PostedAt: b.now, Hold: p.Hold, RequireAll: p.RequireAll}
	for _, e := range recipients {
		o.Recipients = append(o.Recipients, b.verdictFor(e, p.Hold))
	}
	switch {
	case matched == 0, p.RequireAll && matched < len(recipients):
		return delivery.Outcome{}, &delivery.NoMatchError{Recipients: o.Recipients}
	case p.DryRun:
		return o, nil
	}
	l := &welcome{id: id, poster: caller, posting: p, postedAt: b.now, recipients: recipients}
	b.welcomes = append(b.welcomes, l)
	for _, e := range recipients {
		if e.verdict == "" {
			b.match(l, e)
		}
	}
	was := o.Recipients
	o = b.outcome(l)
	for i := range o.Recipients {
		o.Recipients[i].Owner = was[i].Owner
	}
	return o, nil
}

func (b *book) postAgain(l *welcome, p delivery.Posting) (delivery.Outcome, error) {
	was := l.posting
	sameTree := (was.RatchetTree == nil) == (p.RatchetTree == nil) && bytes.Equal(was.RatchetTree, p.RatchetTree)
	switch {
	case l.cancelled:
		return delivery.Outcome{}, delivery.ErrCancelled
	case was.Hold != p.Hold, was.RequireAll != p.RequireAll, !sameTree, !bytes.Equal(was.Context, p.Context):
		return delivery.Outcome{}, delivery.ErrPostedDifferently
	}
	o := b.outcome(l)
	o.Repeated = true
	return o, nil
}

// judge decides for each recipient and counts those that match.
func (b *book) judge(caller delivery.Caller, p delivery.Posting) (recipients []*recipient, matched int) {
	coming := map[delivery.DeviceID]int{}
	for _, secret := range p.Welcome.Secrets {
		e := &recipient{ref: secret.NewMember}
		recipients = append(recipients, e)
		k := b.find(e.ref)
		if k == nil {
			e.verdict = delivery.StatusUnknown
			continue
		}
		e.verdict = b.verdict(k, caller, p.Welcome.CipherSuite)
		if e.verdict == "" && b.mailboxFull(k.owner, coming[k.owner]) {
			e.verdict = delivery.StatusMailboxFull
		}
		if e.verdict == "" || caller.ID() != "" && k.reservedBy == caller.ID() {
			e.device = &k.owner
		}
		if e.verdict == "" {
			coming[k.owner]++
			matched++
		}
		if e.verdict == delivery.StatusTaken || e.verdict == delivery.StatusConsumed {
			e.by = b.takenBy(k, caller)
		}
	}
	return recipients, matched
}

func (b *book) verdict(k *keyPackage, caller delivery.Caller, suite mls.CipherSuite) delivery.Status {
	state := k.stateAt(b.sure)
	switch {
	case k.item.Suite != suite:
		return delivery.StatusWrongSuite
	case state == delivery.Matched:
		return delivery.StatusTaken
	case state == delivery.Consumed:
		return delivery.StatusConsumed
	case state == delivery.Expired:
		return delivery.StatusExpired
	case state == delivery.Withdrawn:
		return delivery.StatusWithdrawn
	case state == delivery.Reserved && k.reservedBy != "" && caller.ID() != "" && caller.ID() != k.reservedBy:
		return delivery.StatusTaken
	case !b.limits.MatchReserved, k.item.LastResort && !k.handedOut.IsZero():
		return ""
	case k.forgotten:
		return "" // who has reserved it is not known
	case k.item.LastResort, state != delivery.Reserved:
		return delivery.StatusNotReserved
	case caller.ID() != "" && caller.ID() != k.reservedBy:
		return delivery.StatusNotReserved
	}
	return ""
}

// takenBy is the Welcome that took a KeyPackage, if the caller may know.
func (b *book) takenBy(k *keyPackage, caller delivery.Caller) *delivery.WelcomeID {
	if k.welcome == nil {
		return nil
	}
	l := b.welcome(*k.welcome)
	if l == nil || caller.ID() != "" && caller.ID() != l.poster.ID() {
		return nil
	}
	return &l.id
}

// mailboxFull reports whether one more is too many in a device's mailbox when so
// many are about to come. What has had its time counts until a sweep.
func (b *book) mailboxFull(id delivery.DeviceID, coming int) bool {
	waiting, open := coming, coming
	for _, e := range b.recipients(id) {
		if e.state == delivery.Held || e.state == delivery.Pending {
			waiting++
		}
		if e.open() {
			open++
		}
	}
	return waiting >= b.limits.PendingPerDevice || open >= b.limits.OpenPerDevice
}

// owners returns whose KeyPackages these are, in the order of their texts.
func (b *book) owners(caller delivery.Caller, refs []mls.KeyPackageRef) (found []delivery.Owner) {
	for _, ref := range refs {
		if k := b.find(ref); k != nil {
			found = append(found, delivery.Owner{Device: k.owner, Reserved: caller.ID() != "" && k.reservedBy == caller.ID(), LastResort: k.item.LastResort})
		}
	}
	sortOwners(found)
	return found
}

func sortOwners(o []delivery.Owner) {
	slices.SortFunc(o, func(x, y delivery.Owner) int { return cmp.Compare(text(x), text(y)) })
}

// verdictFor is what a poster is told of a decision, and who runs the server.
func (b *book) verdictFor(e *recipient, hold bool) delivery.Recipient {
	r := delivery.Recipient{Ref: e.ref, Device: e.device, Status: e.verdict, By: e.by}
	if e.verdict == "" {
		r.Matched, r.Status = true, delivery.StatusPending
		if hold {
			r.Status = delivery.StatusHeld
		}
	} else if k := b.find(e.ref); k != nil {
		r.Owner = &k.owner
	}
	return r
}

func (b *book) match(l *welcome, e *recipient) {
	e.state, e.until = delivery.Held, b.now.Add(b.limits.WelcomeKept)
	if !l.posting.Hold {
		e.state, e.released = delivery.Pending, b.now
	}
	k := b.find(e.ref)
	if !k.item.LastResort {
		k.state = delivery.Matched
	}
	k.welcome, e.life = &l.id, k.life
}

func (b *book) outcome(l *welcome) delivery.Outcome {
	o := delivery.Outcome{ID: l.id, PostedAt: l.postedAt, Hold: l.posting.Hold, RequireAll: l.posting.RequireAll, Cancelled: l.cancelled}
	for _, e := range l.recipients {
		r := delivery.Recipient{Ref: e.ref, Device: e.device, Status: e.verdict, By: e.by}
		if e.verdict == "" {
			r.Matched, r.Status = true, e.state.Status()
			r.ReleasedAt, r.DeliveredAt, r.WithheldAt, r.EndedAt = e.released, e.delivered, e.withheld, e.ended
			r.Reason, r.Detail = e.reason, e.detail
		}
		o.Recipients = append(o.Recipients, r)
	}
	return o
}

// posted returns a Welcome to its poster.
func (b *book) posted(caller delivery.Caller, id delivery.WelcomeID) (*welcome, error) {
	l := b.welcome(id)
	if l == nil || caller.ID() != "" && caller.ID() != l.poster.ID() {
		return nil, delivery.ErrNotFound
	}
	return l, nil
}

func (b *book) outcomeFor(caller delivery.Caller, id delivery.WelcomeID) (o delivery.Outcome, err error) {
	l, err := b.posted(caller, id)
	if err != nil {
		return o, err
	}
	return b.outcome(l), nil
}

func (b *book) release(caller delivery.Caller, id delivery.WelcomeID) (o delivery.Outcome, err error) {
	l, err := b.posted(caller, id)
	if err != nil {
		return o, err
	}
	if l.cancelled {
		return o, delivery.ErrCancelled
	}
	if l.held() {
		l.released, l.overdue = true, false
		for _, e := range l.recipients {
			if e.verdict == "" && e.state == delivery.Held {
				e.state, e.released = delivery.Pending, b.now
			}
		}
	}
	return b.outcome(l), nil
}

func (b *book) cancel(caller delivery.Caller, id delivery.WelcomeID) (o delivery.Outcome, err error) {
	l, err := b.posted(caller, id)
	if err != nil {
		return o, err
	}
	if !l.cancelled {
		l.cancelled, l.overdue = true, false
		for _, e := range l.recipients {
			if s := e.state; e.verdict == "" && (s == delivery.Held || s == delivery.Pending) {
				b.takeBack(l, e)
			}
		}
	}
	return b.outcome(l), nil
}

// takeBack cancels one recipient's part. A KeyPackage that was matched is the
// poster's again.
func (b *book) takeBack(l *welcome, e *recipient) {
	e.state, e.ended, e.closed, e.overdue = delivery.Cancelled, b.now, b.now, false
	k := b.find(e.ref)
	if k.state == delivery.Matched {
		b.reserveFor(k, l.poster.ID())
	}
	b.close(k)
}

// A recipientOf is a recipient with its Welcome.
type recipientOf struct {
	*recipient
	welcome *welcome
}

func (b *book) recipientsIn(id delivery.DeviceID, state delivery.WelcomeState) (found []recipientOf) {
	for _, l := range b.welcomes {
		for _, e := range l.of(id) {
			if e.state == state {
				found = append(found, recipientOf{e, l})
			}
		}
	}
	return found
}

// claim is Claim. When all that was given before is given again, the order of the next
// redelivery stays: order matters only if some have no room.
func (b *book) claim(id delivery.DeviceID, opts delivery.ClaimOptions) (r delivery.ClaimResult) {
	for b.findDamage(id, opts) {
	}
	return b.claimSound(id, opts)
}

// findDamage ends what the device would be given and is damaged.
func (b *book) findDamage(id delivery.DeviceID, opts delivery.ClaimOptions) (found bool) {
	for _, d := range b.copy().claimSound(id, opts).Deliveries {
		l := b.welcome(d.ID)
		for _, e := range l.recipients {
			if e.ref == d.Ref && e.verdict == "" && (l.damaged || e.damaged) {
				found = true
				b.endDamaged(l, e)
			}
		}
	}
	return found
}

// endDamaged ends a Welcome for those whom the damage concerns, if there are any left.
func (b *book) endDamaged(l *welcome, of *recipient) {
	for _, e := range l.recipients {
		switch {
		case !e.open() || e != of && !l.damaged:
		case e.state == delivery.Delivered:
			b.end(e, delivery.Lapsed, b.now)
			b.noticed++
		default:
			b.takeBack(l, e)
			e.state = delivery.Damaged
			b.noticed++
		}
	}
	of.damaged, l.damaged = false, false
}

// claimSound is claim where nothing is damaged.
func (b *book) claimSound(id delivery.DeviceID, opts delivery.ClaimOptions) (r delivery.ClaimResult) {
	r.Stock = b.stock(id)
	r.Stock.Room = 0 // only publications say it
	if b.devices[id] == nil {
		return r
	}
	r.Exists = true
	fresh := b.wanted(b.recipientsIn(id, delivery.Pending), opts, &r)
	again := b.recipientsIn(id, delivery.Delivered)
	slices.SortStableFunc(again, func(x, y recipientOf) int { return cmp.Compare(x.lastGiven, y.lastGiven) })
	again = b.wanted(again, opts, &r)
	newOnly := opts.NewOnly && len(fresh) == 0
	room := len(fresh) + len(again)
	if opts.Max > 0 {
		room = min(room, opts.Max)
	}
	if opts.Bytes == 1 {
		room = min(room, 1)
	}
	r.More = room < len(fresh)+len(again)
	left := len(again)
	fresh = fresh[:min(room, len(fresh))]
	again = again[:min(room-len(fresh), len(again))]
	if newOnly {
		for _, p := range again {
			r.Unsettled = append(r.Unsettled, delivery.Unsettled{ID: p.welcome.id, Ref: p.ref})
		}
		again, r.More = nil, false
	}
	for _, p := range fresh {
		b.give(p.recipient)
		r.Deliveries = append(r.Deliveries, b.deliver(p, false))
	}
	for _, p := range again { // none if newOnly
		if len(again) < left {
			b.gives++
			p.lastGiven = b.gives
		}
		r.Deliveries = append(r.Deliveries, b.deliver(p, true))
	}
	for _, e := range b.recipients(id) {
		e.overdue = e.state == delivery.Pending
	}
	b.devices[id].heard, b.devices[id].last = b.now, b.now
	return r
}

// wanted leaves out what the device has in hand and what it holds no key for.
func (b *book) wanted(all []recipientOf, opts delivery.ClaimOptions, r *delivery.ClaimResult) (wanted []recipientOf) {
	for _, p := range all {
		switch {
		case slices.Contains(opts.Skip, p.welcome.id):
		case opts.Refs == nil || slices.Contains(opts.Refs, p.ref):
			wanted = append(wanted, p)
		default:
			r.Withheld++
			if p.withheld.IsZero() {
				r.NewlyWithheld++
				p.withheld = b.now
			}
		}
	}
	return wanted
}

// give consumes the KeyPackage.
func (b *book) give(e *recipient) {
	b.gives++
	e.state, e.delivered, e.until, e.lastGiven, e.overdue = delivery.Delivered, b.now, b.now.Add(b.limits.Redelivery), b.gives, false
	if k := b.find(e.ref); !k.item.LastResort {
		b.finish(k, delivery.Consumed, b.now)
	}
}

func (b *book) deliver(p recipientOf, redelivered bool) delivery.Delivery {
	posting := p.welcome.posting
	d := delivery.Delivery{
		ID: p.welcome.id, Ref: p.ref, PostedBy: p.welcome.poster.User, PostedAt: p.welcome.postedAt, RedeliveredUntil: p.until,
		Context: posting.Context, RatchetTreeSize: len(posting.RatchetTree), Redelivered: redelivered,
	}
	for _, secret := range posting.Welcome.Secrets {
		if secret.NewMember == p.ref {
			d.Welcome = mls.SliceWelcome(posting.Welcome.CipherSuite, secret.Bytes(), posting.Welcome.EncryptedGroupInfo)
		}
	}
	if len(posting.RatchetTree) <= delivery.TreeInline {
		d.RatchetTree = posting.RatchetTree
	}
	return d
}

// given returns what was delivered, whatever became of it.
func (b *book) given() (found []recipientOf) {
	for _, l := range b.welcomes {
		for _, e := range l.recipients {
			if !e.delivered.IsZero() {
				found = append(found, recipientOf{e, l})
			}
		}
	}
	return found
}

// received returns a device's part of a Welcome.
func (b *book) received(id delivery.DeviceID, welcome delivery.WelcomeID) (*welcome, []*recipient, error) {
	l, d := b.welcome(welcome), b.devices[id]
	if d == nil || l == nil {
		return nil, nil, delivery.ErrNotFound
	}
	got := slices.DeleteFunc(l.of(id), func(e *recipient) bool { return e.life != d.life })
	if len(got) == 0 {
		return nil, nil, delivery.ErrNotFound
	}
	return l, got, nil
}

// tree is RatchetTree. Once the Welcome has ended it may be gone.
func (b *book) tree(id delivery.DeviceID, welcome delivery.WelcomeID) (tree []byte, mayBeGone bool, err error) {
	l, recipients, err := b.received(id, welcome)
	if err != nil {
		return nil, false, err
	}
	_, mayBeGone = l.ended()
	given := slices.ContainsFunc(recipients, func(e *recipient) bool { return !e.delivered.IsZero() })
	switch {
	case !given:
		return nil, false, delivery.ErrNotDelivered
	case len(l.posting.RatchetTree) == 0:
		return nil, false, delivery.ErrNotFound
	}
	return l.posting.RatchetTree, mayBeGone, nil
}

// settle is Acknowledge and Reject.
func (b *book) settle(id delivery.DeviceID, welcome delivery.WelcomeID, ref mls.KeyPackageRef, as delivery.WelcomeState, reason delivery.Reason, detail string) (settled int, err error) {
	_, recipients, err := b.received(id, welcome)
	if err != nil {
		return 0, err
	}
	b.heard(id)
	named, given := 0, 0
	for _, e := range recipients {
		if ref != "" && e.ref != ref {
			continue
		}
		named++
		if e.delivered.IsZero() {
			continue
		}
		given++
		if b.settleOne(e, as, reason, detail) {
			settled++
		}
	}
	switch {
	case named == 0:
		return 0, delivery.ErrNotFound
	case given == 0:
		return 0, delivery.ErrNotDelivered
	}
	return settled, nil
}

func (b *book) settleOne(e *recipient, as delivery.WelcomeState, reason delivery.Reason, detail string) (changed bool) {
	if e.state != delivery.Delivered && (as != delivery.Acknowledged || e.state == delivery.Acknowledged) {
		return false
	}
	e.reason, e.detail = reason, detail
	if !e.open() { // acknowledged late: all else has ended
		e.state, e.ended = as, b.now
		return true
	}
	b.end(e, as, b.now)
	if k := b.find(e.ref); reason == delivery.ReasonNoMatchingKeyPackage && k.item.LastResort {
		b.withdraw(k)
	}
	return true
}

// written has all that ended with its device be counted so.
func (b *book) written() {
	for _, k := range b.keyPackages {
		k.unswept = 0
	}
	for _, l := range b.welcomes {
		for _, e := range l.recipients {
			e.unswept = 0
		}
	}
}

// sweep is Sweep, except that it forgets no KeyPackages.
func (b *book) sweep() (r delivery.SweepResult) {
	b.swept = latest(b.swept, b.sure)
	// One that has expired is forgotten, so that no later removal revokes it.
	b.dropTokens(func(t delivery.Token) bool { return !t.Expires.IsZero() && come(t.Expires, b.sure) })
	for _, k := range b.keyPackages {
		k.unswept = 0
		b.age(k, &r)
	}
	for _, l := range b.welcomes {
		for _, e := range l.recipients {
			if e.unswept != 0 && e.state == delivery.WelcomeExpired {
				r.ExpiredUnclaimed++
			}
			e.unswept = 0
			b.ageRecipient(e, &r)
		}
	}
	var kept []*welcome
	for _, l := range b.welcomes {
		at, ended := l.ended()
		if !ended && l.held() && come(l.postedAt.Add(b.limits.HoldOverdue), b.now) {
			l.overdue = true
		}
		if ended && come(at.Add(b.limits.OutcomesKept), b.now) {
			r.ForgottenWelcomes++
			b.forgotten = append(b.forgotten, l)
			continue
		}
		kept = append(kept, l)
	}
	b.welcomes = kept
	for key, repeat := range b.repeats {
		if come(repeat.until, b.now) {
			delete(b.repeats, key)
		}
	}
	b.dropTokens(func(t delivery.Token) bool { return !t.Expires.IsZero() && come(t.Expires, b.now) })
	return r
}

func (b *book) age(k *keyPackage, r *delivery.SweepResult) {
	switch state := k.stateAt(b.sure); {
	case state == delivery.Expired && k.state != delivery.Expired:
		b.finish(k, delivery.Expired, k.usableUntil)
		r.Expired++
	case state == delivery.Retired && k.state == delivery.Available:
		k.state = delivery.Retired
		r.Retired++
	case state == delivery.Available && k.early:
		k.early = !come(endOf(k.item.Lifetime.NotBefore), b.sure)
	case state == delivery.Reserved && !k.abandoned && come(k.reserved.Add(b.limits.ReservationOverdue), b.now):
		k.abandoned = true
		r.Abandoned++
	}
}

func (b *book) ageRecipient(e *recipient, r *delivery.SweepResult) {
	state := e.stateAt(b.sure)
	if !e.open() || state == e.state {
		return
	}
	if state == delivery.Lapsed {
		r.Lapsed++
	} else {
		r.ExpiredUnclaimed++
	}
	b.end(e, state, e.until)
}

// forgettable says from when on a KeyPackage may be forgotten, and from when on
// a sweep must not have left it: what is forgotten need not be so to the hour,
// and its bytes are kept while a reservation can be repeated.
func (b *book) forgettable(k *keyPackage) (may, must bool) {
	if k.closed.IsZero() {
		return false, false
	}
	last := latest(endOf(k.item.Lifetime.NotAfter), k.ended.Add(b.limits.TombstoneKept), k.closed)
	last = first(last, k.ended.Add(b.limits.TombstoneKeptMost))
	bytesGone := k.closed.Add(b.limits.IdempotencyKept)
	return come(last, b.now), come(latest(last, bytesGone).Add(time.Hour), b.now)
}

func latest(times ...time.Time) (last time.Time) {
	for _, at := range times {
		if at.After(last) {
			last = at
		}
	}
	return last
}

// forget drops a KeyPackage.
func (b *book) forget(k *keyPackage) {
	b.keyPackages = slices.DeleteFunc(b.keyPackages, func(o *keyPackage) bool { return o == k })
}

// stats are those that can be counted. Rows are counted as they were last
// written.
func (b *book) stats() (s delivery.Stats) {
	s.KeyPackages, s.Welcomes = map[delivery.KeyPackageState]int{}, map[delivery.WelcomeState]int{}
	for _, state := range delivery.KeyPackageStates {
		s.KeyPackages[state] = 0
	}
	for _, state := range delivery.WelcomeStates {
		s.Welcomes[state] = 0
	}
	for _, k := range b.keyPackages {
		s.KeyPackages[k.counted()]++
	}
	b.countShelves(&s)
	b.countDevices(&s)
	s.RestoredAt = b.restoredAt
	for _, l := range b.welcomes {
		if _, ended := l.ended(); l.overdue && !ended {
			s.HoldsOverdue++
		}
		for _, e := range l.recipients {
			if e.verdict != "" {
				continue
			}
			s.Welcomes[e.counted()]++
			if e.overdue {
				s.Overdue++
			}
			if e.state == delivery.Pending && s.OldestPending.IsZero() {
				s.OldestPending = l.postedAt
			}
		}
	}
	return s
}

func (b *book) countShelves(s *delivery.Stats) {
	s.Shelves = map[mls.CipherSuite]delivery.Shelf{}
	for _, k := range b.keyPackages {
		if k.counted() != delivery.Available {
			continue
		}
		shelf := s.Shelves[k.item.Suite]
		switch {
		case k.early:
		case k.item.LastResort:
			shelf.LastResort++
		default:
			shelf.Available++
		}
		if shelf != (delivery.Shelf{}) {
			s.Shelves[k.item.Suite] = shelf
		}
		if d := b.devices[k.owner]; d != nil && d.life == k.life && (s.SoonestEnd.IsZero() || k.shelfUntil.Before(s.SoonestEnd)) {
			s.SoonestEnd = k.shelfUntil
		}
	}
}

func (b *book) countDevices(s *delivery.Stats) {
	for id := range b.devices {
		n, last := 0, 0
		for _, k := range b.of(id) {
			switch {
			case k.state != delivery.Available || k.early || k.life != b.devices[id].life:
			case k.item.LastResort:
				last++
			default:
				n++
			}
		}
		switch {
		case b.devices[id].idle:
			s.DevicesIdle++
		case n == 0 && last > 0 && !b.devices[id].only.IsZero():
			s.DevicesLastResort++
		case n == 0:
			s.DevicesEmpty++
		case n < b.limits.LowWatermark:
			s.DevicesLow++
		default:
			s.DevicesOK++
		}
	}
}
