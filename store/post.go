package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// sliceOverhead is the most that a sliced Welcome has beside its secret and its
// encrypted_group_info: the suite and the lengths of two vectors, in bytes.
const sliceOverhead = 2 + 4 + 4

// Post implements delivery.Store.
func (s *Store) Post(ctx context.Context, caller delivery.Caller, p delivery.Posting) (outcome delivery.Outcome, err error) {
	if err := caller.Valid(); err != nil {
		return outcome, err
	}
	id := delivery.IDOf(caller, p.Welcome.Bytes())
	hash := treeHash(p.RatchetTree)
	shares := newShares()
	err = s.doAs(ctx, caller, &Event{Cost: len(p.Welcome.Bytes()) + len(p.RatchetTree), Look: func(t *Txn) (changes bool, err error) {
		look := p
		look.DryRun, shares = true, newShares()
		outcome, err = t.post(caller, id, hash, look, shares)
		shares.counted = true
		return err == nil && !outcome.Repeated && !p.DryRun, err
	}, Run: func(t *Txn) error {
		outcome, err = t.post(caller, id, hash, p, shares)
		return err
	}})
	return outcome, err
}

func (t *Txn) post(caller delivery.Caller, id delivery.WelcomeID, treeHash []byte, p delivery.Posting, s *shares) (delivery.Outcome, error) {
	t.aheadOfPosting(id, p)
	if w := t.welcomeByID(id); w != nil {
		if s.counted {
			return delivery.Outcome{}, ErrMoved // since the look
		}
		return t.postAgain(w, treeHash, p)
	}
	if n := len(p.Welcome.Secrets); n > t.limits.RecipientsPerWelcome {
		return delivery.Outcome{}, fmt.Errorf("%w: %d recipients, at most %d in one Welcome", delivery.ErrTooMany, n, t.limits.RecipientsPerWelcome)
	}
	verdicts, matched := t.judge(caller, p, s)
	outcome := delivery.Outcome{ID: id, PostedAt: t.now, Hold: p.Hold, RequireAll: p.RequireAll}
	for i := range verdicts {
		outcome.Recipients = append(outcome.Recipients, verdicts[i].answer(p.Hold))
	}
	if matched == 0 || p.RequireAll && matched < len(verdicts) {
		return delivery.Outcome{}, &delivery.NoMatchError{Recipients: outcome.Recipients}
	}
	if p.DryRun {
		return outcome, nil
	}
	w := &welcome{
		number: t.next(), id: id, poster: caller.ID(), suite: p.Welcome.CipherSuite, recipients: len(verdicts),
		hold: p.Hold, requireAll: p.RequireAll, postedAt: t.now,
		treeSize: len(p.RatchetTree), treeHash: treeHash, context: p.Context, groupInfo: p.Welcome.EncryptedGroupInfo,
		postedState: postedState{open: matched},
	}
	t.addWelcome(w, p)
	for i := range verdicts {
		outcome.Recipients[i].ReleasedAt = t.addRecipient(w, i, &verdicts[i], p)
	}
	return outcome, nil
}

// postAgain answers the post of a Welcome that was posted before.
func (t *Txn) postAgain(w *welcome, treeHash []byte, p delivery.Posting) (delivery.Outcome, error) {
	if !w.cancelledAt.IsZero() {
		return delivery.Outcome{}, delivery.ErrCancelled
	}
	err := delivery.PostedDifferently(w.hold != p.Hold, w.requireAll != p.RequireAll, !bytes.Equal(w.treeHash, treeHash), !w.damaged && !w.noContext && !bytes.Equal(w.context, p.Context))
	if err != nil {
		return delivery.Outcome{}, err
	}
	outcome := t.outcome(w)
	outcome.Repeated = true
	return outcome, nil
}

// A verdict is the decision of a post about one recipient.
type verdict struct {
	status delivery.Status // empty if it matches
	ref    mls.KeyPackageRef
	device *device // nil if the ref is unknown
	kp     *keyPackage
	show   bool // the poster may know the device
	by     delivery.WelcomeID
	size   int64
}

