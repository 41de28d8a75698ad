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
	unsure bool // it may have been one of a device that is forgotten
}

// noteRemovals notes what a removal has changed of these devices and their tokens.
func (w *world) noteRemovals(was *book, of []delivery.DeviceID) {
	for _, t := range was.tokens {
		if !slices.ContainsFunc(w.book.tokens, func(left delivery.Token) bool { return left.ID == t.ID }) {
			w.revoked = append(w.revoked, revocation{at: w.book.now, token: t.ID})
		}
	}
	for _, d := range of {
		_, before := was.removed[d]
		if was.devices[d] != nil || before {
			w.revoked = append(w.revoked, revocation{w.book.now, "", d, was.devices[d] == nil && (was.mayForgetRemoval(d) || was.unsure[d])})
		}
	}
}

// revokeAgain is what a revocation is to a copy from before it.
func (b *book) revokeAgain(r revocation) {
	if r.token != "" {
		b.dropTokens(func(t delivery.Token) bool { return t.ID == r.token })
		return
	}
	now, removed := b.now, b.removed[r.device]
	r.at = earliest(r.at, now) // a clock was ahead
	b.now = r.at
	b.removeDevice(r.device)
	b.now = now
	// A device that was made later than the copy does not come back either.
	if b.removed[r.device] = r.at; r.unsure {
		b.unsure[r.device] = true
		b.removed[r.device] = latest(removed, r.at)
	}
}

// valid returns those tokens that the store has: where it may have forgotten a removal,
// that may have had no line.
func (w *world) valid(tokens []delivery.Token) []delivery.Token {
	got, err := w.store.Tokens(w.ctx, delivery.TokenOwner{})
	if err != nil {
		w.t.Fatalf("tokens: %v", err)
	}
	return slices.DeleteFunc(slices.Clone(tokens), func(t delivery.Token) bool {
		return !slices.ContainsFunc(got, func(o delivery.Token) bool { return o.ID == t.ID })
	})
}

// checkTokens asks for all tokens, and for each that ever was.
func (w *world) checkTokens() {
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
// that was removed since they had been issued, and whether that may be forgotten.
func (b *book) outlivedRemoval(caller delivery.Caller, id delivery.DeviceID) (outlived, mayBeForgotten bool) {
	removed, ok := b.removed[id]
	if !ok || caller.Bound.IsZero() || caller.User != id.User || caller.Device != id.Name {
		return false, false
	}
	return !caller.Bound.After(earliest(removed, b.now)), b.unsure[id] || b.mayForgetRemoval(id)
}

// mayForgetRemoval reports whether it may be forgotten when the device was
// removed.
func (b *book) mayForgetRemoval(id delivery.DeviceID) bool {
	removed, ok := b.removed[id]
	return ok && come(removed.Add(b.limits.TombstoneKept), latest(b.sure, b.swept, b.carriedOut))
}
