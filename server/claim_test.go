package server_test

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/server"
)

func TestALongPollWakesOnPost(t *testing.T) {
	s := start(t, nil)
	kp := s.stock(1)[0]
	answered := s.later("POST", phone+"/claim?wait=50s", nil)
	wait(t, "the first claim", s.store.claimed)
	id, _ := s.post("", kp)
	same(t, "claimed", wait(t, "the Welcome", answered).want(200).text("welcomes", 0, "id"), id)
}

// TestOnlyPublishingWaitsForSignatureChecks: no other event waits for those of
// a publication, of which there may be many and slow ones.
func TestOnlyPublishingWaitsForSignatureChecks(t *testing.T) {
	s := start(t, nil)
	kp := s.stock(2)[0]
	release := s.server.HoldChecks()
	publishing := s.later("POST", tablet+"/key-packages", signer.KeyPackage())
	replacing := s.later("PUT", "/v1/users/bob/devices/phone/key-packages", publication{newKeyPackages(1)})

	id, _ := s.post("", kp)
	same(t, "claimed", s.call("POST", phone+"/claim", nil).want(200).text("welcomes", 0, "id"), id)
	s.call("POST", phone+"/welcomes/"+id+"/ack", nil).want(204)
	s.call("POST", "/v1/key-packages/reserve", object{"users": []string{"alice"}}).want(200)
	s.call("GET", "/v1/users/alice/key-packages", nil).want(200)
	select {
	case r := <-publishing:
		t.Errorf("published without a check: %d", r.status)
	case r := <-replacing:
		t.Errorf("published without a check: %d", r.status)
	default:
	}
	release()
	wait(t, "the publication", publishing).want(201)
	wait(t, "the replacement", replacing).want(200)
}

func TestALongPollWakesOnReleaseAndNotOnHold(t *testing.T) {
	s := start(t, nil)
	kp := s.stock(1)[0]
	answered := s.later("POST", phone+"/claim?wait=50", nil)
	wait(t, "the first claim", s.store.claimed)
	id, _ := s.post("?hold=1", kp)
	// Another device's post and a claim of this one do not end it either.
	same(t, "meanwhile", len(s.call("POST", phone+"/claim", nil).want(200).list("welcomes")), 0)
	select {
	case r := <-answered:
		t.Fatalf("a hold ended the wait: %s", r.body)
	default:
	}
	s.call("POST", "/v1/welcomes/"+id+"/release", nil).want(200)
	same(t, "claimed", wait(t, "the Welcome", answered).want(200).text("welcomes", 0, "id"), id)
}

// TestAWaitEndsOnlyForOneNotGivenBefore: a device that has not acknowledged
// must not spin.
func TestAWaitEndsOnlyForOneNotGivenBefore(t *testing.T) {
	s := start(t, nil)
	kps := s.stock(2)
	old, _ := s.post("", kps[0])
	s.call("POST", phone+"/claim", nil).want(200)
	wait(t, "the claim", s.store.claimed)

	answered := s.later("POST", phone+"/claim?wait=50s", nil)
	same(t, "not settled", len(wait(t, "the first claim", s.store.claimed).Unsettled), 1)
	id, _ := s.post("", kps[1])
	claimed := wait(t, "the Welcome", answered).want(200)
	same(t, "new one first", claimed.text("welcomes", 0, "id")+claimed.text("welcomes", 1, "id"), id+old)
	same(t, "redelivered", words(claimed.at("welcomes", 0, "redelivered"), claimed.at("welcomes", 1, "redelivered")), "false true")

	late := s.call("POST", phone+"/claim?wait=1ms", nil).want(200)
	same(t, "at the end of the wait", len(late.list("welcomes")), 2)
	skipped := s.call("POST", phone+"/claim?wait=1ms", object{"skip": []string{id, old}}).want(200)
	same(t, "without those in hand", len(skipped.list("welcomes")), 0)
}

// TestAnAnswerIsThatOfTheLastClaim: a Welcome that comes when the wait is over
// is either answered or still there.
func TestAnAnswerIsThatOfTheLastClaim(t *testing.T) {
	s := start(t, nil)
	for range 30 {
		kp := s.stock(1)[0]
		answered := s.later("POST", phone+"/claim?wait=2ms", nil)
		s.post("", kp)
		claimed := wait(t, "an answer", answered).want(200)
		if len(claimed.list("welcomes")) == 0 {
			claimed = s.call("POST", phone+"/claim", nil).want(200)
		}
		same(t, "ref", claimed.text("welcomes", 0, "ref"), refOf(kp))
		same(t, "redelivered", claimed.at("welcomes", 0, "redelivered"), any(false))
		s.call("POST", phone+"/welcomes/"+claimed.text("welcomes", 0, "id")+"/ack", nil).want(204)
	}
}

