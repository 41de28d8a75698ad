package client_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"welcomed/client"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// TestEveryRoute goes through all routes of the server with a method each. Answers are read
// strictly, so that it fails where the server has a field that this package lacks, and at
// the end where this package has one that the server does not send.
func TestEveryRoute(t *testing.T) {
	s, ctx := serve(t), t.Context()
	service := s.service()
	alice, bob := service.For("alice"), service.For("bob")

	about, err := (&client.Client{URL: s.url}).About(ctx)
	must(t, err)
	same(t, "ready", about.Ready, true)
	same(t, "limit", about.Limits.KeyPackageBytes, 65536)

	token, err := service.CreateToken(ctx, phone, client.NewToken{ExpiresAt: time.Now().Add(time.Hour)})
	must(t, err)
	own := &client.Client{URL: s.url, Token: client.StaticToken(token.Token)}

	begun, err := service.PollEvents(ctx, client.Following{})
	must(t, err)
	same(t, "events", len(begun.Events), 0)

	now := uint64(time.Now().Unix())
	lifetime := mlstest.WithLifetime(now-3600, now+90*24*3600)
	kps := keyPackages(5, lifetime)
	published, err := own.Publish(ctx, phone, "", kps...)
	must(t, err)
	same(t, "ref", published.KeyPackages[0].Ref, refOf(kps[0]))
	same(t, "stored", published.KeyPackages[0].Status, client.PublishedStored)
	same(t, "stock", published.Stock.Available, 5)
	ahead := mlstest.WithLifetime(now+600, now+90*24*3600)
	tablet := client.DeviceID{User: "alice", Name: "tablet"}
	early, err := alice.Publish(ctx, tablet, published.RestoreEpoch, signer.KeyPackage(ahead))
	must(t, err)
	same(t, "early", early.KeyPackages[0].Status, client.PublishedNotYetValid)
	_, err = alice.Publish(ctx, tablet, published.RestoreEpoch, signer.KeyPackage(ahead, mlstest.LastResort()))
	must(t, err)
	watch := client.DeviceID{User: "alice", Name: "watch"}
	lastResort, err := alice.Publish(ctx, watch, published.RestoreEpoch, signer.KeyPackage(lifetime, mlstest.LastResort()))
	must(t, err)

	inventory, err := own.Inventory(ctx, phone)
	must(t, err)
	same(t, "digest", inventory.Digest, client.Digest(inventory.Refs))
	compared, err := own.Compare(ctx, phone, client.Digest(inventory.Refs))
	must(t, err)
	same(t, "in sync", compared.InSync, true)
	held := []string{refOf(kps[0]), refOf(kps[1]), refOf(kps[2]), refOf(kps[3])}
	synced, err := own.Sync(ctx, phone, inventory.Digest, held)
	must(t, err)
	same(t, "withdrawn", synced.Withdrawn[0], refOf(kps[4]))
	same(t, "fresh", synced.WithdrawnFresh, 1)
	must(t, own.Withdraw(ctx, phone, refOf(kps[3])))
	must(t, service.Give(ctx, tablet, refOf(kps[2])))
	_, err = alice.Inventory(ctx, tablet)
	must(t, err)

	listing, err := alice.List(ctx, "alice", client.ListOptions{Devices: []string{"phone"}, CipherSuites: []uint16{1}, Limit: 1})
	must(t, err)
	same(t, "listed", bytes.Equal(listing.Devices[0].KeyPackages[0].Bytes, kps[0]), true)
	_, err = alice.List(ctx, "alice", client.ListOptions{After: listing.Next})
	must(t, err)

	reserving := client.Reserving{Users: []string{"alice"}, CipherSuites: []uint16{1}, MaxIdleDays: 90, IdempotencyKey: "group 1"}
	reservation, err := bob.Reserve(ctx, reserving)
	must(t, err)
	same(t, "reserved", len(reservation.KeyPackages()), 2) // phone, watch
	again, err := bob.Reserve(ctx, reserving)
	must(t, err)
	same(t, "repeated", again.ID, reservation.ID)
	other, err := bob.Reserve(ctx, client.Reserving{Devices: []client.DeviceID{phone}, CipherSuites: []uint16{2}})
	must(t, err)
	same(t, "incompatible", other.Users[0].Devices[0].Status, client.DeviceIncompatible)

	tree := bytes.Repeat([]byte("tree"), 100)
	welcome := mlstest.WelcomeFor(kps[0])
	posted, err := bob.Post(ctx, client.Posting{Welcome: welcome, RatchetTree: tree, Context: []byte("hello"), Hold: true, RequireAll: true})
	must(t, err)
	same(t, "held", posted.Recipients[0].Status, client.RecipientHeld)
	_, err = bob.Post(ctx, client.Posting{Welcome: mlstest.WelcomeFor(kps[1]), DryRun: true})
	must(t, err)
	_, err = bob.Release(ctx, posted.ID)
	must(t, err)
	state, err := own.KeyPackage(ctx, refOf(kps[0]))
	must(t, err)
	same(t, "state", state.State, "matched")

	withheld, err := own.Claim(ctx, phone, client.Claiming{Refs: []string{}})
	must(t, err)
	same(t, "withheld", withheld.Withheld, 1)
	claimed, err := own.Claim(ctx, phone, client.Claiming{Wait: time.Minute, Max: 1})
	must(t, err)
	got := claimed.Welcomes[0]
	same(t, "claimed", bytes.Equal(got.Welcome, mls.Wrap(mls.WireFormatWelcome, welcome)), true)
	same(t, "rest", fmt.Sprintf("%s %s %d %s %v", got.ID, got.Context, got.RatchetTreeSize, got.PostedBy, got.Redelivered),
		posted.ID+" hello 400 bob false")
	skipped, err := own.Claim(ctx, phone, client.Claiming{Skip: []string{got.ID}})
	must(t, err)
	same(t, "skipped", len(skipped.Welcomes), 0)
	fetched, err := own.RatchetTree(ctx, phone, got.ID)
	must(t, err)
	same(t, "tree", bytes.Equal(fetched, tree), true)
	must(t, own.Reject(ctx, phone, got.ID, got.Ref, client.ReasonUndecryptable, "no luck"))
	outcome, err := bob.Outcome(ctx, posted.ID)
	must(t, err)
	same(t, "outcome", outcome.Recipients[0].Reason, client.ReasonUndecryptable)
	must(t, own.Acknowledge(ctx, phone, got.ID, got.Ref))
	must(t, own.Acknowledge(ctx, phone, got.ID, ""))

	_, err = bob.Post(ctx, client.Posting{Welcome: mlstest.WelcomeFor(kps[0])})
	refused := refusal(t, err, client.CodeNoMatchingKeyPackage)
	same(t, "why", fmt.Sprint(refused.Recipients[0].Status, refused.Recipients[0].MatchedByWelcome), "consumed"+posted.ID)

	second, err := bob.Reserve(ctx, client.Reserving{Devices: []client.DeviceID{phone}})
	must(t, err)
	back, err := bob.GiveBack(ctx, second.ID, "", refOf(kps[1]))
	must(t, err)
	same(t, "given back", back[0].Status, "given_back")
	_, err = own.Inventory(ctx, phone)
	must(t, err)
	last, err := bob.Post(ctx, client.Posting{Welcome: mlstest.WelcomeFor(kps[1]), Hold: true})
	must(t, err)
	cancelled, err := bob.Cancel(ctx, last.ID)
	must(t, err)
	same(t, "cancelled", cancelled.Cancelled, true)

	_, err = alice.Inventory(ctx, watch)
	must(t, err)
	_, err = alice.Claim(ctx, tablet, client.Claiming{})
	must(t, err)
	for _, ref := range []string{early.KeyPackages[0].Ref, lastResort.KeyPackages[0].Ref, refOf(kps[0])} {
		_, err = alice.KeyPackage(ctx, ref)
		must(t, err)
	}
	replaced, err := own.Replace(ctx, phone, 1, published.RestoreEpoch, keyPackages(1)...)
	must(t, err)
	same(t, "replaced", replaced.Stock.Available, 1)
	_, err = own.Replace(ctx, phone, 0, "")
	must(t, err)
	for of, c := range map[client.Following]*client.Client{{User: "alice", Device: "phone"}: own, {User: "alice"}: alice, {User: "bob"}: bob, {}: service} {
		of.After = begun.Next
		page, err := c.PollEvents(ctx, of)
		must(t, err)
		same(t, fmt.Sprint("events of ", of, ": ", page), len(page.Events) > 0, true)
		for e, err := range c.Events(ctx, of) {
			must(t, err)
			if e.Type != client.EventOpen {
				same(t, "the same over a stream", fmt.Sprint(e), fmt.Sprint(page.Events[0]))
				break
			}
		}
	}
	devices, err := alice.Devices(ctx, "alice", 90)
	must(t, err)
	same(t, "devices", len(devices), 3)

	tokens, err := service.Tokens(ctx, phone)
	must(t, err)
	same(t, "token", tokens[0].ID, token.ID)
	must(t, service.RevokeToken(ctx, phone, token.ID))
	refusal(t, service.RevokeToken(ctx, phone, token.ID), client.CodeNotFound)
	must(t, alice.RemoveDevice(ctx, tablet))
	must(t, alice.RemoveUser(ctx, "alice"))

	expired := signer.KeyPackage(mlstest.WithLifetime(1, 2))
	_, err = bob.Publish(ctx, client.DeviceID{User: "bob", Name: "phone"}, "", signer.KeyPackage(), expired)
	invalid := refusal(t, err, client.CodeInvalidKeyPackage).Invalid
	same(t, "invalid", fmt.Sprint(invalid[0].Index, " ", invalid[0].Code), "1 expired")

	for _, operation := range operations(t) {
		if !slices.Contains(s.served, operation) {
			t.Errorf("%s was not asked", operation)
		}
	}
	unusual := []string{ // takes time, damage or another server to come by
		"Event.gap", "EventPage.gap", "DeviceInfo.idle_since", "Recipient.withheld_at", "ReservedDevice.idle_since", "Token.service", "problem.room",
	}
	for _, field := range client.NeverSeen() {
		if !slices.Contains(unusual, field) {
			t.Errorf("no answer had %s", field)
		}
	}
}

// operations are "METHOD pattern" of what the description of the API has, but for those that
// are for people and tools: the description itself, and pages.
func operations(t *testing.T) (list []string) {
	t.Helper()
	text, err := os.ReadFile("../server/openapi/openapi.json")
	must(t, err)
	var description struct{ Paths map[string]map[string]any }
	must(t, json.Unmarshal(text, &description))
	placeholder := regexp.MustCompile(`\{(\w+)\}`)
	for path, methods := range description.Paths {
		for method := range methods {
			switch method {
			case "get", "put", "post", "delete":
				if path != "/" && !strings.HasPrefix(path, "/v1/openapi") && !strings.HasPrefix(path, "/v1/docs") && !strings.HasPrefix(path, "/v1/errors") {
					list = append(list, strings.ToUpper(method)+" "+placeholder.ReplaceAllString(path, ":$1"))
				}
			}
		}
	}
	if len(list) < 25 {
		t.Errorf("the description has %d operations", len(list))
	}
	return list
}

// refusal expects one with a code.
func refusal(t *testing.T, err error, code client.Code) *client.Error {
	t.Helper()
	same(t, "code of "+fmt.Sprint(err), client.CodeOf(err), code)
	e, _ := err.(*client.Error)
	return e
}
