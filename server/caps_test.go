package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/server"
	"welcomed/server/admission"
)

// A refusals list says which caps have refused something.
type refusals struct {
	mu   sync.Mutex
	list []server.Cap
}

func (r *refusals) add(c server.Cap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, c)
}

func (r *refusals) has(c server.Cap) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.list, c)
}

// capped starts a server with these caps that believes X-Forwarded-For, so that
// tests come from where they want.
func capped(t *testing.T, caps server.Caps, prepare ...func(*server.Server)) (*service, *refusals) {
	t.Helper()
	r := new(refusals)
	return start(t, func(o *server.Options) {
		o.Caps, o.Refused = caps, r.add
		o.HeaderRead = time.Hour // so that nothing but a cap ends a connection
		o.NoAuth, o.TrustedProxies = server.NoAuthPublic, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}, prepare...), r
}

const (
	mallory = "203.0.113.1"
	alice   = "203.0.113.2"
)

// upload sends the header of an upload from an address and the first bytes of
// its body.
func upload(t *testing.T, s *service, from, path string, length, sent int) *conn {
	t.Helper()
	c := dial(t, s.api)
	_, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: %s\r\nContent-Type: message/mls\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", path, from, length)
	must(t, err)
	same(t, "interim answer", c.answer().StatusCode, 100)
	_, _ = c.Write(make([]byte, sent)) // it may be refused by then
	return c
}

func retried(t *testing.T, r reply) {
	t.Helper()
	same(t, "Retry-After", r.header.Get("Retry-After"), "1")
}

func TestRequestsOfOneCaller(t *testing.T) {
	s, refused := capped(t, server.Caps{RequestsPerCaller: 2})
	upload(t, s, mallory, "/v1/welcomes", 100, 0)
	last := upload(t, s, mallory, "/v1/welcomes", 100, 0)
	r := s.call("GET", shelf, nil, "X-Forwarded-For", mallory)
	r.refused(429, "too_many_requests")
	retried(t, r)
	same(t, "counted", refused.has(admission.CapRequestsPerCaller), true)
	s.call("GET", shelf, nil, "X-Forwarded-For", alice).want(200)
	same(t, "under way", s.server.Load().Requests, 2)

	_, err := last.Write(make([]byte, 100))
	must(t, err)
	same(t, "the upload", last.answer().StatusCode, 400)
	eventually(t, "room for another", func() bool { return s.server.Load().Requests == 1 })
	s.call("GET", shelf, nil, "X-Forwarded-For", mallory).want(200)
}

func TestRequestsOfAll(t *testing.T) {
	s, refused := capped(t, server.Caps{Requests: 3})
	for range 3 {
		upload(t, s, "", "/v1/welcomes", 100, 0) // from the proxy itself
	}
	r := s.call("GET", "/v1", nil)
	r.refused(503, "overloaded")
	retried(t, r)
	same(t, "counted", refused.has(admission.CapRequests), true)
	s.adminGet("/livez", "").want(200)
}

func TestRequestsOfOneAddressLeaveRoom(t *testing.T) {
	s, _ := capped(t, server.Caps{Requests: 9})
	for range 3 {
		upload(t, s, mallory, "/v1/welcomes", 100, 0)
	}
	s.call("GET", "/v1", nil, "X-Forwarded-For", mallory).refused(429, "too_many_requests")
	s.call("GET", "/v1", nil, "X-Forwarded-For", alice).want(200)
}

// poll begins a claim that waits, and returns when it does.
func (s *service) poll(device, from string) <-chan reply {
	s.t.Helper()
	before := s.server.Load().Waits
	answered := s.later("POST", "/v1/users/alice/devices/"+device+"/claim?wait=50s", nil, "X-Forwarded-For", from)
	eventually(s.t, "a claim to wait", func() bool { return s.server.Load().Waits == before+1 })
	return answered
}

// One too many ends the oldest as if its time were over, and nobody is refused.
func TestWaitsOfOneDevice(t *testing.T) {
	s, refused := capped(t, server.Caps{WaitsPerDevice: 2})
	kp := s.stock(1)[0]
	oldest, newer := s.poll("phone", alice), s.poll("phone", mallory)
	newest := s.later("POST", phone+"/claim?wait=50s", nil)
	same(t, "the oldest", words(wait(t, "the oldest to end", oldest).want(200).at("welcomes")), "[]")
	same(t, "counted", refused.has(admission.CapWaitsPerDevice), true)
	eventually(t, "two to wait", func() bool { return s.server.Load().Waits == 2 })
	s.post("", kp)
	same(t, "the newest", len(wait(t, "the Welcome", newest).want(200).list("welcomes")), 1)
	same(t, "the older", s.server.Load().Waits, 1)
	s.stop()
	wait(t, "the older", newer).want(200)
}