func TestIdleLongPollsCommitNothing(t *testing.T) {
	s := start(t, func(o *server.Options) { o.Caps.WaitsPerDevice = 20 })
	s.stock(1)
	before := s.commits.Load()
	var polls []<-chan reply
	for range 20 {
		polls = append(polls, s.later("POST", phone+"/claim?wait=20ms", nil))
	}
	for _, p := range polls {
		claimed := wait(t, "a poll", p).want(200)
		same(t, "welcomes", words(claimed.at("welcomes")), "[]")
	}
	same(t, "commits", s.commits.Load(), before)
}

func TestAClientThatLeavesIsNotWaitedFor(t *testing.T) {
	s := start(t, nil)
	kp := s.stock(1)[0]
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+s.api+phone+"/claim?wait=50s", nil)
	must(t, err)
	gone := make(chan error, 1)
	go func() {
		_, err := http.DefaultTransport.RoundTrip(req)
		gone <- err
	}()
	wait(t, "the first claim", s.store.claimed)
	leave()
	wait(t, "the client", gone)
	s.saw(observation{"/v1/users/:user/devices/:device/claim", "POST", 499})
	s.post("", kp)
	same(t, "nobody took it", s.call("POST", phone+"/claim", nil).want(200).at("welcomes", 0, "redelivered"), any(false))
}

func TestDrainingEndsLongPollsWithTheirAnswer(t *testing.T) {
	s := start(t, nil)
	empty := s.later("POST", phone+"/claim?wait=50s", nil)
	raw := s.later("POST", tablet+"/claim?wait=50s", nil, "Accept", "message/mls")
	wait(t, "the first claim", s.store.claimed)
	wait(t, "the second claim", s.store.claimed)
	s.stop()
	same(t, "welcomes", words(wait(t, "an answer", empty).want(200).at("welcomes")), "[]")
	wait(t, "an answer", raw).want(204)
	wait(t, "the server", s.ended)
	must(t, s.err)
}

func TestAWaitIsCapped(t *testing.T) {
	s := start(t, nil)
	s.stop()
	wait(t, "the server", s.ended)
	for text, want := range map[string]time.Duration{"": 0, "wait=0": 0, "wait=7": 7 * time.Second, "wait=1m": 50 * time.Second, "wait=99999": 50 * time.Second, "wait=1.5s": 1500 * time.Millisecond} {
		got, err := s.server.ReadWait(text)
		must(t, err)
		same(t, text, got, want)
	}
}

func TestRefsNarrowAClaim(t *testing.T) {
	s := start(t, nil)
	kps := s.stock(2)
	s.post("", kps[0])
	id, _ := s.post("", kps[1])
	none := s.call("POST", phone+"/claim", `{"refs":[]}`).want(200)
	same(t, "none", words(none.at("welcomes"), none.at("withheld")), "[] 2")
	one := s.call("POST", phone+"/claim", object{"refs": []string{refOf(kps[1])}}).want(200)
	same(t, "one", words(one.at("welcomes", 0, "id"), one.at("withheld"), len(one.list("welcomes"))), id+" 1 1")
	all := s.call("POST", phone+"/claim", `{"max":1}`).want(200)
	same(t, "max", words(all.at("welcomes", 0, "ref"), all.at("more"), len(all.list("welcomes"))), refOf(kps[0])+" true 1")
}

func TestAClaimIsRawOnlyIfThatIsPreferred(t *testing.T) {
	s := start(t, nil)
	for accept, status := range map[string]int{
		"message/mls":                         204,
		"application/json;q=0.5, message/mls": 204,
		"message/mls;q=0":                     200,
		"application/json, message/mls;q=0.1": 200,
		"application/json":                    200,
		"*/*":                                 200,
	} {
		if got := s.call("POST", phone+"/claim", nil, "Accept", accept).status; got != status {
			t.Errorf("Accept: %s: %d, want %d", accept, got, status)
		}
	}
}

func TestALongWaitIsTheLongestWait(t *testing.T) {
	s := start(t, func(o *server.Options) { o.LongPoll = time.Second })
	for _, wait := range []string{"2h", "99999999999", "18446744073709551615"} {
		if got, err := s.server.ReadWait("wait=" + wait); err != nil || got != time.Second {
			t.Errorf("wait=%s: %v, %v", wait, got, err)
		}
	}
}

