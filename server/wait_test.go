package server_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"welcomed/auth"
	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/server"
)

// longest is a wait that no test has the time for: what it waits for has to wake it.
const longest = "/claim?wait=50s"

// TestWhatEndsAWait: nothing is posted, so the wait ends only if it is woken.
func TestWhatEndsAWait(t *testing.T) {
	alice, backend := ofUser("alice"), []string{"On-Behalf-Of", "alice"}
	for _, row := range []struct {
		what   string
		owner  delivery.TokenOwner
		header []string
		end    func(s *service, id string) error
		status int
		code   string
	}{
		{"the device's token is revoked", ofDevice("alice", "phone"), nil, revoke, 401, "invalid_token"},
		{"the user's token is revoked", alice, nil, revoke, 401, "invalid_token"},
		{"the service's token is revoked", aBackend, backend, revoke, 401, "invalid_token"},
		{"the device is removed, and its token with it", ofDevice("alice", "phone"), nil, removePhone, 401, "invalid_token"},
		{"the user is removed, and the user's token", alice, nil, removeAlice, 401, "invalid_token"},
		{"the device is removed by its user", alice, nil, removePhone, 200, ""},
		{"the device is removed by a service", aBackend, backend, removePhone, 200, ""},
		{"the user is removed by a service", aBackend, backend, removeAlice, 200, ""},
	} {
		s := startWithTokens(t)
		s.call("POST", shelf, publication{newKeyPackages(1)}, s.token(alice)...).want(201)
		token, text := auth.NewToken(row.owner)
		_, err := s.store.AddToken(t.Context(), token)
		must(t, err)
		polling := s.later("POST", phone+longest, nil, append(row.header, "Authorization", "Bearer "+text)...)
		wait(t, "the claim", s.store.claimed)
		must(t, row.end(s, token.ID))
		if r := wait(t, row.what, polling); row.code == "" {
			same(t, row.what, words(r.want(200).at("welcomes")), "[]")
		} else {
			r.refused(row.status, row.code)
		}
	}
}

func revoke(s *service, id string) error {
	return s.store.RevokeToken(background, delivery.TokenOwner{}, id)
}
func removePhone(s *service, _ string) error {
	return s.store.RemoveDevice(background, delivery.Unauthenticated(), delivery.DeviceID{User: "alice", Name: "phone"})
}
func removeAlice(s *service, _ string) error {
	return s.store.RemoveUser(background, delivery.Unauthenticated(), "alice")
}

func TestAnotherTokensEndEndsNoWait(t *testing.T) {
	s := startWithTokens(t)
	own := s.token(ofUser("alice"))
	kp := newKeyPackages(1)[0]
	s.call("POST", shelf, kp, own...).want(201)
	token, _ := auth.NewToken(ofUser("alice"))
	_, err := s.store.AddToken(t.Context(), token)
	must(t, err)
	polling := s.later("POST", phone+longest, nil, own...)
	wait(t, "the first claim", s.store.claimed)
	must(t, revoke(s, token.ID))
	wait(t, "the claim after the revocation", s.store.claimed)
	s.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kp), s.token(ofUser("bob"))...).want(201)
	same(t, "welcomes", len(wait(t, "the Welcome", polling).want(200).list("welcomes")), 1)
}

// JWTs cannot be revoked one by one: they outlive their device.
func TestARemovedDevicesJWTWaitsNoMore(t *testing.T) {
	issued := issuer{"old": {User: "alice", Device: "phone", IssuedAt: stillClock{}.Now().Add(-time.Minute)}}
	s := start(t, func(o *server.Options) { o.Auth = issued })
	old := []string{"Authorization", "Bearer old"}
	s.call("POST", shelf, publication{newKeyPackages(1)}, old...).want(201)
	polling := s.later("POST", phone+longest, nil, old...)
	wait(t, "the claim", s.store.claimed)
	must(t, removePhone(s, ""))
	wait(t, "the removal", polling).refused(403, "device_removed")
	s.call("POST", phone+"/claim", nil, old...).refused(403, "device_removed")
}

// A fickle issuer's token of Alice's phone is valid until it says otherwise, of
// which it tells nobody.
type fickle struct {
	expires time.Time
	ended   atomic.Bool
	left    atomic.Int64 // times that it says yes once ended is set
}

func (f *fickle) Authenticate(context.Context, string) (auth.Identity, error) {
	over := !f.expires.IsZero() && !time.Now().Before(f.expires)
	if over || f.ended.Load() && f.left.Add(-1) < 0 {
		return auth.Identity{}, fmt.Errorf("%w: it has ended", auth.ErrInvalid)
	}
	return auth.Identity{User: "alice", Device: "phone", Expires: f.expires}, nil
}

var anyToken = []string{"Authorization", "Bearer any"}

func TestAWaitEndsWhenItsCredentialsExpire(t *testing.T) {
	f := &fickle{expires: time.Now().Add(300 * time.Millisecond)}
	s := start(t, func(o *server.Options) { o.Auth = f })
	wait(t, "the end of the token", s.later("POST", phone+longest, nil, anyToken...)).refused(401, "invalid_token")
}

