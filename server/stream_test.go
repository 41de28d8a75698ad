package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"welcomed/auth"
	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/mls/mlstest"
	"welcomed/server"
	"welcomed/server/admission"
	"welcomed/store"
)

// A follower reads a stream in NDJSON.
type follower struct {
	t     *testing.T
	lines chan object // but for heartbeats; closed at the end of the stream
	at    string      // the id of the last line that was read from lines
	leave func()
}

// follow opens a stream.
func (s *service) follow(path string, headers ...string) *follower {
	s.t.Helper()
	ctx, leave := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.api+path, nil)
	must(s.t, err)
	req.Header.Set("Accept", "application/x-ndjson")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(s.t, err)
	s.t.Cleanup(leave)
	r := reply{t: s.t, what: "GET " + path, status: resp.StatusCode, header: resp.Header}
	if r.status != 200 {
		r.body, _ = io.ReadAll(resp.Body)
	}
	r.check("GET")
	r.want(200)
	f := &follower{t: s.t, lines: make(chan object, 10_000), leave: leave}
	_, stored := s.store.Store.(*bolt.Store)
	go func() {
		defer close(f.lines)
		defer resp.Body.Close()
		lines := bufio.NewReader(resp.Body)
		for {
			var err error
			if r.body, err = lines.ReadBytes('\n'); err != nil {
				return // what is left of a line was cut off
			}
			r.conforms(req, nil, !stored)
			var line object
			if err := json.Unmarshal(r.body, &line); err != nil {
				s.t.Errorf("%s: %v: %q", r.what, err, r.body)
			}
			if line["type"] != "heartbeat" {
				f.lines <- line
			}
		}
	}()
	return f
}

// opened opens a stream and reads its first line.
func (s *service) opened(path string, headers ...string) *follower {
	s.t.Helper()
	f := s.follow(path, headers...)
	same(s.t, "the first line", f.next("open").text("gap"), "")
	return f
}

// next returns the next line, which has this type.
func (f *follower) next(is string) object {
	f.t.Helper()
	line := wait(f.t, "a line with "+is, f.lines)
	same(f.t, "type of "+words(line), line.text("type"), is)
	if id := line.text("id"); id != "" {
		f.at = id
	}
	return line
}

// ends expects that a stream has ended, for this reason; empty: it was cut off.
func (f *follower) ends(reason string) {
	f.t.Helper()
	if reason != "" {
		same(f.t, "the last word", f.next("end").text("reason"), reason)
	}
	same(f.t, "what comes behind it", words(wait(f.t, "the end of a stream", f.lines)), "map[]")
}

const phoneEvents, aliceEvents, bobEvents = phone + "/events", "/v1/users/alice/events", "/v1/users/bob/events"

func TestAStreamTellsWhatHappens(t *testing.T) {
	s := startWithTokens(t)
	alice, bob, app := s.token(ofUser("alice")), s.token(ofUser("bob")), s.token(aBackend)
	streams := map[string]*follower{
		"her phone's": s.opened(phoneEvents, s.token(ofDevice("alice", "phone"))...), "her tablet's": s.opened(tablet+"/events", alice...),
		"alice's": s.opened(aliceEvents, alice...), "bob's": s.opened(bobEvents, bob...),
		"all": s.opened("/v1/events", app...), "bob's of the service": s.opened("/v1/events?user=bob", app...),
	}
	kps := newKeyPackages(2)
	s.call("POST", shelf, publication{kps}, alice...).want(201)
	held := s.call("POST", "/v1/welcomes?hold=1", mlstest.WelcomeFor(kps[0]), bob...).want(201).text("id")
	id := s.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kps[1]), bob...).want(201).text("id")
	s.call("POST", "/v1/welcomes/"+held+"/release", nil, bob...).want(200)
	s.call("POST", phone+"/claim", nil, alice...).want(200)
	s.call("POST", phone+"/welcomes/"+id+"/ack", nil, alice...).want(204)
	s.call("POST", phone+"/welcomes/"+held+"/reject", object{"reason": "undecryptable"}, alice...).want(204)

	short := strings.NewReplacer(id, "ID", held, "HELD", refOf(kps[0]), "R0", refOf(kps[1]), "R1").Replace
	told := func(what string) string {
		f, list := streams[what], []string{}
		f.leave()
		for line := range f.lines {
			at, _ := line["at"].(string)
			if _, err := time.Parse(time.RFC3339, at); err != nil || line["id"] == "" {
				t.Errorf("%s: no time or no id: %v", what, line)
			}
			recipient, _ := line["recipient"].(map[string]any)
			stock, _ := line["stock"].(map[string]any)
			list = append(list, words(line["type"], line.text("user"), line.text("device"), short(line.text("welcome")), short(line.text("ref")),
				line.text("status"), line.text("reason"), recipient["device"], stock["available"]))
		}
		return strings.Join(list, "\n")
	}
	last := func(what string, n int) { // waits until all of it has come
		eventually(t, what, func() bool { return len(streams[what].lines) == n })
	}
	mine := "welcome alice phone ID R1   <nil> <nil>\nstock alice phone     <nil> 0\nwelcome alice phone HELD R0   <nil> <nil>"
	his := "outcome bob  HELD R0 delivered  phone <nil>\noutcome bob  ID R1 delivered  phone <nil>\noutcome bob  ID R1 acknowledged  phone <nil>\noutcome bob  HELD R0 rejected undecryptable phone <nil>"
	last("all", 7)
	for what, want := range map[string]string{"her phone's": mine, "her tablet's": "", "alice's": mine, "bob's": his, "all": mine + "\n" + his, "bob's of the service": his} {
		if want != "" {
			last(what, 1+strings.Count(want, "\n"))
		}
		same(t, what, told(what), want)
	}
}