func (v *verdict) answer(hold bool) delivery.Recipient {
	r := delivery.Recipient{Ref: v.ref, Status: v.status}
	if v.show {
		id := v.device.id
		r.Device = &id
	}
	if v.by != (delivery.WelcomeID{}) {
		by := v.by
		r.By = &by
	}
	switch {
	case v.status != "" && v.device != nil:
		owner := v.device.id
		r.Owner = &owner
	case v.status == "":
		r.Matched, r.Status = true, delivery.StatusPending
		if hold {
			r.Status = delivery.StatusHeld
		}
	}
	return r
}

// judge decides about each recipient, and counts those that match.
func (t *Txn) judge(caller delivery.Caller, p delivery.Posting, s *shares) (verdicts []verdict, matched int) {
	boxes := make(map[uint64]*mailbox)
	shared := int64(len(p.Welcome.EncryptedGroupInfo) + len(p.RatchetTree) + len(p.Context) + sliceOverhead)
	verdicts = make([]verdict, len(p.Welcome.Secrets))
	for i, secret := range p.Welcome.Secrets {
		v := &verdicts[i]
		v.ref, v.size = secret.NewMember, shared+int64(len(secret.Bytes()))
		t.match(caller, p.Welcome.CipherSuite, v)
		if v.status != "" {
			continue
		}
		box := boxes[v.device.number]
		if box == nil {
			box = &mailbox{device: v.device}
			boxes[v.device.number] = box
		}
		if t.mailboxFull(caller, box, v.size, s) {
			v.status = delivery.StatusMailboxFull
			v.show = t.reservedBy(caller, v.kp)
			continue
		}
		box.coming.add(v.size)
		v.show = true
		matched++
	}
	return verdicts, matched
}

// A mailbox has what waits for a device while a post is decided: what is there, and what this
// post adds.
type mailbox struct {
	device *device
	coming load
}

// shares says how much of each mailbox is from one poster, by the number of the device. It is
// counted outside the writer, and only if a look has found that it may be too much.
type shares struct {
	of      map[uint64]load
	counted bool // all that have to be
}

func newShares() *shares { return &shares{of: make(map[uint64]load)} }

// A load is a number of Welcomes, and their bytes.
type load struct {
	count int
	bytes int64
}

func (l *load) add(size int64) { l.count, l.bytes = l.count+1, l.bytes+size }

// over reports whether one more of that size exceeds count or bytes.
func (l load) over(size int64, count int, bytes int64) bool {
	return l.count >= count || l.bytes+size > bytes
}

// mailboxFull reports whether the device's mailbox has no room for one more Welcome of that
// size from the caller.
func (t *Txn) mailboxFull(caller delivery.Caller, box *mailbox, size int64, s *shares) bool {
	l, d := t.limits, box.device
	all := load{d.waiting + box.coming.count, d.waitingBytes + box.coming.bytes}
	return all.over(size, l.PendingPerDevice, l.PendingBytesPerDevice) || all.count+d.delivered >= l.OpenPerDevice ||
		all.over(size, l.PendingPerPoster, l.PendingBytesPerPoster) && t.shareFull(caller, box, size, s)
}

// shareFull reports whether a user would take more than their share of the mailbox of somebody
// else. Held Welcomes count, because the device cannot even claim them. There is no share for
// posts to one's own devices, for services, and for callers without an identity.
func (t *Txn) shareFull(caller delivery.Caller, box *mailbox, size int64, s *shares) bool {
	d := box.device
	if caller.User == "" || caller.User == d.id.User {
		return false
	}
	share, known := s.of[d.number]
	if !known && !s.counted {
		for _, m := range slices.Concat(t.recipients(d, rowPending), t.recipients(d, rowHeld)) {
			if w := t.header(m.welcome); w == nil || w.poster == caller.ID() {
				share.add(m.size)
			}
		}
		s.of[d.number] = share
	}
	share.count, share.bytes = share.count+box.coming.count, share.bytes+box.coming.bytes
	return share.over(size, t.limits.PendingPerPoster, t.limits.PendingBytesPerPoster)
}

