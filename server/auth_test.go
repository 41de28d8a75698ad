package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"welcomed/auth"
	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/operator/codes"
	"welcomed/server"
)

// startWithTokens serves those who have a token.
func startWithTokens(t *testing.T, change ...func(*server.Options)) *service {
	t.Helper()
	store, err := bolt.Open(filepath.Join(t.TempDir(), "welcomed.db"), bolt.Options{Limits: delivery.DefaultLimits(), Clock: stillClock{}})
	must(t, err)
	t.Cleanup(func() { store.Close() })
	return start(t, func(o *server.Options) {
		o.Store, o.Auth = store, auth.Tokens(store)
		for _, c := range change {
			c(o)
		}
	})
}

// token makes one and returns the headers that a request with it has.
func (s *service) token(o delivery.TokenOwner, more ...string) []string {
	return s.tokenWith(o, func(*delivery.Token) {}, more...)
}

func (s *service) tokenWith(o delivery.TokenOwner, change func(*delivery.Token), more ...string) []string {
	s.t.Helper()
	token, text := auth.NewToken(o)
	change(&token)
	_, err := s.store.AddToken(s.t.Context(), token)
	must(s.t, err)
	return append([]string{"Authorization", "Bearer " + text}, more...)
}

func ofUser(user string) delivery.TokenOwner {
	return delivery.TokenOwner{User: delivery.UserID(user)}
}
func ofDevice(user, device string) delivery.TokenOwner {
	return delivery.TokenOwner{User: delivery.UserID(user), Device: device}
}

var aBackend = delivery.TokenOwner{Service: "backend"}

// A scene is Alice, whose phone has some KeyPackages and Welcomes, and Bob, who
// has posted those. Each has other names in each scene.
type scene struct {
	*service
	alice, bob      string
	phone           string // path
	available       []byte // KeyPackages
	reserved        []byte // by Bob
	held, delivered string // ids of Welcomes
}

func (s *service) scene(n int) *scene {
	s.t.Helper()
	c := &scene{service: s, alice: fmt.Sprintf("alice%d", n), bob: fmt.Sprintf("bob%d", n)}
	c.phone = "/v1/users/" + c.alice + "/devices/phone"
	own, bob := s.token(ofUser(c.alice)), s.token(ofUser(c.bob))
	kps := newKeyPackages(4)
	s.call("POST", c.phone+"/key-packages", publication{kps}, own...).want(201)
	reserved := s.call("POST", "/v1/key-packages/reserve", object{"users": []string{c.alice}}, bob...).want(200)
	c.reserved = reserved.bytes("users", 0, "devices", 0, "key_package", "bytes")
	c.available = kps[3]
	tree := []byte("a ratchet tree")
	c.delivered = s.call("POST", "/v1/welcomes", object{"welcome": mlstest.WelcomeFor(kps[1]), "ratchet_tree": tree}, bob...).want(201).text("id")
	s.call("POST", c.phone+"/claim", nil, own...).want(200)
	c.held = s.call("POST", "/v1/welcomes?hold=1", mlstest.WelcomeFor(kps[2]), bob...).want(201).text("id")
	return c
}

// credentials are the callers of the table, in the order of its columns.
var credentials = []struct {
	name string
	of   func(*scene) []string
}{
	{"none", func(c *scene) []string { return nil }},
	{"bad", func(c *scene) []string { return []string{"Authorization", "Bearer welcomed_none"} }},
	{"alice", func(c *scene) []string { return c.token(ofUser(c.alice)) }},
	{"phone", func(c *scene) []string { return c.token(ofDevice(c.alice, "phone")) }},
	{"tablet", func(c *scene) []string { return c.token(ofDevice(c.alice, "tablet")) }},
	{"reads", func(c *scene) []string {
		return c.tokenWith(ofUser(c.alice), func(t *delivery.Token) { t.ReadOnly = true })
	}},
	{"bob", func(c *scene) []string { return c.token(ofUser(c.bob)) }},
	{"carol", func(c *scene) []string { return c.token(ofUser("carol")) }},
	{"service", func(c *scene) []string { return c.token(c.backend()) }},
	{"for-a", func(c *scene) []string { return c.token(c.backend(), "On-Behalf-Of", c.alice) }},
	{"for-t", func(c *scene) []string { return c.token(c.backend(), "On-Behalf-Of", c.alice+"/tablet") }},
	{"for-b", func(c *scene) []string { return c.token(c.backend(), "On-Behalf-Of", c.bob) }},
	{"b-as-a", func(c *scene) []string { return c.token(ofUser(c.bob), "On-Behalf-Of", c.alice) }},
}

