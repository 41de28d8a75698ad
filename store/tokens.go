package store

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"welcomed/delivery"
)

// ownerKey is the prefix of an owner's tokens in owners: all tokens of a user, with those of
// the user's devices, or with alone only those of the owner itself. No name has a zero byte in
// it, and none begins with a slash.
func ownerKey(o delivery.TokenOwner, alone bool) []byte {
	switch {
	case o == delivery.TokenOwner{}:
		return nil
	case o.Service != "":
		return append([]byte("/"+o.Service), 0)
	case o.Device != "" || alone:
		return append(nameKey(delivery.DeviceID{User: o.User, Name: o.Device}), 0)
	}
	return userPrefix(o.User)
}

// tokenCost is roughly what a token adds to the file, in bytes.
const tokenCost = 512

// AddToken implements delivery.Store.
func (s *Store) AddToken(ctx context.Context, token delivery.Token) (delivery.Token, error) {
	if err := token.Owner.Valid(); err != nil {
		return token, err
	}
	refuse := func(t *Txn) error {
		if len(t.keys(kindOwners, ownerKey(token.Owner, true), t.limits.TokensPerOwner)) >= t.limits.TokensPerOwner {
			return delivery.ErrTooManyTokens
		}
		return nil
	}
	err := s.engine.Do(ctx, &Event{Cost: tokenCost, Look: func(t *Txn) (changes bool, err error) { return true, refuse(t) }, Run: func(t *Txn) error {
		if err := refuse(t); err != nil {
			return err
		}
		token.CreatedAt = t.now
		t.putToken(token)
		return nil
	}})
	return token, err
}

// putToken writes a new token.
func (t *Txn) putToken(token delivery.Token) {
	t.put(kindTokens, []byte(token.ID), encodeToken(token))
	t.put(kindOwners, append(ownerKey(token.Owner, true), token.ID...), nil)
	if !token.Expires.IsZero() {
		t.setTimer(timerToken, token.Expires, []byte(token.ID))
	}
}

// Token implements delivery.Store.
func (s *Store) Token(ctx context.Context, id string) (token delivery.Token, err error) {
	err = s.engine.Peek(ctx, func(t *Txn) error {
		token, err = t.validToken(id)
		return err
	})
	return token, err
}

// validToken returns a token that has not expired. While a jump of the clock is not believed,
// nobody knows whether some tokens have expired. It returns an error for those that says so.
func (t *Txn) validToken(id string) (delivery.Token, error) {
	token, err := t.token(id)
	if err == nil && !token.Expires.IsZero() && !t.now.Before(token.Expires) {
		return delivery.Token{}, fmt.Errorf("%w, and the token may have expired", delivery.ErrClock)
	}
	return token, err
}

// token returns a token, unless it has certainly expired.
func (t *Txn) token(id string) (delivery.Token, error) {
	row := t.get(kindTokens, []byte(id))
	if row == nil {
		return delivery.Token{}, delivery.ErrNotFound
	}
	token := decodeToken(id, row)
	if !token.Expires.IsZero() && !t.sure.Before(token.Expires) {
		return delivery.Token{}, delivery.ErrNotFound
	}
	return token, nil
}

// Tokens implements delivery.Store.
func (s *Store) Tokens(ctx context.Context, within delivery.TokenOwner) (tokens []delivery.Token, err error) {
	err = s.engine.View(ctx, func(t *Txn) error {
		tokens = t.tokens(within)
		return nil
	})
	return tokens, err
}

func (t *Txn) tokens(within delivery.TokenOwner) (tokens []delivery.Token) {
	ids := t.tokenIDs(within)
	t.aheadOfTokens(ids)
	for _, id := range ids {
		if token, err := t.token(id); err == nil {
			tokens = append(tokens, token)
		}
	}
	slices.SortFunc(tokens, func(a, b delivery.Token) int {
		return cmp.Or(bytes.Compare(ownerKey(a.Owner, true), ownerKey(b.Owner, true)), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return tokens
}

func (t *Txn) tokenIDs(within delivery.TokenOwner) (ids []string) {
	for key := range t.scan(kindOwners, ownerKey(within, false), nil) {
		ids = append(ids, string(key[bytes.LastIndexByte(key, 0)+1:]))
	}
	return ids
}

// RevokeToken implements delivery.Store.
func (s *Store) RevokeToken(ctx context.Context, within delivery.TokenOwner, id string) error {
	find := func(t *Txn) (delivery.Token, error) {
		token, err := t.token(id)
		if err != nil || !token.Owner.Within(within) {
			return token, delivery.ErrNotFound
		}
		return token, nil
	}
	return s.revoke(ctx, func(t *Txn) (lines []Revocation, also bool, err error) {
		_, err = find(t)
		return t.tokensRevoked([]string{id}), false, err
	}, func(t *Txn, _ []Revocation) error {
		token, err := find(t)
		if err == nil {
			t.forgetToken(token)
		}
		return err
	})
}

// revokeTokens ends all tokens of an owner, also those that have expired.
func (t *Txn) revokeTokens(within delivery.TokenOwner) {
	ids := t.tokenIDs(within)
	t.aheadOfTokens(ids)
	for _, id := range ids {
		t.forgetToken(decodeToken(id, t.get(kindTokens, []byte(id))))
	}
}

func (t *Txn) forgetToken(token delivery.Token) {
	t.revoked = append(t.revoked, token.Owner)
	t.del(kindTokens, []byte(token.ID))
	t.del(kindOwners, append(ownerKey(token.Owner, true), token.ID...))
	if !token.Expires.IsZero() {
		t.del(kindTimers, timerKey(timerToken, token.Expires, []byte(token.ID)))
	}
}

func (t *Txn) fireToken(timer timer, _ *delivery.SweepResult) {
	id := string(timer.row)
	row := t.get(kindTokens, timer.row)
	if row == nil {
		return
	}
	if token := decodeToken(id, row); token.Expires.Equal(timer.due) {
		t.forgetToken(token)
	}
}

func encodeToken(token delivery.Token) []byte {
	e := make(encoder, 0, 128)
	e.bytes(token.Hash[:])
	e.string(string(token.Owner.User))
	e.string(token.Owner.Device)
	e.string(token.Owner.Service)
	e.flags(token.ReadOnly)
	e.string(token.CreatedBy)
	e.times(token.CreatedAt, token.Expires)
	return e
}

func decodeToken(id string, row []byte) delivery.Token {
	token, d := delivery.Token{ID: id}, decoder(row)
	if copy(token.Hash[:], d.bytes()) != len(token.Hash) {
		panic(ErrCorrupt)
	}
	token.Owner = delivery.TokenOwner{User: delivery.UserID(d.string()), Device: d.string(), Service: d.string()}
	d.flags(&token.ReadOnly)
	token.CreatedBy = d.string()
	d.times(&token.CreatedAt, &token.Expires)
	return token
}
