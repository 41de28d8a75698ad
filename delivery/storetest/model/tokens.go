package model

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"welcomed/delivery"
)

// owners are whose tokens there are.
var owners = []delivery.TokenOwner{
	{User: "alice"}, {User: "alice", Device: "phone"}, {User: "alice", Device: "tablet"}, {User: "bob"}, {Service: "app"},
}

// within draws an owner, or all of them.
func (w *world) within() delivery.TokenOwner {
	if w.oneIn(4, "within all") {
		return delivery.TokenOwner{}
	}
	return pick(w, "within", owners)
}

// credentials are those of a device, which may be bound to it.
func (w *world) credentials(d delivery.DeviceID) delivery.Caller {
	caller := self(d)
	if !w.oneIn(3, "bound") {
		return caller
	}
	caller.Bound = w.book.now
	if removed, ok := w.book.removed[d]; ok && w.oneIn(2, "since the removal") {
		caller.Bound = removed.Add(pick(w, "after it", []time.Duration{0, -time.Millisecond, time.Millisecond}))
	}
	return caller
}

func (w *world) addToken() {
	token := delivery.Token{Owner: pick(w, "owner", owners), ReadOnly: w.oneIn(3, "read-only")}
	token.Hash = sha256.Sum256(fmt.Append(nil, "token ", len(w.tokens)))
	token.ID = fmt.Sprintf("%.6x", token.Hash[:])
	if w.oneIn(2, "expires") {
		token.Expires = w.book.now.Add(pick(w, "after", []time.Duration{time.Hour, time.Millisecond, 2 * day, 40 * day}))
	}
	w.tokens = append(w.tokens, token.ID)
	before := w.book.rows()
	got, gotErr := w.store.AddToken(w.ctx, token)
	if w.tooEarly(gotErr) {
		return
	}
	want, wantErr := w.book.addToken(token)
	if gotErr == nil && wantErr != nil { // some that have expired may not be there
		w.book.dropTokens(func(t delivery.Token) bool { return w.book.unsure[t.ID] })
		want, wantErr = w.book.addToken(token)
	}
	if wantErr != nil {
		got = want // says nothing
	}
	w.happened(fmt.Sprintf("AddToken %s of %s", token.ID, token.Owner), before, got, want, gotErr, wantErr)
}

func (w *world) revokeToken() {
	if len(w.tokens) == 0 {
		return
	}
	id, within, before := pick(w, "token", w.tokens), w.within(), w.book.rows()
	gotErr := w.store.RevokeToken(w.ctx, within, id)
	if w.tooEarly(gotErr) {
		return
	}
	wantErr := w.book.revokeToken(within, id)
	if gotErr == nil {
		w.revoked = append(w.revoked, revocation{at: w.book.now, token: id})
	}
	w.happened(fmt.Sprintf("RevokeToken %s within %s", id, within), before, nil, nil, gotErr, wantErr)
}

// A revocation is that of a token, or the removal of a device.
type revocation struct {
	at     time.Time
	token  string
	device delivery.DeviceID
	byUser bool // by its user's, when it was gone
	unsure bool // it may have been one of a device that is not known
}

// noteRemovals notes what a removal has changed of these devices and their tokens.
func (w *world) noteRemovals(was *book, of []delivery.DeviceID, byUser bool) {
	for _, t := range was.tokens {
		if !slices.ContainsFunc(w.book.tokens, func(left delivery.Token) bool { return left.ID == t.ID }) {
			w.revoked = append(w.revoked, revocation{at: w.book.now, token: t.ID})
		}
	}
	known := byUser && slices.ContainsFunc(of, was.mayKnow)
	again := slices.ContainsFunc(of, func(d delivery.DeviceID) bool { return was.removedAgain(d, w.book.now) })
	for _, d := range of {
		gone := was.devices[d] == nil
		if !gone || again && (was.mayKnow(d) || known) {
			w.revoked = append(w.revoked, revocation{w.book.now, "", d, byUser && gone, gone && !was.knowsGone(d)})
		}
	}
}

// removedAgain reports whether a removal at that time may be written down as that of a
// device which had been removed before.
func (b *book) removedAgain(id delivery.DeviceID, at time.Time) bool {
	_, before := b.removed[id]
	if b.devices[id] != nil {
		return before
	}
	return b.mayKnow(id) && !(b.knowsGone(id) && b.removed[id].Equal(at))
}

// revokeAgain is what a revocation is to a copy from before it. not says that it was not
// carried out, of one of which that is not known.
func (b *book) revokeAgain(r revocation, not bool) {
	if r.token != "" {
		b.dropTokens(func(t delivery.Token) bool { return t.ID == r.token })
		return
	}
	now, there, known := b.now, b.devices[r.device] != nil, b.knowsGone(r.device)
	r.at = earliest(r.at, now) // a clock was ahead
	if r.unsure && (not || !there) {
		b.maybe[r.device] = latest(b.maybe[r.device], r.at)
		return
	}
	b.now = r.at
	b.removeDevice(r.device)
	b.now = now
	// A device that was made later than the copy does not come back either.
	b.removed[r.device] = r.at
	if !b.maybe[r.device].After(r.at) {
		delete(b.maybe, r.device)
	}
	b.byUser[r.device] = r.byUser && !there && !known
}

// unsureTokens keeps of a device those tokens that the store has: where it may have
// forgotten a removal, that may have had no line. Of one that has expired nobody can tell
// until a clock that was wrong is put right.
func (w *world) unsureTokens(tokens []delivery.Token, id delivery.DeviceID) {
	w.book.tokens = tokens
	for _, t := range tokens {
		if t.Owner == (delivery.TokenOwner{User: id.User, Device: id.Name}) {
			w.book.unsure[t.ID] = true
		}
	}
	w.settleTokens()
}