func TestARawClaim(t *testing.T) {
	s := start(t, nil)
	const accept, raw = "Accept", "application/json;q=0.1, message/mls"
	none := s.call("POST", phone+"/claim", nil, accept, raw)
	none.want(204)
	same(t, "none", none.header.Get("Welcome-Id")+none.header.Get("Welcome-More"), "false")

	kps := s.stock(2)
	welcome := mlstest.WelcomeFor(kps[0])
	id := s.call("POST", "/v1/welcomes", object{"welcome": welcome, "ratchet_tree": []byte("tree")}).want(201).text("id")
	s.post("", kps[1])
	first := s.call("POST", phone+"/claim", `{"max":5}`, accept, raw)
	first.want(200)
	same(t, "body", bytes.Equal(first.body, mls.Wrap(mls.WireFormatWelcome, welcome)), true)
	h := first.header
	same(t, "headers", words(h.Get("Content-Type"), h.Get("Welcome-Id"), h.Get("Key-Package-Ref"), h.Get("Welcome-Redelivered"), h.Get("Welcome-More")),
		words("message/mls", id, refOf(kps[0]), "false true"))
	path := phone + "/welcomes/" + id + "/ratchet-tree"
	same(t, "link", h.Get("Link"), "<"+path+`>; rel="ratchet-tree"`)
	same(t, "tree", string(s.call("GET", path, nil).body), "tree")

	second := s.call("POST", phone+"/claim?framing=bare", nil, accept, raw)
	second.want(200)
	same(t, "no tree", second.header.Get("Link"), "")
	again := s.call("POST", phone+"/claim?framing=bare", object{"skip": []string{second.header.Get("Welcome-Id")}}, accept, raw)
	again.want(200)
	same(t, "again", again.header.Get("Welcome-Redelivered"), "true")
	same(t, "bare", bytes.Equal(again.body, welcome), true)
}

func TestARatchetTreeInRanges(t *testing.T) {
	s := start(t, nil)
	kp := s.stock(1)[0]
	id := s.call("POST", "/v1/welcomes", object{"welcome": mlstest.WelcomeFor(kp), "ratchet_tree": []byte("0123456789")}).want(201).text("id")
	path := phone + "/welcomes/" + id + "/ratchet-tree"
	claimed := s.call("POST", phone+"/claim", nil).want(200)
	same(t, "inline", string(claimed.bytes("welcomes", 0, "ratchet_tree")), "0123456789")

	whole := s.call("GET", path, nil)
	whole.want(200)
	etag := whole.header.Get("ETag")
	same(t, "type", whole.header.Get("Content-Type"), "application/octet-stream")
	part := s.call("GET", path, nil, "Range", "bytes=3-5", "If-Range", etag)
	part.want(206)
	same(t, "part", string(part.body)+" "+part.header.Get("Content-Range"), "345 bytes 3-5/10")
	changed := s.call("GET", path, nil, "Range", "bytes=3-5", "If-Range", `"other"`)
	changed.want(200)
	s.call("GET", path, nil, "If-None-Match", etag).want(304)
	outside := s.call("GET", path, nil, "Range", "bytes=10-")
	outside.refused(416, "range_not_satisfiable")
	same(t, "range", outside.header.Get("Content-Range"), "bytes */10")

	other, _ := s.post("", s.stock(1)[0])
	s.call("POST", phone+"/claim", nil).want(200)
	s.call("GET", phone+"/welcomes/"+other+"/ratchet-tree", nil).refused(404, "not_found")
}

// A callerStore notes who asked.
type callerStore struct {
	delivery.Store
	claimed delivery.ClaimOptions
	device  delivery.DeviceID
}

func (s *callerStore) Failed() <-chan struct{} { return nil }

func (s *callerStore) Watch(delivery.DeviceID, delivery.TokenOwner) (<-chan struct{}, func()) {
	return nil, func() {}
}

func (s *callerStore) Claim(_ context.Context, _ delivery.Caller, d delivery.DeviceID, o delivery.ClaimOptions) (delivery.ClaimResult, error) {
	s.claimed, s.device = o, d
	return delivery.ClaimResult{}, nil
}

func TestWhatAClaimAsksTheStore(t *testing.T) {
	store := &callerStore{}
	s := start(t, func(o *server.Options) { o.Store = store })
	claimed := s.call("POST", "/v1/users/al%69ce@x:1/devices/a%2Bb=~/claim", nil).want(200)
	same(t, "empty", words(claimed), "map[more:false stock:map[available:0 low:false] welcomes:[] withheld:0]")
	same(t, "device", store.device.String(), "alice@x:1/a+b=~")
	same(t, "options", words(store.claimed.Refs == nil, store.claimed.Max, store.claimed.Bytes), "true 10 6291456")
	s.call("POST", phone+"/claim", `{"refs":[],"max":100}`).want(200)
	same(t, "options", words(store.claimed.Refs != nil, store.claimed.Max), "true 100")
	s.call("POST", phone+"/claim", `{"max":50}`, "Accept", "message/mls").want(204)
	same(t, "options", store.claimed.Max, 1)
}
