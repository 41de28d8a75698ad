package auth_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"welcomed/auth"
	"welcomed/delivery"
)

// kept is a token store in memory, which may fail.
type kept struct {
	tokens map[string]delivery.Token
	err    error
}

func (k kept) Token(_ context.Context, id string) (delivery.Token, error) {
	if token, ok := k.tokens[id]; ok || k.err != nil {
		return token, k.err
	}
	return delivery.Token{}, delivery.ErrNotFound
}

func TestTokens(t *testing.T) {
	phone, text := auth.NewToken(delivery.TokenOwner{User: "alice", Device: "phone"})
	other, otherText := auth.NewToken(delivery.TokenOwner{Service: "backend"})
	phone.ReadOnly, phone.CreatedAt, phone.Expires = true, time.Unix(1, 0), time.Unix(2, 0)
	store := kept{tokens: map[string]delivery.Token{phone.ID: phone, other.ID: other}}
	a := auth.Tokens(store)

	got, err := a.Authenticate(t.Context(), text)
	want := auth.Identity{User: "alice", Device: "phone", ReadOnly: true, IssuedAt: phone.CreatedAt, Expires: phone.Expires}
	if err != nil || got != want {
		t.Errorf("the phone's token: %+v, %v", got, err)
	}
	got, err = a.Authenticate(t.Context(), otherText)
	if want := (auth.Identity{Service: "backend"}); err != nil || got != want {
		t.Errorf("the service's token: %+v, %v", got, err)
	}

	_, never := auth.NewToken(delivery.TokenOwner{User: "alice"})
	id, secret := text[:len("welcomed_")+12], text[len(text)-26:]
	for name, bad := range map[string]string{
		"none":                           "",
		"the prefix alone":               "welcomed_",
		"a token that was never kept":    never,
		"another token's secret":         id + "_" + otherText[len(otherText)-26:],
		"no secret":                      id + "_",
		"a secret cut short":             text[:len(text)-1],
		"a secret with something behind": text + "A",
		"a secret in lower case":         id + "_" + strings.ToLower(secret),
		"the id of nothing, no hash":     "welcomed_aaaaaaaaaaaa_" + strings.Repeat("\x00", 26),
		"another prefix":                 "Welcomed_" + strings.TrimPrefix(text, "welcomed_"),
		"spaces around":                  " " + text,
		"a megabyte":                     "welcomed_" + strings.Repeat("a", 1<<20) + "_" + secret,
	} {
		if got, err := a.Authenticate(t.Context(), bad); !errors.Is(err, auth.ErrInvalid) || got != (auth.Identity{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the secret is in %q", name, err)
		}
	}
}

func TestATokenOfAService(t *testing.T) {
	phone, text := auth.NewToken(delivery.TokenOwner{User: "alice", Device: "phone"})
	a := auth.OfService("a-token-from-a-file", "backend", auth.Tokens(kept{tokens: map[string]delivery.Token{phone.ID: phone}}))
	got, err := a.Authenticate(t.Context(), "a-token-from-a-file")
	if want := (auth.Identity{Service: "backend"}); err != nil || got != want {
		t.Errorf("its token: %+v, %v", got, err)
	}
	got, err = a.Authenticate(t.Context(), text)
	if err != nil || got.User != "alice" || got.Service != "" {
		t.Errorf("another token: %+v, %v", got, err)
	}
	for _, bad := range []string{"", "a-token-from-a-fil", "a-token-from-a-file ", "A-token-from-a-file"} {
		if got, err := a.Authenticate(t.Context(), bad); !errors.Is(err, auth.ErrInvalid) || got != (auth.Identity{}) {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
}

func TestAStoreThatFailsIsNoInvalidToken(t *testing.T) {
	_, text := auth.NewToken(delivery.TokenOwner{User: "alice"})
	_, err := auth.Tokens(kept{err: delivery.ErrClosed}).Authenticate(t.Context(), text)
	if !errors.Is(err, delivery.ErrClosed) || errors.Is(err, auth.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestEveryTokenIsNew(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		token, text := auth.NewToken(delivery.TokenOwner{User: "alice"})
		if seen[token.ID] || seen[text] || strings.Contains(text, string(token.Hash[:])) {
			t.Fatalf("%s again", text)
		}
		seen[token.ID], seen[text] = true, true
	}
}