// whoMay has a row for each route, with the answer that each caller gets. D is
// the path of Alice's phone, U hers, W a Welcome that Bob posted to it, M one
// that it was given, R a KeyPackage that Bob has reserved and A one on the shelf.
var whoMay = `
route                      none bad alice phone tablet reads bob carol service for-a for-t for-b b-as-a
GET /                      200  200 200   200   200    200   200 200   200     200   200   200   200
GET /v1                    200  200 200   200   200    200   200 200   200     200   200   200   200
GET /v1/openapi.json       200  200 200   200   200    200   200 200   200     200   200   200   200
GET /v1/openapi.yaml       200  200 200   200   200    200   200 200   200     200   200   200   200
GET /v1/docs               200  200 200   200   200    200   200 200   200     200   200   200   200
GET /v1/errors             200  200 200   200   200    200   200 200   200     200   200   200   200
GET /v1/errors/C           200  200 200   200   200    200   200 200   200     200   200   200   200
POST D/key-packages        401  401 201   201   403    403   403 403   201     201   403   403   403
PUT D/key-packages         401  401 200   200   403    403   403 403   200     200   403   403   403
GET D/key-packages         401  401 200   200   403    200   403 403   200     200   403   403   403
POST D/key-packages/sync   401  401 200   200   403    403   403 403   200     200   403   403   403
DELETE D/key-packages/A    401  401 204   204   403    403   403 403   204     204   403   403   403
GET U/devices              401  401 200   200   200    200   403 403   200     200   200   403   403
DELETE D                   401  401 204   204   403    403   403 403   204     204   403   403   403
DELETE U                   401  401 204   403   403    403   403 403   204     204   403   403   403
GET U/key-packages         401  401 200   200   200    200   200 200   200     200   200   200   403
POST /v1/key-packages/reserve 401 401 200 200   200    403   200 200   200     200   200   200   403
POST /v1/key-packages/give-back 401 401 200 200 200   403   200 200   200     200   200   200   403
GET /v1/key-packages/R     401  401 200   200   200    200   200 404   404     200   200   200   403
POST /v1/welcomes          401  401 409   409   409    403   201 409   409     409   409   201   403
GET /v1/welcomes/W         401  401 404   404   404    404   200 404   404     404   404   200   403
POST /v1/welcomes/W/release 401 401 404   404   404    403   200 404   404     404   404   200   403
DELETE /v1/welcomes/W      401  401 404   404   404    403   200 404   404     404   404   200   403
POST D/claim               401  401 200   200   403    403   403 403   200     200   403   403   403
GET D/welcomes/M/ratchet-tree 401 401 200 200   403    200   403 403   200     200   403   403   403
POST D/welcomes/M/ack      401  401 204   204   403    403   403 403   204     204   403   403   403
POST D/welcomes/M/reject   401  401 204   204   403    403   403 403   204     204   403   403   403
PUT D/key-packages/A       401  401 403   403   403    403   403 403   204     204   403   403   403
GET D/events?poll=1        401  401 200   200   403    200   403 403   200     200   403   403   403
GET U/events?poll=1        401  401 200   403   403    200   403 403   200     200   403   403   403
GET /v1/events?poll=1      401  401 403   403   403    403   403 403   200     403   403   403   403
POST D/tokens              401  401 403   403   403    403   403 403   201     201   403   403   403
GET D/tokens               401  401 403   403   403    403   403 403   200     200   403   403   403
DELETE D/tokens/T          401  401 403   403   403    403   403 403   404     404   403   403   403
`