// TestEveryAnswerIsToValidCredentials: whatever ends a wait, and whatever is found.
func TestEveryAnswerIsToValidCredentials(t *testing.T) {
	for _, row := range []struct {
		what string
		left int64 // how often the credentials are still valid, once they are not
		end  func(s *service, kp []byte)
	}{
		{"the server stops", 0, func(s *service, _ []byte) { s.stop() }},
		{"a Welcome comes", 0, func(s *service, kp []byte) { s.deliver(kp) }},
		{"they end while it is claimed", 1, func(s *service, kp []byte) { s.deliver(kp) }},
	} {
		f := new(fickle)
		s := start(t, func(o *server.Options) { o.Auth = f })
		kp := newKeyPackages(1)[0]
		s.call("POST", shelf, kp, anyToken...).want(201)
		polling := s.later("POST", phone+longest, nil, anyToken...)
		wait(t, "the claim", s.store.claimed)
		f.left.Store(row.left)
		f.ended.Store(true)
		row.end(s, kp)
		wait(t, row.what, polling).refused(401, "invalid_token")
	}

	f := new(fickle)
	f.left.Store(1)
	f.ended.Store(true)
	s := start(t, func(o *server.Options) { o.Auth = f })
	s.call("POST", phone+"/claim?wait=1ms", nil, anyToken...).refused(401, "invalid_token") // at the end of its time
}

// deliver posts a Welcome behind the server's back.
func (s *service) deliver(kp []byte) {
	s.t.Helper()
	welcome, err := mls.ReadWelcome(mlstest.WelcomeFor(kp))
	must(s.t, err)
	must(s.t, welcome.Verify())
	_, err = s.store.Post(s.t.Context(), delivery.Caller{User: "bob"}, delivery.Posting{Welcome: welcome})
	must(s.t, err)
}

// TestABodyThatComesLateIsFromValidCredentials: they were looked at when it began.
func TestABodyThatComesLateIsFromValidCredentials(t *testing.T) {
	f := new(fickle)
	s := start(t, func(o *server.Options) { o.Auth = f }, func(s *server.Server) { s.Late(0) })
	c := dial(t, s.api)
	kp := newKeyPackages(1)[0]
	_, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer any\r\nContent-Type: message/mls\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", shelf, len(kp))
	must(t, err)
	same(t, "interim answer", c.answer().StatusCode, 100)
	f.ended.Store(true)
	_, err = c.Write(kp)
	must(t, err)
	same(t, "status", c.answer().StatusCode, 401)
	f.ended.Store(false)
	same(t, "published", words(s.call("GET", shelf, nil, anyToken...).want(200).at("refs")), "[]")
}

// givingAgain starts a server that gives a waiting claim again at once what is not
// settled, and counts what was given often.
func givingAgain(t *testing.T) (s *service, often *atomic.Int64) {
	often = new(atomic.Int64)
	return start(t, func(o *server.Options) { o.GivenOften = func() { often.Add(1) } },
		func(s *server.Server) { s.Again(time.Millisecond) }), often
}

// A proxy cuts each wait and loses a reply: what it had in it comes again, although
// no wait reaches its end.
func TestAWaitEndsForWhatWasNotSettledInTime(t *testing.T) {
	s, often := givingAgain(t)
	kps := s.stock(2)
	id, _ := s.post("", kps[0])
	commits := int64(0)
	for i, redelivered := range []bool{false, true, true, true} {
		claimed := s.call("POST", phone+longest, nil).want(200)
		same(t, "claimed", words(claimed.text("welcomes", 0, "id"), claimed.at("welcomes", 0, "redelivered")), words(id, redelivered))
		if i == 0 {
			commits = s.commits.Load()
		}
	}
	same(t, "given three times", often.Load(), 1)
	same(t, "commits", s.commits.Load(), commits)

	polling := s.later("POST", phone+longest, object{"skip": []string{id}})
	other, _ := s.post("", kps[1])
	same(t, "without the one in hand", wait(t, "the other", polling).want(200).text("welcomes", 0, "id"), other)
	s.call("POST", phone+"/welcomes/"+id+"/ack", nil).want(204)
	s.call("POST", phone+"/welcomes/"+other+"/ack", nil).want(204)
	same(t, "settled", words(s.call("POST", phone+"/claim?wait=5ms", nil).want(200).at("welcomes")), "[]")
}

// What this server did not give, it gives again some time after the wait began.
func TestAWaitEndsForWhatAnotherProcessGave(t *testing.T) {
	s, _ := givingAgain(t)
	id, _ := s.post("", s.stock(1)[0])
	device := delivery.DeviceID{User: "alice", Name: "phone"}
	_, err := s.store.Claim(t.Context(), delivery.Unauthenticated(), device, delivery.ClaimOptions{})
	must(t, err)
	same(t, "claimed", s.call("POST", phone+longest, nil).want(200).text("welcomes", 0, "id"), id)
}

// The answer is the state at the end of the wait: what was acknowledged meanwhile
// is not in it, and what was published is.
func TestAWaitAnswersWhatThereIsAtItsEnd(t *testing.T) {
	s := start(t, nil)
	id, _ := s.post("", s.stock(1)[0])
	s.call("POST", phone+"/claim", nil).want(200)
	wait(t, "the claim", s.store.claimed)
	polling := s.later("POST", phone+longest, nil)
	wait(t, "the claim that waits", s.store.claimed)
	s.call("POST", phone+"/welcomes/"+id+"/ack", nil).want(204)
	s.stock(1)
	s.stop()
	claimed := wait(t, "the answer", polling).want(200)
	same(t, "answer", words(claimed.at("welcomes"), claimed.at("stock", "available")), "[] 1")
}

func TestAProxyIsToldWhatToAllow(t *testing.T) {
	s := start(t, func(o *server.Options) { o.LongPoll = 30 * time.Second })
	proxy := s.call("GET", "/v1", nil).want(200)
	same(t, "proxy", words(proxy.at("proxy", "response_seconds"), proxy.at("proxy", "request_bytes"), proxy.at("proxy", "header_bytes")),
		words(45, server.LargestBody(delivery.DefaultLimits()), 32<<10))
}