// settleTokens looks for tokens of which nobody could tell whether they are there.
func (w *world) settleTokens() {
	got, err := w.store.Tokens(w.ctx, delivery.TokenOwner{})
	w.same("tokens", nil, nil, err, nil)
	w.book.dropTokens(func(t delivery.Token) bool {
		_, err := w.book.keptToken(t.ID)
		unsure := err == nil && w.book.unsure[t.ID]
		if unsure {
			delete(w.book.unsure, t.ID)
		}
		return unsure && !slices.ContainsFunc(got, func(o delivery.Token) bool { return o.ID == t.ID })
	})
}

// checkTokens asks for all tokens, and for each that ever was.
func (w *world) checkTokens() {
	w.settleTokens()
	for _, within := range append(owners, delivery.TokenOwner{}) {
		got, err := w.store.Tokens(w.ctx, within)
		w.same(fmt.Sprintf("Tokens within %s", within), got, w.book.tokensWithin(within), err, nil)
	}
	for _, id := range w.tokens {
		got, gotErr := w.store.Token(w.ctx, id)
		want, wantErr := w.book.token(id)
		w.same("Token "+id, got, want, gotErr, wantErr)
	}
}

// owns reports whether what is b's is a's, too.
func owns(a, b delivery.TokenOwner) bool {
	switch {
	case a == delivery.TokenOwner{}:
		return true
	case a.Service != "" || a.Device != "":
		return a == b
	}
	return a.User == b.User
}

func (b *book) addToken(token delivery.Token) (delivery.Token, error) {
	n := 0
	for _, t := range b.tokens {
		if t.Owner == token.Owner {
			n++
		}
	}
	if n >= b.limits.TokensPerOwner {
		return delivery.Token{}, delivery.ErrTooManyTokens
	}
	token.CreatedAt = b.now
	b.tokens = append(b.tokens, token)
	return token, nil
}

func (b *book) token(id string) (delivery.Token, error) {
	t, err := b.keptToken(id)
	if err == nil && !t.Expires.IsZero() && come(t.Expires, b.now) {
		return delivery.Token{}, delivery.ErrClock // nobody knows
	}
	return t, err
}

// keptToken returns a token that has not expired for certain.
func (b *book) keptToken(id string) (delivery.Token, error) {
	for _, t := range b.tokens {
		if t.ID == id && (t.Expires.IsZero() || !come(t.Expires, b.sure)) {
			return t, nil
		}
	}
	return delivery.Token{}, delivery.ErrNotFound
}

// tokensWithin returns those that are valid: a service's first, a user's before
// those of devices, and of one owner the oldest first.
func (b *book) tokensWithin(within delivery.TokenOwner) (found []delivery.Token) {
	for _, t := range b.tokens {
		if _, err := b.keptToken(t.ID); err == nil && owns(within, t.Owner) {
			found = append(found, t)
		}
	}
	slices.SortStableFunc(found, func(x, y delivery.Token) int {
		return cmp.Or(-cmp.Compare(x.Owner.Service, y.Owner.Service), cmp.Compare(x.Owner.User, y.Owner.User), cmp.Compare(x.Owner.Device, y.Owner.Device),
			x.CreatedAt.Compare(y.CreatedAt), cmp.Compare(x.ID, y.ID))
	})
	return found
}

func (b *book) revokeToken(within delivery.TokenOwner, id string) error {
	t, err := b.keptToken(id)
	if err != nil || !owns(within, t.Owner) {
		return delivery.ErrNotFound
	}
	b.dropTokens(func(o delivery.Token) bool { return o.ID == id })
	return nil
}

func (b *book) revokeTokens(within delivery.TokenOwner) {
	b.dropTokens(func(t delivery.Token) bool { return owns(within, t.Owner) })
}

func (b *book) dropTokens(these func(delivery.Token) bool) {
	b.tokens = slices.DeleteFunc(slices.Clone(b.tokens), these)
}

// outlivedRemoval reports whether the caller's credentials were those of a device
// that was removed since they had been issued, and whether that may be forgotten, or
// else known of a removal that changed nothing certain.
func (b *book) outlivedRemoval(caller delivery.Caller, id delivery.DeviceID) (outlived, open bool) {
	if caller.Bound.IsZero() || caller.User != id.User || caller.Device != id.Name {
		return false, false
	}
	since := func(at time.Time, ok bool) bool { return ok && !caller.Bound.After(earliest(at, b.now)) }
	removed, ok := b.removed[id]
	if since(removed, ok) {
		return true, b.mayForgetRemoval(id)
	}
	maybe, ok := b.maybe[id]
	return false, since(maybe, ok)
}

// mayForgetRemoval reports whether it may be forgotten when the device was
// removed.
func (b *book) mayForgetRemoval(id delivery.DeviceID) bool {
	removed, ok := b.removed[id]
	return ok && come(removed.Add(b.limits.TombstoneKept), latest(b.sure, b.swept, b.carriedOut))
}

// knowsGone reports whether it is certain that a device which is not there is known to
// have been removed. Only then it can be removed once more.
func (b *book) knowsGone(id delivery.DeviceID) bool {
	_, before := b.removed[id]
	_, maybe := b.maybe[id]
	return b.devices[id] == nil && before && !maybe && !b.byUser[id] && !b.mayForgetRemoval(id)
}

// mayKnow reports whether a device may be known: it is there, or was.
func (b *book) mayKnow(id delivery.DeviceID) bool {
	_, before := b.removed[id]
	_, maybe := b.maybe[id]
	return b.devices[id] != nil || before || maybe
}