// TestTheNewestWaitIsWokenFirst: an older one may be of a connection that is dead.
func TestTheNewestWaitIsWokenFirst(t *testing.T) {
	s, _ := capped(t, server.Caps{})
	kps := s.stock(30)
	older := s.poll("phone", mallory)
	for _, kp := range kps {
		newest := s.poll("phone", alice)
		id, _ := s.post("", kp)
		same(t, "claimed", wait(t, "the Welcome", newest).want(200).text("welcomes", 0, "id"), id)
		s.call("POST", phone+"/welcomes/"+id+"/ack", nil).want(204)
	}
	select {
	case r := <-older:
		t.Fatalf("the older one was answered, too: %s", r.body)
	default:
	}
	s.stop()
	same(t, "the older", words(wait(t, "the older", older).want(200).at("welcomes")), "[]")
}

// TestWhatTheNewestDoesNotWantIsForAnother: it looks first, and not alone.
func TestWhatTheNewestDoesNotWantIsForAnother(t *testing.T) {
	s, _ := capped(t, server.Caps{})
	kp := s.stock(1)[0]
	older := s.poll("phone", alice)
	newest := s.later("POST", phone+"/claim?wait=50s", `{"refs":[]}`)
	eventually(t, "two to wait", func() bool { return s.server.Load().Waits == 2 })
	id, _ := s.post("", kp)
	same(t, "claimed", wait(t, "the Welcome", older).want(200).text("welcomes", 0, "id"), id)
	s.stop()
	wait(t, "the newest", newest).want(200)
}

func TestWaitsOfOneCaller(t *testing.T) {
	s, refused := capped(t, server.Caps{WaitsPerCaller: 2})
	s.poll("one", mallory)
	s.poll("two", mallory)
	s.call("POST", "/v1/users/alice/devices/three/claim?wait=50s", nil, "X-Forwarded-For", mallory).refused(429, "too_many_waits")
	same(t, "counted", refused.has(admission.CapWaitsPerCaller), true)
	s.poll("three", alice)
	same(t, "requests", s.server.Load().Requests, 0) // they are not under way
	s.stop()
}

func TestWaitsOfAll(t *testing.T) {
	s, refused := capped(t, server.Caps{Waits: 1})
	kps := s.stock(1)
	s.poll("tablet", "127.0.0.1")
	s.call("POST", phone+"/claim?wait=50s", nil).refused(503, "overloaded")
	same(t, "counted", refused.has(admission.CapWaits), true)
	s.post("", kps[0])
	same(t, "a Welcome needs no wait", len(s.call("POST", phone+"/claim?wait=50s", nil).want(200).list("welcomes")), 1)
	s.stop()
}

const memoryForTest = 18 << 20 // three times the largest body

// flooded starts a server whose memory for bodies Mallory holds as much of as
// she gets.
func flooded(t *testing.T) (*service, *refusals) {
	s, refused := capped(t, server.Caps{BodyMemory: memoryForTest})
	for range 20 {
		upload(t, s, mallory, "/v1/welcomes", 5<<20, 2<<20)
	}
	eventually(t, "her to be refused", func() bool { return refused.has(admission.CapBodyMemoryPerCaller) })
	return s, refused
}

func TestTheMemoryOfBodiesIsShared(t *testing.T) {
	s, _ := flooded(t)
	if held := s.server.Load().BodyMemory; held > memoryForTest/3 {
		t.Errorf("she holds %d", held)
	}
	large := mlstest.WelcomeFor(s.stock(1)...)
	large = append(large, make([]byte, 3<<20)...)
	r := s.call("POST", "/v1/welcomes", large, "X-Forwarded-For", mallory)
	r.refused(503, "overloaded")
	retried(t, r)
	s.call("POST", "/v1/welcomes", make([]byte, 10<<10), "X-Forwarded-For", mallory).refused(400, "malformed_message")
	s.call("POST", "/v1/welcomes", large, "X-Forwarded-For", alice).refused(400, "malformed_message")
}

