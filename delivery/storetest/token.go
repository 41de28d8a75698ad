package storetest

import (
	"crypto/sha256"
	"fmt"
	"time"

	"welcomed/delivery"
)

type owner = delivery.TokenOwner

var (
	ofAlice   = owner{User: "alice"}
	ofPhone   = owner{User: "alice", Device: "phone"}
	ofBackend = owner{Service: "backend"}
)

// token adds a token, which may be limited in time.
func (w *world) token(o owner, expires ...time.Time) delivery.Token {
	w.t.Helper()
	t := delivery.Token{ID: fmt.Sprintf("token%d", w.tokens.Add(1)), Owner: o, Hash: sha256.Sum256([]byte("secret")), CreatedBy: "backend", ReadOnly: true}
	if len(expires) > 0 {
		t.Expires = expires[0]
	}
	added, err := w.store.AddToken(w.ctx, t)
	w.must(err)
	at(w, "token created", added.CreatedAt, w.clock.Now())
	t.CreatedAt = added.CreatedAt
	same(w, "added", added, t)
	return added
}

// valid expects that each token is there as it was added.
func (w *world) valid(tokens ...delivery.Token) {
	w.t.Helper()
	for _, t := range tokens {
		got, err := w.store.Token(w.ctx, t.ID)
		w.must(err)
		same(w, "token", got, t)
	}
}

// gone expects that each token is there no more.
func (w *world) gone(tokens ...delivery.Token) {
	w.t.Helper()
	for _, t := range tokens {
		_, err := w.store.Token(w.ctx, t.ID)
		w.refused(err, delivery.ErrNotFound)
	}
}

func (w *world) tokensWithin(o owner) []delivery.Token {
	w.t.Helper()
	tokens, err := w.store.Tokens(w.ctx, o)
	w.must(err)
	return tokens
}