// backend is a service of each scene: one has only so many tokens.
func (c *scene) backend() delivery.TokenOwner {
	return delivery.TokenOwner{Service: "backend-of-" + c.alice}
}

func (c *scene) path(pattern string) string {
	full := strings.NewReplacer("D/", c.phone+"/", "U/", "/v1/users/"+c.alice+"/", "/A", "/"+refOf(c.available), "/R", "/"+refOf(c.reserved),
		"/W", "/"+c.held, "/M/", "/"+c.delivered+"/", "/T", "/none", "/C", "/not_found")
	switch pattern {
	case "D":
		return c.phone
	case "U":
		return "/v1/users/" + c.alice
	}
	return full.Replace(pattern)
}

// body is what a request of that route brings.
func (c *scene) body(route string) any {
	switch route {
	case "POST D/key-packages", "PUT D/key-packages":
		return publication{newKeyPackages(1)}
	case "POST D/key-packages/sync":
		empty := sha256.Sum256(nil)
		return object{"digest": hex.EncodeToString(empty[:])}
	case "POST /v1/key-packages/reserve":
		return object{"users": []string{c.alice}}
	case "POST /v1/key-packages/give-back":
		return object{"reservation": "0000000000000001", "refs": []string{refOf(c.reserved)}}
	case "POST /v1/welcomes":
		return mlstest.WelcomeFor(c.reserved)
	case "POST D/welcomes/M/reject":
		return object{"reason": "declined"}
	}
	return nil
}

func TestWhoMay(t *testing.T) {
	s, scenes := startWithTokens(t), 0
	patterns := strings.NewReplacer("D/", "/v1/users/:user/devices/:device/", "U/", "/v1/users/:user/", "/A", "/:ref", "/R", "/:ref",
		"/W", "/:id", "/M/", "/:id/", "/T", "/:token", "/C", "/:code")
	var seen []string
	rows := strings.Split(strings.TrimSpace(whoMay), "\n")
	for _, row := range rows[1:] {
		cells := strings.Fields(row)
		method, pattern := cells[0], cells[1]
		route, _, _ := strings.Cut(pattern, "?")
		seen = append(seen, method+" "+map[string]string{"D": "/v1/users/:user/devices/:device", "U": "/v1/users/:user"}[pattern])
		if pattern != "D" && pattern != "U" {
			seen[len(seen)-1] = method + " " + patterns.Replace(route)
		}
		for i, caller := range credentials {
			c := s.scene(scenes)
			scenes++
			r := s.call(method, c.path(pattern), c.body(method+" "+pattern), caller.of(c)...)
			if got := fmt.Sprint(r.status); got != cells[2+i] {
				t.Errorf("%s %s by %s: %s, want %s: %s", method, pattern, caller.name, got, cells[2+i], r.body)
			}
			requireChallenge(t, r)
		}
	}
	routes := server.Routes()
	slices.Sort(routes)
	slices.Sort(seen)
	same(t, "routes", words(seen), words(routes))
	header := strings.Fields(rows[0])[1:]
	for i, caller := range credentials {
		same(t, "column", header[i], caller.name)
	}
}

func requireChallenge(t *testing.T, r reply) {
	t.Helper()
	if challenge := r.header.Get("WWW-Authenticate"); strings.HasPrefix(challenge, "Bearer") != (r.status == 401) {
		t.Errorf("%s: %d with WWW-Authenticate %q", r.what, r.status, challenge)
	}
}

