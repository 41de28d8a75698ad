package server_test

import (
	"context"
	"strings"
	"testing"

	"welcomed/delivery"
	"welcomed/mls"
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

// TestTwoClaimsOfAUserAtATime: others of the user wait, those of another do not.
func TestTwoClaimsOfAUserAtATime(t *testing.T) {
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

// TestEveryRouteHasAConcurrency: a route that is new has to have one.
func TestEveryRouteHasAConcurrency(t *testing.T) {
	classes, routes := server.Concurrency()
	for _, route := range routes {
		if classes[route] == "" {
			t.Errorf("concurrencyOf has no %s", route)
		}
		delete(classes, route)
	}
	for route := range classes {
		t.Errorf("there is no route %s", route)
	}
}

// A slowReader tells whose each costly read is and lets it go on only when it is told.
type slowReader struct {
	callerStore
	began chan string
	goOn  chan struct{}
}

func (s *slowReader) read(ctx context.Context, c delivery.Caller) error {
	s.began <- string(c.User)
	select {
	case <-s.goOn:
		return delivery.ErrNotFound
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slowReader) Devices(ctx context.Context, c delivery.Caller, _ delivery.UserID) ([]delivery.DeviceInfo, error) {
	return nil, s.read(ctx, c)
}

func (s *slowReader) Inventory(ctx context.Context, c delivery.Caller, _ delivery.DeviceID) (delivery.Inventory, error) {
	return delivery.Inventory{}, s.read(ctx, c)
}

func (s *slowReader) List(ctx context.Context, c delivery.Caller, _ delivery.UserID, _ delivery.ListOptions) (delivery.Listing, error) {
	return delivery.Listing{}, s.read(ctx, c)
}

func (s *slowReader) Outcome(ctx context.Context, c delivery.Caller, _ delivery.WelcomeID) (delivery.Outcome, error) {
	return delivery.Outcome{}, s.read(ctx, c)
}

func (s *slowReader) KeyPackage(ctx context.Context, c delivery.Caller, _ mls.KeyPackageRef) (delivery.KeyPackageStatus, error) {
	return delivery.KeyPackageStatus{}, s.read(ctx, c)
}

func (s *slowReader) RatchetTree(ctx context.Context, c delivery.Caller, _ delivery.DeviceID, _ delivery.WelcomeID) ([]byte, error) {
	return nil, s.read(ctx, c)
}

// TestTwoCostlyReadsOfAUserAtATime: whatever a user reads, two are read at a time,
// and another user does not wait.
func TestTwoCostlyReadsOfAUserAtATime(t *testing.T) {
	id := strings.Repeat("0", 64)
	digest := object{"digest": id}
	for what, row := range map[string]struct {
		method, path string
		body         any
	}{
		"devices":      {"GET", "/v1/users/USER/devices", nil},
		"inventory":    {"GET", "/v1/users/USER/devices/phone/key-packages", nil},
		"sync":         {"POST", "/v1/users/USER/devices/phone/key-packages/sync", digest},
		"list":         {"GET", "/v1/users/USER/key-packages", nil},
		"outcome":      {"GET", "/v1/welcomes/" + id, nil},
		"key package":  {"GET", "/v1/key-packages/" + id, nil},
		"ratchet tree": {"GET", "/v1/users/USER/devices/phone/welcomes/" + id + "/ratchet-tree", nil},
	} {
		t.Run(what, func(t *testing.T) {
			store := &slowReader{began: make(chan string, 10), goOn: make(chan struct{})}
			s := start(t, func(o *server.Options) {
				o.Store, o.Auth = store, issuer{"alice": {User: "alice"}, "bob": {User: "bob"}}
			})
			ask := func(user string) <-chan reply {
				return s.later(row.method, strings.ReplaceAll(row.path, "USER", user), row.body, "Authorization", "Bearer "+user)
			}
			var answers []<-chan reply
			for range 3 {
				answers = append(answers, ask("alice"))
			}
			same(t, "first", wait(t, "a read", store.began), "alice")
			same(t, "second", wait(t, "a read", store.began), "alice")
			eventually(t, "the third to wait", func() bool { return s.server.Load().Requests == 3 })
			answers = append(answers, ask("bob"))
			same(t, "third", wait(t, "a read", store.began), "bob")
			close(store.goOn)
			for _, a := range answers {
				wait(t, "an answer", a).want(404)
			}
		})
	}
}
