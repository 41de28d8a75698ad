package server_test

import (
	"context"
	"errors"
	"testing"

	"welcomed/delivery"
	"welcomed/server"
)

// A slowStore tells of each claim and lets it go on only when it is told.
type slowStore struct {
	callerStore
	began chan string
	goOn  chan struct{}
}

func (s *slowStore) Claim(ctx context.Context, _ delivery.Caller, d delivery.DeviceID, _ delivery.ClaimOptions) (delivery.ClaimResult, error) {
	s.began <- d.Name
	select {
	case <-s.goOn:
		return delivery.ClaimResult{}, nil
	case <-ctx.Done():
		return delivery.ClaimResult{}, ctx.Err()
	}
}

// TestClaimsOfAUserTakeTurns: others of the user wait, those of another do not.
func TestClaimsOfAUserTakeTurns(t *testing.T) {
	store := &slowStore{began: make(chan string, 10), goOn: make(chan struct{})}
	s := start(t, func(o *server.Options) { o.Store = store })
	var answers []<-chan reply
	for range 3 {
		answers = append(answers, s.later("POST", phone+"/claim", nil))
	}
	same(t, "first", wait(t, "a claim", store.began), "phone")
	same(t, "second", wait(t, "a claim", store.began), "phone")
	answers = append(answers, s.later("POST", "/v1/users/bob/devices/desk/claim", nil))
	same(t, "third", wait(t, "a claim", store.began), "desk")
	store.goOn <- struct{}{}
	store.goOn <- struct{}{}
	same(t, "fourth", wait(t, "a claim", store.began), "phone")
	close(store.goOn)
	for _, a := range answers {
		wait(t, "an answer", a).want(200)
	}
}

func TestWhoLeavesTakesNoTurn(t *testing.T) {
	turns := new(server.Turns)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var dones []func()
	for range 2 {
		done, err := turns.Take(t.Context(), "a")
		must(t, err)
		dones = append(dones, done)
	}
	if _, err := turns.Take(gone, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for _, done := range dones {
		done()
	}
	same(t, "objects", turns.Objects(), 0)
}