// What is another's is answered like what does not exist.
func TestWhatIsAnothersDoesNotShow(t *testing.T) {
	s := startWithTokens(t)
	c := s.scene(0)
	carol := s.token(ofUser("carol"))
	unknownRef, unknownID := strings.Repeat("0", 64), strings.Repeat("1", 64)
	for _, row := range []struct{ what, method, theirs, nothing string }{
		{"a device", "GET", c.phone + "/key-packages", "/v1/users/nobody/devices/none/key-packages"},
		{"a mailbox", "POST", c.phone + "/claim", "/v1/users/nobody/devices/none/claim"},
		{"a user's devices", "GET", "/v1/users/" + c.alice + "/devices", "/v1/users/nobody/devices"},
		{"a Welcome", "GET", "/v1/welcomes/" + c.held, "/v1/welcomes/" + unknownID},
		{"a hold", "POST", "/v1/welcomes/" + c.held + "/release", "/v1/welcomes/" + unknownID + "/release"},
		{"a Welcome to be cancelled", "DELETE", "/v1/welcomes/" + c.held, "/v1/welcomes/" + unknownID},
		{"a KeyPackage", "GET", "/v1/key-packages/" + refOf(c.reserved), "/v1/key-packages/" + unknownRef},
		{"a KeyPackage to be withdrawn", "DELETE", c.phone + "/key-packages/" + refOf(c.available), "/v1/users/nobody/devices/none/key-packages/" + unknownRef},
		{"a Welcome to be acknowledged", "POST", c.phone + "/welcomes/" + c.delivered + "/ack", "/v1/users/nobody/devices/none/welcomes/" + unknownID + "/ack"},
	} {
		theirs, nothing := s.call(row.method, row.theirs, nil, carol...), s.call(row.method, row.nothing, nil, carol...)
		a, b := theirs.want(theirs.status), nothing.want(nothing.status)
		for _, o := range []object{a, b} {
			delete(o, "request_id")
		}
		same(t, row.what, words(a), words(b))
		same(t, row.what, words(slices.Sorted(headerNames(theirs))), words(slices.Sorted(headerNames(nothing))))
	}
	// Her own mailbox, for a Welcome that is another's.
	own := "/v1/users/carol/devices/phone"
	s.call("POST", own+"/key-packages", publication{newKeyPackages(1)}, carol...).want(201)
	for _, id := range []string{c.delivered, c.held, unknownID} {
		s.call("POST", own+"/welcomes/"+id+"/ack", nil, carol...).refused(404, "not_found")
		s.call("GET", own+"/welcomes/"+id+"/ratchet-tree", nil, carol...).refused(404, "not_found")
	}
	// A KeyPackage that Bob has reserved is taken, by nobody that she is told of.
	verdict := s.call("POST", "/v1/welcomes", mlstest.WelcomeFor(c.reserved), carol...).refused(409, "no_matching_key_package")
	same(t, "recipient", words(verdict.at("recipients", 0)), words(map[string]any{"ref": refOf(c.reserved), "status": "taken"}))
	same(t, "log", s.log.String(), "")
}

func headerNames(r reply) func(func(string) bool) {
	return func(yield func(string) bool) {
		for name := range r.header {
			if !yield(name) {
				return
			}
		}
	}
}

func TestCredentialsThatAreRefused(t *testing.T) {
	s := startWithTokens(t)
	alice, backend := s.token(ofUser("alice")), s.token(aBackend)
	_, never := auth.NewToken(ofUser("alice"))
	expired := s.tokenWith(ofUser("alice"), func(k *delivery.Token) { k.Expires = stillClock{}.Now() })
	for _, row := range []struct {
		what   string
		header []string
		status int
		code   string
	}{
		{"no credentials", nil, 401, "unauthenticated"},
		{"a password", []string{"Authorization", "Basic YWxpY2U6"}, 401, "unauthenticated"},
		{"an empty token", []string{"Authorization", "Bearer"}, 401, "invalid_token"},
		{"a token of nobody", []string{"Authorization", "Bearer " + never}, 401, "invalid_token"},
		{"a token that has expired", expired, 401, "invalid_token"},
		{"a token in the query", nil, 401, "unauthenticated"},
		{"on behalf of nobody", append(backend, "On-Behalf-Of", ""), 400, "bad_identifier"},
		{"on behalf of a slash", append(backend, "On-Behalf-Of", "alice/"), 400, "bad_identifier"},
		{"on behalf of a path", append(backend, "On-Behalf-Of", "alice/phone/more"), 400, "bad_identifier"},
		{"on behalf of two", append(backend, "On-Behalf-Of", "alice, bob"), 400, "bad_identifier"},
		{"a user on behalf of herself", append(alice, "On-Behalf-Of", "alice"), 403, "not_a_service"},
	} {
		s.call("GET", shelf, nil, row.header...).refused(row.status, row.code)
		if !t.Failed() && row.status == 401 {
			s.call("GET", "/v1", nil, row.header...).want(200)
		}
	}
	s.call("GET", shelf+"?access_token="+strings.TrimPrefix(alice[1], "Bearer "), nil).refused(401, "unauthenticated")
	s.call("GET", shelf, nil, "Authorization", "bearer  "+strings.TrimPrefix(alice[1], "Bearer ")).want(200)
	// Whoever shows a token may come through a proxy.
	s.call("GET", shelf, nil, append(alice, "X-Forwarded-For", "192.0.2.1", "Host", "example.org")...).want(200)
}