func (t *Txn) match(caller delivery.Caller, suite mls.CipherSuite, v *verdict) {
	v.device, v.kp = t.refOwner(v.ref)
	if v.kp == nil {
		v.status = delivery.StatusUnknown
		return
	}
	v.status = v.kp.rec.Match(*t.limits, suite, caller, t.sure)
	v.show = t.reservedBy(caller, v.kp)
	if v.status != delivery.StatusTaken && v.status != delivery.StatusConsumed {
		return
	}
	if took := t.matching(v.kp); took != nil && caller.May(took.poster) {
		v.by = took.id
	}
}

func (t *Txn) reservedBy(caller delivery.Caller, k *keyPackage) bool {
	return !caller.Unrestricted() && k.rec.ReservedBy == caller.ID()
}

func (t *Txn) addWelcome(w *welcome, p delivery.Posting) {
	if len(w.groupInfo) > payloadPiece {
		t.putPayload(w.number, partGroupInfo, w.groupInfo)
		w.infoSize, w.groupInfo, w.apart = len(w.groupInfo), nil, true
	}
	t.putHeader(w)
	t.saveWelcome(w)
	t.put(kindWelcomeIDs, w.id[:welcomeIDPrefix], numberKey(w.number))
	t.putPayload(w.number, partTree, p.RatchetTree)
	if w.hold {
		t.setTimer(timerHold, t.now.Add(t.limits.HoldOverdue), numberKey(w.number))
	}
}

// addRecipient writes a recipient. It returns since when the recipient can claim the Welcome;
// zero if it cannot yet.
func (t *Txn) addRecipient(w *welcome, index int, v *verdict, p delivery.Posting) (releasedAt time.Time) {
	key := recipientKey{w.number, uint32(index)}
	row := &postedRecipient{verdict: v.status, ref: v.ref, by: v.by}
	if v.show {
		row.device = v.device.number
	}
	if v.status == "" {
		row.secret = afterRef(p.Welcome.Secrets[index])
		releasedAt = t.addMatched(w, key, v)
	}
	t.putPostedRecipient(key, row)
	return releasedAt
}

// addMatched writes a recipient that matched. From then on the KeyPackage and the recipient end
// together.
func (t *Txn) addMatched(w *welcome, key recipientKey, v *verdict) (releasedAt time.Time) {
	rec := t.limits.NewRecipientRecord(w.hold, t.now)
	t.saveRecipient(v.device, &recipient{recipientKey: key, rec: rec, kp: v.kp.keyPackageKey, size: v.size, order: t.next()})
	if !v.kp.rec.LastResort {
		v.kp.rec.State = delivery.Matched
	}
	v.kp.recipient = key
	v.kp.rec.Open++
	t.saveKeyPackage(v.device, v.kp)
	if !w.hold {
		t.woken = append(t.woken, v.device.id)
	}
	return rec.ReleasedAt
}

// Outcome implements delivery.Store.
func (s *Store) Outcome(ctx context.Context, caller delivery.Caller, id delivery.WelcomeID) (outcome delivery.Outcome, err error) {
	err = s.viewAs(ctx, caller, func(t *Txn) error {
		w, err := t.posted(caller, id)
		if err == nil {
			outcome = t.outcome(w)
		}
		return err
	})
	return outcome, err
}

// posted returns a Welcome if the caller has posted it.
func (t *Txn) posted(caller delivery.Caller, id delivery.WelcomeID) (*welcome, error) {
	t.aheadOfWelcome(id)
	w := t.welcomeByID(id)
	if w == nil || !caller.May(w.poster) {
		return nil, delivery.ErrNotFound
	}
	return w, nil
}

// Release implements delivery.Store.
func (s *Store) Release(ctx context.Context, caller delivery.Caller, id delivery.WelcomeID) (delivery.Outcome, error) {
	return s.endHold(ctx, caller, id, release)
}