func TestTheMemoryOfABodyIsTakenAsItComesAndGivenBack(t *testing.T) {
	s, _ := capped(t, server.Caps{BodyMemory: memoryForTest})
	c := upload(t, s, mallory, "/v1/welcomes", 4<<20, 0)
	same(t, "announced", s.server.Load().BodyMemory, 0)
	_, err := c.Write(make([]byte, 1<<20))
	must(t, err)
	eventually(t, "the memory to be taken", func() bool {
		held := s.server.Load().BodyMemory
		return held >= 1<<20-16<<10 && held <= 2<<20
	})
	c.Close()
	eventually(t, "the memory to be given back", func() bool { return s.server.Load().BodyMemory == 0 })
}

// TestTheMemoryOfAnswersIsShared: whoever takes answers slowly is told to come
// again, and nothing is lost.
func TestTheMemoryOfAnswersIsShared(t *testing.T) {
	s, refused := capped(t, server.Caps{BodyMemory: 30 << 20})
	s.fill("phone", 2)
	s.fill("tablet", 0)
	for range 2 {
		c := dial(t, s.api)
		must(t, c.Conn.(*net.TCPConn).SetReadBuffer(4<<10))
		_, err := fmt.Fprintf(c, "POST %s/claim HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: %s\r\nContent-Length: 0\r\n\r\n", phone, mallory)
		must(t, err)
	}
	eventually(t, "one to be refused", func() bool { return refused.has(admission.CapBodyMemoryPerCaller) })
	s.call("POST", tablet+"/claim", nil, "X-Forwarded-For", alice).want(200)
	same(t, "what was refused comes again, and the small one", len(s.call("POST", phone+"/claim", nil, "X-Forwarded-For", alice).want(200).list("welcomes")), 3)
}

// fill has n Welcomes of 3 MiB wait for a device, and one small one.
func (s *service) fill(device string, n int) {
	s.t.Helper()
	kps := newKeyPackages(n + 1)
	s.call("POST", "/v1/users/alice/devices/"+device+"/key-packages", publication{kps}).want(201)
	for _, b := range kps[1:] {
		kp, err := mls.ReadKeyPackage(b)
		must(s.t, err)
		s.call("POST", "/v1/welcomes", mlstest.WelcomeSize(3<<20-1000, 1, kp.Ref())).want(201)
	}
	s.post("", kps[0])
}

// TestAnOwnerRecoversWhileOthersFlood: publish, sync, claim and acknowledge are
// answered whatever another caller does.
func TestAnOwnerRecoversWhileOthersFlood(t *testing.T) {
	s, _ := flooded(t)
	for _, device := range []string{"a", "b", "c"} {
		for range 4 {
			s.poll(device, mallory)
		}
	}
	owner := func(method, path string, body any, status int, headers ...string) object {
		t.Helper()
		return s.call(method, path, body, append(headers, "X-Forwarded-For", alice)...).want(status)
	}
	kps := newKeyPackages(20)
	owner("POST", shelf, publication{kps}, 201)
	inventory := owner("GET", shelf, nil, 200)
	owner("POST", shelf+"/sync", object{"refs": inventory.at("refs")}, 200, "If-Match", `"`+inventory.text("digest")+`"`)
	id := owner("POST", "/v1/welcomes", mlstest.WelcomeFor(kps[0]), 201).text("id")
	same(t, "claimed", owner("POST", phone+"/claim?wait=1s", nil, 200).text("welcomes", 0, "id"), id)
	owner("POST", phone+"/welcomes/"+id+"/ack", nil, 204)
	s.stop()
}

func TestHeadersAreCounted(t *testing.T) {
	s := start(t, nil)
	many := strings.Repeat("X-A: b\r\n", 120)
	resp := raw(t, s.api, "GET /v1 HTTP/1.1\r\nHost: localhost\r\n"+many+"\r\n")
	same(t, "status", resp.StatusCode, 431)
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	same(t, "code", bytes.Contains(b, []byte(`"too_many_headers"`)), true)
}