func TestAServiceSignsUpADevice(t *testing.T) {
	s := startWithTokens(t)
	backend := s.token(aBackend)
	tokens := phone + "/tokens"
	made := s.call("POST", tokens, nil, backend...).want(201)
	same(t, "owner", words(made.at("user"), made.at("device"), made.at("created_by"), made.at("read_only")), "alice phone backend false")
	device := []string{"Authorization", "Bearer " + made.text("token")}
	s.call("POST", shelf, publication{newKeyPackages(1)}, device...).want(201)
	detail := s.call("POST", tablet+"/key-packages", publication{newKeyPackages(1)}, device...).refused(403, "forbidden").text("detail")
	same(t, "it says", detail, "forbidden: this is another device's: see that the path is right, and that the request has a token which may use it; asking again does not help")

	limited := s.call("POST", tokens, object{"read_only": true, "expires_at": "2036-01-01T00:00:00+01:00"}, backend...).want(201)
	same(t, "rights", words(limited.at("read_only"), limited.at("expires_at")), "true 2035-12-31T23:00:00Z")
	s.call("POST", tokens, object{"expires_at": "2001-01-01T00:00:00Z"}, backend...).refused(400, "bad_request")
	s.call("POST", tokens, object{"expires_at": "tomorrow"}, backend...).want(400)

	list := s.call("GET", tokens, nil, backend...).want(200)
	same(t, "tokens", len(list.list("tokens")), 2)
	for i := range 2 {
		_, shown := list.at("tokens", i).(map[string]any)["token"]
		same(t, "the secret is shown", shown, false)
	}
	s.call("DELETE", "/v1/users/bob/devices/phone/tokens/"+made.text("id"), nil, backend...).refused(404, "not_found")
	s.call("DELETE", tokens+"/"+made.text("id"), nil, backend...).want(204)
	s.call("GET", shelf, nil, device...).refused(401, "invalid_token")
	s.call("DELETE", tokens+"/"+made.text("id"), nil, backend...).refused(404, "not_found")

	for range 99 {
		s.call("POST", tokens, nil, backend...).want(201)
	}
	s.call("POST", tokens, nil, backend...).refused(409, "too_many_tokens")
}

func TestWithoutAuthenticationNobodyMakesTokens(t *testing.T) {
	s := start(t, nil)
	detail := s.call("POST", phone+"/tokens", nil).refused(403, "forbidden").text("detail")
	same(t, "it says", detail, "forbidden: only a service may, and this request is served without authentication: "+codes.Refusals["forbidden"].Do)
	s.call("GET", phone+"/tokens", nil).refused(403, "forbidden")
	s.call("DELETE", phone+"/tokens/none", nil).refused(403, "forbidden")
}

func TestRemovingADeviceEndsItsTokens(t *testing.T) {
	s := startWithTokens(t)
	device := s.token(ofDevice("alice", "phone"))
	s.call("POST", shelf, publication{newKeyPackages(1)}, device...).want(201)
	s.call("DELETE", phone, nil, device...).want(204)
	s.call("POST", shelf, publication{newKeyPackages(1)}, device...).refused(401, "invalid_token")
	s.call("POST", shelf, publication{newKeyPackages(1)}, s.token(ofUser("alice"))...).want(201)
}