// Cancel implements delivery.Store.
func (s *Store) Cancel(ctx context.Context, caller delivery.Caller, id delivery.WelcomeID) (delivery.Outcome, error) {
	return s.endHold(ctx, caller, id, cancel)
}

// A holdEnd is how a hold ends: by a release or by a cancellation.
type holdEnd struct {
	due   func(*welcome) (bool, error)     // whether it changes the Welcome
	of    func(delivery.WelcomeState) bool // the recipients that it is for, by their states
	apply func(*Txn, *welcome, []recipientPlace)
	frees bool // it changes their KeyPackages
}

var (
	release = holdEnd{
		due: func(w *welcome) (bool, error) {
			if !w.cancelledAt.IsZero() {
				return false, delivery.ErrCancelled
			}
			return w.held(), nil
		},
		of:    func(s delivery.WelcomeState) bool { return s == delivery.Held },
		apply: (*Txn).release,
	}
	cancel = holdEnd{
		due:   func(w *welcome) (bool, error) { return w.cancelledAt.IsZero(), nil },
		of:    func(s delivery.WelcomeState) bool { return s == delivery.Held || s == delivery.Pending },
		apply: (*Txn).cancel,
		frees: true,
	}
)

// endHold finds out, outside the writer, which recipients the release or cancellation concerns:
// a Welcome may have thousands. No recipient becomes held again, nor pending after it was
// neither held nor pending. So no other recipient can be concerned when the writer runs.
func (s *Store) endHold(ctx context.Context, caller delivery.Caller, id delivery.WelcomeID, end holdEnd) (outcome delivery.Outcome, err error) {
	var places []recipientPlace
	applied := false
	err = s.doAs(ctx, caller, &Event{Look: func(t *Txn) (changes bool, err error) {
		w, err := t.posted(caller, id)
		if err != nil {
			return false, err
		}
		if changes, err = end.due(w); changes {
			if places = t.recipientPlaces(w.number, end.of); end.frees {
				t.aheadOfKeyPackages(places)
			}
		} else if err == nil {
			outcome = t.outcome(w)
		}
		return changes, err
	}, Run: func(t *Txn) error {
		w, err := t.posted(caller, id)
		if err != nil {
			return err
		}
		if changes, err := end.due(w); err != nil || !changes {
			return ErrMoved
		}
		end.apply(t, w, places)
		applied = true
		return nil
	}})
	if err == nil && applied {
		err = s.viewCommitted(ctx, func(t *Txn) error {
			w, err := t.posted(caller, id)
			if err == nil {
				outcome = t.outcome(w)
			}
			return err
		})
	}
	return outcome, err
}

func (t *Txn) release(w *welcome, held []recipientPlace) {
	w.releasedAt = t.now
	t.uncountHold(w)
	t.saveWelcome(w)
	for _, p := range held {
		d, m := t.recipientAt(p)
		if m == nil || m.rec.State != delivery.Held {
			continue
		}
		m.rec.Release(t.now)
		m.order = t.next()
		t.saveRecipient(d, m)
		t.woken = append(t.woken, d.id)
	}
}

func (t *Txn) cancel(w *welcome, waiting []recipientPlace) {
	w.cancelledAt = t.now
	t.uncountHold(w)
	t.saveWelcome(w)
	for _, p := range waiting {
		d, m := t.recipientAt(p)
		if m == nil || m.rec.State != delivery.Held && m.rec.State != delivery.Pending {
			continue
		}
		m.rec.End(delivery.Cancelled, t.now)
		t.saveRecipient(d, m)
		t.settled(m)
		k := t.keyPackage(d, m.kp)
		if k == nil {
			continue // it cannot be read
		}
		k.rec.Open--
		if k.rec.State == delivery.Matched {
			k.rec.Reserve(*t.limits, w.poster, t.now)
		}
		t.saveKeyPackage(d, k)
	}
}