var tokenPromises = []promise{
	{"a token is there until it is revoked", func(w *world) {
		a, b := w.token(ofAlice), w.token(ofAlice)
		w.reopen()
		w.valid(a, b)
		w.must(w.store.RevokeToken(w.ctx, owner{}, a.ID))
		w.gone(a)
		w.refused(w.store.RevokeToken(w.ctx, owner{}, a.ID), delivery.ErrNotFound)
		w.reopen()
		w.gone(a)
		w.valid(b)
	}},
	{"a token that never was is not found", func(w *world) {
		w.gone(delivery.Token{ID: "never"}, delivery.Token{ID: ""})
		w.refused(w.store.RevokeToken(w.ctx, owner{}, "never"), delivery.ErrNotFound)
	}},
	{"a token is not valid from its end on, swept or not", func(w *world) {
		end := w.clock.Now().Add(time.Hour)
		limited, other := w.token(ofAlice, end), w.token(ofAlice)
		w.clock.Advance(time.Hour - time.Millisecond)
		w.valid(limited)
		w.clock.Advance(time.Millisecond)
		w.gone(limited)
		same(w, "tokens", w.tokensWithin(ofAlice), []delivery.Token{other})
		w.refused(w.store.RevokeToken(w.ctx, owner{}, limited.ID), delivery.ErrNotFound)
		w.sweep()
		w.gone(limited)
		w.valid(other)
	}},
	{"a clock that is set back revives no token", func(w *world) {
		limited := w.token(ofAlice, w.clock.Now().Add(time.Hour))
		w.clock.Advance(2 * time.Hour)
		w.one(phone) // the store notes the time
		w.reopen()
		w.clock.Jump(-2 * time.Hour)
		w.notReady()
		w.gone(limited)
	}},
	{"tokens are listed by owner, a user's devices with the user", func(w *world) {
		a, p, s := w.token(ofAlice), w.token(ofPhone), w.token(ofBackend)
		x := w.token(owner{User: "alice2"})
		near := w.token(owner{Service: "backend2"})
		same(w, "a user's", w.tokensWithin(ofAlice), []delivery.Token{a, p})
		same(w, "a device's", w.tokensWithin(ofPhone), []delivery.Token{p})
		same(w, "a service's", w.tokensWithin(ofBackend), []delivery.Token{s})
		same(w, "all", len(w.tokensWithin(owner{})), 5)
		same(w, "nobody's", len(w.tokensWithin(owner{User: "al"})), 0)
		w.valid(x, near)
	}},
	{"of one owner the oldest token is listed first", func(w *world) {
		var added []delivery.Token
		for _, id := range []string{"b", "c", "a"} {
			t, err := w.store.AddToken(w.ctx, delivery.Token{ID: id, Owner: ofPhone})
			w.must(err)
			added = append(added, t)
			w.clock.Advance(time.Second)
		}
		same(w, "tokens", w.tokensWithin(ofPhone), added)
		same(w, "tokens of all", w.tokensWithin(owner{}), added)
	}},
	{"a token is revoked only within its owner", func(w *world) {
		a, p, s := w.token(ofAlice), w.token(ofPhone), w.token(ofBackend)
		for _, within := range []owner{ofPhone, {User: "alice", Device: "tablet"}, {User: "bob"}, ofBackend} {
			w.refused(w.store.RevokeToken(w.ctx, within, a.ID), delivery.ErrNotFound)
		}
		w.refused(w.store.RevokeToken(w.ctx, ofAlice, s.ID), delivery.ErrNotFound)
		w.valid(a, p, s)
		w.must(w.store.RevokeToken(w.ctx, ofAlice, p.ID))
		w.gone(p)
	}},
	{"an owner has no more tokens than are allowed, and room again after a revocation", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.TokensPerOwner = 2 })
		first := w.token(ofPhone)
		w.token(ofPhone)
		_, err := w.store.AddToken(w.ctx, delivery.Token{ID: "more", Owner: ofPhone})
		w.refused(err, delivery.ErrTooManyTokens)
		w.gone(delivery.Token{ID: "more"})
		w.token(ofAlice)
		w.token(owner{User: "alice", Device: "phone2"})
		w.must(w.store.RevokeToken(w.ctx, owner{}, first.ID))
		w.token(ofPhone)
	}},
	{"tokens that have expired leave room once they are swept", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.TokensPerOwner = 1 })
		w.token(ofAlice, w.clock.Now().Add(time.Hour))
		w.clock.Advance(2 * time.Hour)
		w.sweep()
		w.token(ofAlice)
	}},
	{"a revocation wakes those who watch the token's owner, and nobody else", func(w *world) {
		for _, o := range []owner{ofAlice, ofPhone, ofBackend} {
			t := w.token(o)
			wake, stop := w.store.Watch(tablet, o)
			other, stopOther := w.store.Watch(phone, owner{User: "bob"})
			w.asleep(wake)
			w.must(w.store.RevokeToken(w.ctx, owner{}, t.ID))
			w.woken(wake)
			w.asleep(other)
			stop()
			stopOther()
		}
		t := w.token(ofPhone)
		wake, stop := w.store.Watch(phone, ofAlice)
		defer stop()
		w.must(w.store.RevokeToken(w.ctx, owner{}, t.ID))
		w.asleep(wake)
	}},
	{"a removal wakes those who watch the device, and the owners of tokens that it revokes", func(w *world) {
		for _, remove := range []func() error{
			func() error { return w.store.RemoveDevice(w.ctx, self(phone), phone) },
			func() error { return w.store.RemoveUser(w.ctx, nobody, "alice") },
		} {
			w.one(phone)
			w.token(ofPhone)
			wake, stop := w.store.Watch(phone, ofBackend)
			byOwner, stopOwner := w.store.Watch(tablet, ofPhone)
			same(w, "exists", w.claim(phone).Exists, true)
			w.must(remove())
			w.woken(wake)
			w.woken(byOwner)
			same(w, "exists", w.claim(phone).Exists, false)
			stop()
			stopOwner()
		}
	}},
	{"removing a device revokes its tokens, whether or not it was ever here", func(w *world) {
		w.one(phone)
		p, tab, a := w.token(ofPhone), w.token(owner{User: "alice", Device: "tablet"}), w.token(ofAlice)
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		w.gone(p)
		w.valid(tab, a)
		w.must(w.store.RemoveDevice(w.ctx, self(tablet), tablet))
		w.gone(tab)
	}},
	{"removing a user revokes all tokens of the user", func(w *world) {
		p, a, b, s := w.token(ofPhone), w.token(ofAlice), w.token(owner{User: "bob"}), w.token(ofBackend)
		w.must(w.store.RemoveUser(w.ctx, self(phone), "alice"))
		w.gone(p, a)
		w.valid(b, s)
		same(w, "tokens", len(w.tokensWithin(ofAlice)), 0)
	}},
	{"credentials of a device that was removed after they were issued bring it back no more, and claim nothing", func(w *world) {
		bound := self(phone)
		bound.Bound = w.clock.Now()
		w.publishAs(bound, phone, keyPackage())
		w.clock.Advance(time.Minute)
		w.must(w.store.RemoveDevice(w.ctx, bound, phone))
		w.outlived(bound)
		w.clock.Advance(29 * day)
		w.sweep()
		w.outlived(bound)

		later := self(phone)
		later.Bound = w.clock.Now()
		w.publishAs(later, phone, keyPackage())
		w.outlived(bound)
		w.publishAs(delivery.Caller{User: "alice", Bound: bound.Bound}, phone, keyPackage())
	}},
	{"neither do those that were issued after it was removed, once it is removed again", func(w *world) {
		w.one(phone)
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		for _, remove := range []func() error{
			func() error { return w.store.RemoveDevice(w.ctx, nobody, phone) },
			func() error { return w.store.RemoveUser(w.ctx, nobody, "alice") },
		} {
			w.clock.Advance(time.Minute)
			since := self(phone)
			since.Bound = w.clock.Now()
			w.clock.Advance(time.Minute)
			w.must(remove())
			w.outlived(since)
		}
	}},
	{"a device that was removed in a wrong future can come back once it is removed again", func(w *world) {
		w.one(phone)
		w.clock.Jump(1000 * day)
		w.must(w.store.RemoveDevice(w.ctx, nobody, phone))
		w.clock.Jump(-1000 * day)
		w.must(w.store.RemoveDevice(w.ctx, nobody, phone))
		w.clock.Advance(time.Second)
		later := self(phone)
		later.Bound = w.clock.Now()
		w.publishAs(later, phone, keyPackage())
	}},
	{"a removed device is forgotten when its credentials have had their time", func(w *world) {
		bound := self(phone)
		bound.Bound = w.clock.Now()
		w.one(phone, w.lasting(0, 2*day))
		w.must(w.store.RemoveDevice(w.ctx, bound, phone))
		w.clock.Advance(32 * day)
		w.sweep()
		w.publishAs(bound, phone, keyPackage())
	}},
}

func (w *world) publishAs(caller delivery.Caller, d deviceID, items ...kp) {
	w.t.Helper()
	_, err := w.store.Publish(w.ctx, caller, d, items)
	w.must(err)
}

// outlived expects that caller cannot bring its device back.
func (w *world) outlived(caller delivery.Caller) {
	w.t.Helper()
	before := deviceNames(w.devices(caller.User))
	d := deviceID{User: caller.User, Name: caller.Device}
	_, err := w.store.Publish(w.ctx, caller, d, []kp{keyPackage()})
	w.refused(err, delivery.ErrDeviceRemoved)
	_, err = w.store.Replace(w.ctx, caller, d, 0, []kp{keyPackage()})
	w.refused(err, delivery.ErrDeviceRemoved)
	_, err = w.store.Claim(w.ctx, caller, d, claimOptions())
	w.refused(err, delivery.ErrDeviceRemoved)
	same(w, "devices", deviceNames(w.devices(caller.User)), before)
}