// An issuer's token of a device stays valid when the device is removed.
func TestARemovedDeviceIsNotBroughtBackByOldCredentials(t *testing.T) {
	issued := issuer{"old": {User: "alice", Device: "phone", IssuedAt: stillClock{}.Now().Add(-time.Minute)}, "undated": {User: "alice", Device: "phone"},
		"new": {User: "alice", Device: "phone", IssuedAt: stillClock{}.Now().Add(time.Minute)}}
	s := start(t, func(o *server.Options) { o.Auth = issued })
	old := []string{"Authorization", "Bearer old"}
	s.call("POST", shelf, publication{newKeyPackages(1)}, old...).want(201)
	s.call("DELETE", phone, nil, old...).want(204)
	s.call("POST", shelf, publication{newKeyPackages(1)}, old...).refused(403, "device_removed")
	s.call("PUT", shelf, publication{newKeyPackages(1)}, "Authorization", "Bearer undated").refused(403, "device_removed")
	s.call("POST", shelf, publication{newKeyPackages(1)}, "Authorization", "Bearer new").want(201)
	s.call("POST", shelf, publication{newKeyPackages(1)}, old...).refused(403, "device_removed")
}

// An unavailable issuer is nobody's fault but ours.
func TestTokensThatCannotBeChecked(t *testing.T) {
	s := start(t, func(o *server.Options) { o.Auth = issuer{} })
	r := s.call("GET", shelf, nil, "Authorization", "Bearer any")
	r.refused(503, "auth_unavailable")
	same(t, "Retry-After", r.header.Get("Retry-After"), "1")
}

// TestARevocationReachesThoseWhoWait: a claim that has waited since before the
// revocation is given nothing.
func TestARevocationReachesThoseWhoWait(t *testing.T) {
	s := startWithTokens(t)
	own := s.token(ofUser("alice"))
	kp := newKeyPackages(1)[0]
	s.call("POST", shelf, kp, own...).want(201)
	token, text := auth.NewToken(ofDevice("alice", "phone"))
	_, err := s.store.AddToken(t.Context(), token)
	must(t, err)
	waiting := s.later("POST", phone+"/claim?wait=30s", nil, "Authorization", "Bearer "+text)
	wait(t, "the claim", s.store.claimed)
	must(t, s.store.RevokeToken(t.Context(), delivery.TokenOwner{}, token.ID))
	s.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kp), s.token(ofUser("bob"))...).want(201)
	wait(t, "the answer", waiting).refused(401, "invalid_token")
	claimed := s.call("POST", phone+"/claim", nil, own...).want(200)
	same(t, "redelivered", words(claimed.at("welcomes", 0, "redelivered")), "false")
}

// A reservation and a Welcome are a caller's, whatever the token or the device.
func TestACallerIsAUser(t *testing.T) {
	s := startWithTokens(t)
	c := s.scene(0)
	device, service := s.token(ofDevice(c.bob, "laptop")), s.token(aBackend, "On-Behalf-Of", c.bob+"/desktop")
	bytes := mlstest.WelcomeFor(c.reserved)
	posted := s.call("POST", "/v1/welcomes", bytes, device...).want(201)
	s.call("GET", "/v1/welcomes/"+posted.text("id"), nil, service...).want(200)
	welcome, err := mls.ReadWelcome(bytes)
	must(t, err)
	same(t, "id", posted.text("id") == delivery.IDOf(delivery.Caller{User: delivery.UserID(c.bob)}, welcome.Bytes()).String(), true)
}

// An issuer has given out these tokens; all others it cannot check.
type issuer map[string]auth.Identity

func (i issuer) Authenticate(_ context.Context, token string) (auth.Identity, error) {
	if id, ok := i[token]; ok {
		return id, nil
	}
	return auth.Identity{}, auth.ErrUnavailable
}