func TestAHeaderThatComesSlowlyIsCutOff(t *testing.T) {
	s := start(t, func(o *server.Options) { o.HeaderRead = 100 * time.Millisecond })
	c := dial(t, s.api)
	for range 1000 {
		if _, err := io.WriteString(c, "GET /v1 HTTP/1.1\r\nX: "[:1]); err != nil {
			return
		}
		must(t, c.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
		if _, err := c.r.ReadByte(); err == io.EOF {
			return
		}
	}
	t.Error("it was never cut off")
}

func TestWhereARequestComesFrom(t *testing.T) {
	s := server.New(server.Options{Store: &callerStore{}, TrustedProxies: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("192.0.2.7/32")}})
	for _, row := range []struct {
		what, peer, want string
		forwarded        []string
	}{
		{"a peer that is not trusted speaks for itself", "203.0.113.1:5", "203.0.113.1", []string{"198.51.100.1"}},
		{"a trusted proxy says who it was", "10.1.2.3:5", "198.51.100.1", []string{"198.51.100.1"}},
		{"what stands left of it anybody can write", "10.1.2.3:5", "198.51.100.1", []string{"127.0.0.1, 198.51.100.1"}},
		{"trusted proxies in between are passed over", "10.1.2.3:5", "198.51.100.1", []string{"198.51.100.1, 192.0.2.7, 10.9.9.9"}},
		{"several headers are one list", "10.1.2.3:5", "198.51.100.2", []string{"198.51.100.1", "198.51.100.2"}},
		{"only trusted ones are left: the first of them", "10.1.2.3:5", "10.0.0.9", []string{"10.0.0.9, 10.0.0.8"}},
		{"no header", "10.1.2.3:5", "10.1.2.3", nil},
		{"an empty header", "10.1.2.3:5", "10.1.2.3", []string{""}},
		{"a malformed address", "10.1.2.3:5", "10.1.2.3", []string{"198.51.100.1, unknown"}},
		{"a malformed address left of the one that counts", "10.1.2.3:5", "198.51.100.1", []string{"x, 198.51.100.1"}},
		{"with a port", "10.1.2.3:5", "198.51.100.1", []string{"198.51.100.1:4711"}},
		{"IPv6 with a port", "[fd00::1]:5", "2001:db8::1", []string{"[2001:db8::1]:4711"}},
		{"IPv6 in brackets", "[fd00::1]:5", "2001:db8::1", []string{"[2001:db8::1]"}},
		{"IPv4 in IPv6 is IPv4", "[::ffff:10.1.2.3]:5", "198.51.100.1", []string{"::ffff:198.51.100.1"}},
		{"a zone is nobody's", "[fd00::1]:5", "fe80::1", []string{"fe80::1%eth0"}},
	} {
		r := httptest.NewRequest("GET", "/v1", nil)
		r.RemoteAddr = row.peer
		if row.forwarded != nil {
			r.Header["X-Forwarded-For"] = row.forwarded
		}
		same(t, row.what, s.ClientAddress(r), row.want)
	}
}

// TestAReservationIsLimitedByTheBytesOfItsAnswer: one of all devices of many
// users may have hundreds of megabytes.
func TestAReservationIsLimitedByTheBytesOfItsAnswer(t *testing.T) {
	s := start(t, func(o *server.Options) { o.AnswerBytes = 100 << 10 })
	for _, device := range []string{"phone", "tablet"} {
		s.call("POST", "/v1/users/alice/devices/"+device+"/key-packages", publication{newKeyPackages(1, mlstest.WithPadding(50<<10))}).want(201)
	}
	s.call("POST", "/v1/key-packages/reserve", object{"users": []string{"alice"}}).refused(422, "too_many")
	same(t, "nothing was reserved", s.call("GET", shelf, nil).want(200).at("counts", 0, "available"), any(json.Number("1")))
	s.call("POST", "/v1/key-packages/reserve", object{"devices": []object{{"user": "alice", "device": "phone"}}}).want(200)
}

// TestSmallRequestsNeedNoMemory: they are answered where there is none left.
func TestSmallRequestsNeedNoMemory(t *testing.T) {
	s, refused := capped(t, server.Caps{BodyMemory: 1})
	kps := s.stock(3)
	id, _ := s.post("", kps[0])
	same(t, "claimed", s.call("POST", phone+"/claim", nil).want(200).text("welcomes", 0, "id"), id)
	s.call("POST", phone+"/welcomes/"+id+"/ack", `{}`).want(204)
	s.call("POST", "/v1/welcomes", make([]byte, 40<<10)).refused(503, "overloaded")
	same(t, "counted", refused.has(admission.CapBodyMemory), true)
}