// TestServerSentEvents: byte for byte, as browsers read them.
func TestServerSentEvents(t *testing.T) {
	begin, ring := stillClock{}.Now(), make(chan time.Time)
	var passed atomic.Int64
	s := start(t, nil, func(s *server.Server) {
		s.Time(func() time.Time { return begin.Add(time.Duration(passed.Load())) }, ring)
	})
	kp := s.stock(20)[0]
	c := dial(t, s.api)
	_, err := io.WriteString(c, "GET "+phoneEvents+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
	must(t, err)
	answer := c.answer()
	same(t, "headers", words(answer.StatusCode, answer.Header.Get("Content-Type"), answer.Header.Get("Cache-Control"), answer.Header.Get("X-Accel-Buffering")),
		"200 text/event-stream no-store no")
	body := bufio.NewReader(answer.Body)
	event := func() (lines []string) {
		for {
			line, err := body.ReadString('\n')
			must(t, err)
			if line == "\n" {
				return lines
			}
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	open := event()
	var retry int
	_, err = fmt.Sscanf(open[0], "retry: %d", &retry)
	must(t, err)
	if retry < 1000 || retry >= 5000 {
		t.Errorf("connects again after %d ms", retry)
	}
	id := strings.TrimPrefix(open[1], "id: ")
	same(t, "open", strings.Join(open[1:], "|"), fmt.Sprintf(`id: %s|event: open|data: {"type":"open","id":"%s"}`, id, id))
	welcome, _ := s.post("", kp)
	first := event()
	id = strings.TrimPrefix(first[0], "id: ")
	same(t, "event", strings.Join(first, "|"), fmt.Sprintf(
		`id: %s|event: welcome|data: {"type":"welcome","id":"%s","at":"2026-12-01T12:00:00Z","user":"alice","device":"phone","welcome":"%s","ref":"%s"}`, id, id, welcome, refOf(kp)))

	ring <- time.Time{} // the server has noted when it wrote
	passed.Store(int64(20 * time.Second))
	ring <- time.Time{}
	beat := event()
	same(t, "heartbeat", beat[0]+beat[1][:4], ":id: ")
	s.stop()
	end := strings.Join(event(), "|")
	same(t, "end", end[strings.Index(end, "|")+1:strings.Index(end, "{")]+end[strings.Index(end, `,"reason`):], `event: end|data: ,"reason":"shutting_down"}`)
	rest, err := io.ReadAll(body)
	must(t, err)
	same(t, "behind it", string(rest), "")
}

// TestAHeartbeatComesWhenNothingWasSent: for as long as it says, and not sooner.
func TestAHeartbeatComesWhenNothingWasSent(t *testing.T) {
	var now atomic.Int64
	ring := make(chan time.Time)
	s := start(t, nil, func(s *server.Server) {
		s.Time(func() time.Time { return time.Unix(now.Load(), 0) }, ring)
	})
	kps := s.stock(20)
	resp := raw(t, s.api, "GET "+phoneEvents+" HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n")
	lines := bufio.NewScanner(resp.Body)
	is := func(want string) {
		t.Helper()
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
		same(t, "line", lines.Text()[:len(want)+9], `{"type":"`+want)
	}
	ringAt := func(second int64) { now.Store(second); ring <- time.Time{}; ring <- time.Time{} } // the second once the first was served
	is("open")
	ringAt(0)  // the server notes when it wrote after the line can be read
	ringAt(19) // nothing
	ringAt(20)
	is("heartbeat")
	now.Store(39)
	s.post("", kps[0])
	is("welcome")
	ringAt(58) // nothing
	s.post("", kps[1])
	is("welcome")
	ringAt(58)
	ringAt(79)
	is("heartbeat")
	s.stop()
	is("end")
}

// TestAStreamGoesOnWhereItWas: while many Welcomes are posted, a reader connects again at
// random places. Each event is told once, in order, and none is lost.
func TestAStreamGoesOnWhereItWas(t *testing.T) {
	for name, start := range twoServers {
		t.Run(name, func(t *testing.T) {
			reads, posts := start(t)
			const posters, each = 4, 40
			var posting sync.WaitGroup
			begin := make(chan struct{})
			kps := make([][][]byte, posters)
			for i := range kps {
				kps[i] = newKeyPackages(each + 10) // so that the stock does not become low
				posts.call("POST", shelf, publication{kps[i]}).want(201)
			}
			for i := range posters {
				posting.Go(func() {
					<-begin
					for _, kp := range kps[i][:each] {
						posts.post("", kp)
					}
				})
			}
			t.Cleanup(posting.Wait)
			f := reads.opened(phoneEvents)
			alice := reads.opened(aliceEvents)
			close(begin)
			var refs []string
			seen := make(map[string]bool)
			for len(refs) < posters*each {
				if rand.N(10) == 0 {
					f.leave()
					how := []string{"Last-Event-ID", f.at}
					path := phoneEvents
					if rand.N(2) == 0 {
						how, path = nil, path+"?after="+f.at
					}
					f = reads.opened(path, how...)
				}
				ref := f.next("welcome").text("ref")
				same(t, "told before: "+ref, seen[ref], false)
				seen[ref] = true
				refs = append(refs, ref)
			}
			for _, list := range kps { // each poster's are in order
				at := -1
				for _, kp := range list[:each] {
					next := slices.Index(refs, refOf(kp))
					if next <= at {
						t.Fatalf("%s is at %d, and the one before it at %d", refOf(kp), next, at)
					}
					at = next
				}
			}
			for i, ref := range refs {
				same(t, fmt.Sprint("the same for another reader: ", i), alice.next("welcome").text("ref"), ref)
			}
			// And page by page, as one who polls.
			var polled []string
			after, more := "", true
			first := reads.opened(phoneEvents, "Last-Event-ID", f.at)
			for after = first.at; more; {
				page := reads.call("GET", phoneEvents+"?poll=1&after="+after, nil).want(200)
				after, more = page.text("next"), page.at("more") == true
				polled = append(polled, words(page.list("events")...))
			}
			same(t, "behind the last", strings.Join(polled, ""), "")
		})
	}
}

// twoServers start two servers on one database: what one posts, the other tells.
var twoServers = map[string]func(*testing.T) (reads, posts *service){
	"on a file": func(t *testing.T) (*service, *service) {
		one := start(t, nil)
		return one, start(t, func(o *server.Options) { o.Store = one.store })
	},
	"in memory": func(t *testing.T) (*service, *service) {
		opened, err := store.NewMemory().OpenProcesses(2, stillClock{}, true, store.Options{Limits: delivery.DefaultLimits()})
		must(t, err)
		open := func(i int) *service {
			t.Cleanup(func() { opened[i].Close() })
			return start(t, func(o *server.Options) { o.Store = opened[i] })
		}
		return open(0), open(1)
	},
}

func TestPollingEvents(t *testing.T) {
	s := start(t, nil)
	kps := s.stock(50)
	begin := s.call("GET", phoneEvents+"?poll=1", nil).want(200)
	same(t, "from now on", words(begin.at("events"), begin.at("more")), "[] false")
	for _, kp := range kps[:40] {
		s.post("", kp)
	}
	page := s.call("GET", phoneEvents+"?poll=true&after="+begin.text("next"), nil).want(200)
	same(t, "a page", words(len(page.list("events")), page.at("more"), page.text("events", 0, "ref")), words(32, true, refOf(kps[0])))
	rest := s.call("GET", phoneEvents+"?poll=1", nil, "Last-Event-ID", page.text("next")).want(200)
	same(t, "the rest", words(len(rest.list("events")), rest.at("more"), rest.text("events", 7, "ref")), words(8, false, refOf(kps[39])))
	between := s.call("GET", phoneEvents+"?poll=1&after="+page.text("events", 3, "id"), nil).want(200)
	same(t, "behind an event", between.text("events", 0, "ref"), refOf(kps[4]))
	both := s.call("GET", phoneEvents+"?poll=1&after="+begin.text("next"), nil, "Last-Event-ID", page.text("next")).want(200)
	same(t, "Last-Event-ID wins", len(both.list("events")), 8)

	s.call("GET", phoneEvents+"?poll=1&after=x", nil).refused(400, "bad_request")
	s.call("GET", phoneEvents+"?after=x", nil).refused(400, "bad_request")
	s.call("GET", phoneEvents+"?poll=x", nil).refused(400, "bad_request")
	s.call("GET", aliceEvents+"?user=bob", nil).refused(400, "bad_request")
	s.call("GET", "/v1/events?poll=1", nil).refused(403, "forbidden") // there are no services
	head := s.call("HEAD", phoneEvents, nil)
	same(t, "HEAD", words(head.status, head.header.Get("Content-Type")), "200 text/event-stream")
}

// TestWhatEndsAStream: nothing else happens, so the stream ends only if it is told to.
func TestWhatEndsAStream(t *testing.T) {
	alice, backend := ofUser("alice"), []string{"On-Behalf-Of", "alice"}
	for _, row := range []struct {
		what   string
		path   string
		owner  delivery.TokenOwner
		header []string
		end    func(s *service, id string) error
		reason string
	}{
		{"the device's token is revoked", phoneEvents, ofDevice("alice", "phone"), nil, revoke, "invalid_token"},
		{"the user's token is revoked", phoneEvents, alice, nil, revoke, "invalid_token"},
		{"the user's token is revoked", aliceEvents, alice, nil, revoke, "invalid_token"},
		{"the service's token is revoked", phoneEvents, aBackend, backend, revoke, "invalid_token"},
		{"the service's token is revoked", "/v1/events", aBackend, nil, revoke, "invalid_token"},
		{"the device is removed, and its token with it", phoneEvents, ofDevice("alice", "phone"), nil, removePhone, "invalid_token"},
		{"the user is removed, and the user's token", aliceEvents, alice, nil, removeAlice, "invalid_token"},
		{"the device is removed by its user", phoneEvents, alice, nil, removePhone, "device_removed"},
		{"the device is removed by a service", phoneEvents, aBackend, backend, removePhone, "device_removed"},
		{"the user is removed by a service", phoneEvents, aBackend, backend, removeAlice, "device_removed"},
	} {
		s := startWithTokens(t)
		s.call("POST", shelf, publication{newKeyPackages(1)}, s.token(alice)...).want(201)
		token, text := auth.NewToken(row.owner)
		_, err := s.store.AddToken(t.Context(), token)
		must(t, err)
		f := s.opened(row.path, append(row.header, "Authorization", "Bearer "+text)...)
		must(t, row.end(s, token.ID))
		f.ends(row.reason)
		eventually(t, row.what, func() bool { return s.server.Load().Streams == 0 && s.server.Load().Waits == 0 })
	}
}

func TestAStreamEndsWhenItsCredentialsExpire(t *testing.T) {
	f := &fickle{expires: time.Now().Add(300 * time.Millisecond)}
	s := start(t, func(o *server.Options) { o.Auth = f })
	s.opened(phoneEvents, anyToken...).ends("invalid_token")
}

// TestNothingIsToldToThoseWhoMayNot: credentials are looked at before each line, whatever
// wakes a stream.
func TestNothingIsToldToThoseWhoMayNot(t *testing.T) {
	f := new(fickle)
	s := start(t, func(o *server.Options) { o.Auth = f })
	kp := newKeyPackages(1)[0]
	s.call("POST", shelf, kp, anyToken...).want(201)
	stream := s.opened(phoneEvents, anyToken...)
	f.ended.Store(true)
	s.deliver(kp)
	stream.ends("invalid_token")
}

func TestAStopEndsStreams(t *testing.T) {
	s := start(t, nil, func(s *server.Server) { s.Grace(time.Hour) })
	f := s.opened(phoneEvents)
	s.stop()
	f.ends("shutting_down")
	wait(t, "the server", s.ended)
	must(t, s.err)
}

// endings notes why streams have ended.
type endings chan server.StreamEnd

func (e endings) options(o *server.Options) { o.StreamEnded = func(why server.StreamEnd) { e <- why } }

// A floodedStore has no end of events.
type floodedStore struct {
	delivery.Store
	read atomic.Int64
}

func (s *floodedStore) Events(_ context.Context, _ delivery.Caller, q delivery.EventQuery) (page delivery.EventPage, err error) {
	s.read.Add(1)
	for range q.Limit {
		page.Events = append(page.Events, delivery.Event{ID: "1.A", Kind: delivery.EventWelcome, User: "alice", Device: "phone"})
	}
	page.Next, page.More = "1.A", true
	return page, nil
}

// TestASlowReaderIsCutOff: all the while the stream holds one page and no more.
func TestASlowReaderIsCutOff(t *testing.T) {
	flood, ended := &floodedStore{Store: start(t, nil).store}, make(endings, 1)
	s := start(t, func(o *server.Options) { o.Store = flood; ended.options(o) }, func(s *server.Server) { s.Write(100 * time.Millisecond) })
	c := dial(t, s.api)
	must(t, c.Conn.(*net.TCPConn).SetReadBuffer(4<<10))
	_, err := io.WriteString(c, "GET "+phoneEvents+" HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n")
	must(t, err)
	same(t, "why", wait(t, "the end", ended), server.StreamSlow)
	eventually(t, "it to be gone", func() bool { return s.server.Load().Streams == 0 })
	same(t, "memory of bodies", s.server.Load().BodyMemory, 0)
}

// TestASlowReaderThatReadsAgainIsToldWhy: by this clock each write takes an hour.
func TestASlowReaderThatReadsAgainIsToldWhy(t *testing.T) {
	var now atomic.Int64
	s := start(t, nil, func(s *server.Server) {
		s.Time(func() time.Time { return time.Unix(3600*now.Add(1), 0) }, nil)
	})
	s.opened(phoneEvents).ends("too_slow")
}

// TestTheNewestStreamDisplacesTheOldest: that may be of a connection that is dead.
func TestTheNewestStreamDisplacesTheOldest(t *testing.T) {
	s, refused := capped(t, server.Caps{WaitsPerDevice: 2})
	oldest, newer := s.opened(phoneEvents), s.opened(phoneEvents)
	other := s.opened(tablet + "/events")
	newest := s.opened(phoneEvents)
	oldest.ends("displaced")
	same(t, "counted", refused.has(admission.CapWaitsPerDevice), true)
	eventually(t, "three to be open", func() bool { return s.server.Load().Streams == 3 })
	s.poll("phone", alice) // claims are apart
	s.post("", s.stock(1)[0])
	newer.next("welcome")
	newest.next("welcome")
	s.stop()
	other.ends("shutting_down")
}

// TestWhatIsRefusedTakesNoPlace: a request that is refused ends no stream and no wait.
func TestWhatIsRefusedTakesNoPlace(t *testing.T) {
	s, _ := capped(t, server.Caps{WaitsPerDevice: 1, WaitsPerCaller: 2})
	kps := s.stock(2)
	f := s.opened(phoneEvents, "X-Forwarded-For", mallory)
	for _, method := range []string{"GET", "HEAD"} {
		same(t, method, s.call(method, phoneEvents+"?after=bad", nil, "X-Forwarded-For", mallory).status, 400)
	}
	claim := s.poll("phone", mallory)
	s.call("GET", phoneEvents, nil, "X-Forwarded-For", mallory).refused(429, "too_many_waits")
	s.call("POST", phone+"/claim?wait=50s", nil, "X-Forwarded-For", mallory).refused(429, "too_many_waits")
	id, _ := s.post("", kps[0])
	f.next("welcome")
	same(t, "claimed", wait(t, "the Welcome", claim).want(200).text("welcomes", 0, "id"), id)
	s.stop()
}

// TestWhoReadsTakesNoPlaceOfTheUser: neither services nor tokens that may only read end the
// streams of a device, or use up its waits.
func TestWhoReadsTakesNoPlaceOfTheUser(t *testing.T) {
	s := startWithTokens(t, func(o *server.Options) { o.Caps = server.Caps{WaitsPerDevice: 1, WaitsPerCaller: 2} })
	own, app := s.token(ofDevice("alice", "phone")), s.token(aBackend)
	reads := s.tokenWith(ofUser("alice"), func(t *delivery.Token) { t.ReadOnly = true })
	kp := newKeyPackages(1)
	s.call("POST", shelf, publication{kp}, own...).want(201)
	f, back := s.opened(phoneEvents, own...), s.opened(phoneEvents, app...)
	oldest := s.opened(phoneEvents, reads...)
	s.opened(phoneEvents, reads...)
	oldest.ends("displaced")
	s.opened(tablet+"/events", reads...)
	s.call("GET", phoneEvents, nil, reads...).refused(429, "too_many_waits")
	claim := s.later("POST", phone+"/claim?wait=50s", nil, own...)
	s.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kp[0]), app...).want(201)
	f.next("welcome")
	back.next("welcome")
	wait(t, "the Welcome", claim).want(200)
	s.stop()
}

func TestStreamsCountAsWaits(t *testing.T) {
	s, _ := capped(t, server.Caps{WaitsPerCaller: 2})
	s.opened(phoneEvents, "X-Forwarded-For", mallory)
	s.poll("tablet", mallory)
	same(t, "load", words(s.server.Load().Waits, s.server.Load().Streams, s.server.Load().Requests), "2 1 0")
	s.call("GET", aliceEvents, nil, "X-Forwarded-For", mallory).refused(429, "too_many_waits")
	s.stop()
}

// TestAGapIsSaid: never hidden, by a stream or a page.
func TestAGapIsSaid(t *testing.T) {
	inner := start(t, nil)
	gap := &gapStore{Store: inner.store}
	s := start(t, func(o *server.Options) { o.Store = gap })
	begin := s.call("GET", phoneEvents+"?poll=1", nil).want(200).text("next")
	gap.gap.Store(delivery.GapExpired)
	f := s.follow(phoneEvents, "Last-Event-ID", begin)
	same(t, "gap", f.next("open").text("gap"), "expired")
	page := s.call("GET", phoneEvents+"?poll=1&after="+begin, nil).want(200)
	same(t, "gap of a page", page.text("gap"), "expired")
	gap.gap.Store(delivery.EventGap(""))
	kps := s.stock(20)
	s.post("", kps[0])
	f.next("welcome")
	gap.gap.Store(delivery.GapDamaged) // also in the middle
	s.post("", kps[1])
	same(t, "later", f.next("open").text("gap"), "damaged")
	f.next("welcome")
}

// A gapStore says that events are missing.
type gapStore struct {
	delivery.Store
	gap atomic.Value
}

func (s *gapStore) Events(ctx context.Context, c delivery.Caller, q delivery.EventQuery) (delivery.EventPage, error) {
	page, err := s.Store.Events(ctx, c, q)
	if gap, _ := s.gap.Load().(delivery.EventGap); gap != "" {
		page.Gap = gap
	}
	return page, err
}

// TestAStoreThatFailsEndsAStream: with a word, and a line in the log.
func TestAStoreThatFailsEndsAStream(t *testing.T) {
	failing := &failingEvents{Store: start(t, nil).store}
	ended := make(endings, 1)
	s := start(t, func(o *server.Options) { o.Store = failing; ended.options(o) })
	f := s.opened(phoneEvents)
	failing.fails.Store(true)
	s.post("", s.stock(1)[0])
	f.ends("internal")
	same(t, "why", wait(t, "the end", ended), server.StreamFailed)
	same(t, "log", strings.Contains(s.log.String(), "a broken disk"), true)
	s.call("GET", phoneEvents, nil).refused(500, "internal")
}

type failingEvents struct {
	delivery.Store
	fails atomic.Bool
}

func (s *failingEvents) Events(ctx context.Context, c delivery.Caller, q delivery.EventQuery) (delivery.EventPage, error) {
	if s.fails.Load() {
		return delivery.EventPage{}, fmt.Errorf("a broken disk")
	}
	return s.Store.Events(ctx, c, q)
}

// A stream with a body would not notice that its client has left.
func TestARequestForEventsHasNoBody(t *testing.T) {
	s := start(t, nil)
	s.stock(1)
	for _, body := range []string{"Content-Length: 2\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"} {
		c := dial(t, s.api)
		_, err := io.WriteString(c, "GET "+phoneEvents+" HTTP/1.1\r\nHost: localhost\r\n"+body)
		must(t, err)
		same(t, body, c.answer().StatusCode, 400)
	}
}
