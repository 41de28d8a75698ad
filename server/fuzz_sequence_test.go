package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/server"
)

// A sequence makes requests of one target as bytes tell it. The few users,
// devices, KeyPackages and Welcomes that it knows meet each other again and
// again.
type sequence struct {
	*target
	clock *storetest.Clock
	rest  []byte // not yet used
	auth  bool   // of the server that wants tokens

	digest    string
	ids       []string
	published []pooled
	handed    map[string]time.Time // when a ref was reserved
	matched   map[string]string    // the Welcome that was delivered for a ref
	given     map[string]time.Time // when a Welcome was delivered for a ref
}

// next returns a number less than n.
func (s *sequence) next(n int) int {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return int(b) % n
}

// one returns one of some.
func one[T any](s *sequence, some ...T) T { return some[s.next(len(some))] }

// some returns up to three KeyPackages, mostly those that only the device of this
// path publishes.
func (s *sequence) some(path string) (list [][]byte) {
	pool := sequencePool()
	for range 1 + s.next(3) {
		i := s.next(len(pool))
		if s.next(8) > 0 {
			i -= (i + strings.Count(path, "phone")) % 2
		}
		list = append(list, pool[max(i, 0)].bytes)
	}
	return list
}

type pooled struct {
	ref        string
	suite      mls.CipherSuite
	lastResort bool
	bytes      []byte
}

// sequencePool is what devices publish: ordinary KeyPackages, last resorts, some
// of another suite, some that end soon or begin later.
var sequencePool = sync.OnceValue(func() (pool []pooled) {
	now := uint64(storetest.NewClock().Now().Unix())
	const hour = 3600
	other := mlstest.NewSigner(2, "alice")
	add := func(s *mlstest.Signer, n int, lastResort bool, options ...mlstest.Option) {
		for range n {
			b := s.KeyPackage(options...)
			pool = append(pool, pooled{refOf(b), s.Suite(), lastResort, b})
		}
	}
	add(signer, 7, false)
	add(signer, 2, true, mlstest.LastResort())
	add(other, 1, false)
	add(signer, 1, false, mlstest.WithLifetime(0, now+20*hour))
	add(signer, 1, false, mlstest.WithLifetime(0, now+40*hour))
	add(signer, 1, false, mlstest.WithLifetime(now+20*hour, now+900*hour))
	return pool
})

// welcomesByNames are Welcomes for KeyPackages of the pool: the same names always
// give the same bytes, so that a Welcome can be posted again.
var welcomesByNames sync.Map

func (s *sequence) welcome() []byte {
	var suite mls.CipherSuite
	var refs []mls.KeyPackageRef
	var names strings.Builder
	for range 1 + s.next(3) {
		p := s.pooled()
		if strings.Contains(names.String(), p.ref) || suite != 0 && p.suite != suite {
			continue
		}
		suite = p.suite
		raw, _ := mls.ParseKeyPackageRef(p.ref)
		refs = append(refs, raw)
		names.WriteString(p.ref)
	}
	fmt.Fprint(&names, s.next(2)) // of each there are two
	w, _ := welcomesByNames.LoadOrStore(names.String(), mlstest.Welcome(suite, refs...))
	return w.([]byte)
}

func (s *sequence) id() string {
	if len(s.ids) == 0 {
		return strings.Repeat("ab", 32)
	}
	return s.ids[s.next(len(s.ids))]
}

// pooled returns a KeyPackage, mostly one that was published.
func (s *sequence) pooled() pooled {
	if len(s.published) > 0 && s.next(4) > 0 {
		return s.published[s.next(len(s.published))]
	}
	return sequencePool()[s.next(len(sequencePool()))]
}

func (s *sequence) ref() string { return s.pooled().ref }

// path fills in a pattern.
func (s *sequence) path(pattern string) string {
	segments := strings.Split(pattern, "/")
	for i, name := range segments {
		switch name {
		case ":user":
			segments[i] = one(s, "alice", "alice", "alice", "bob")
		case ":device":
			segments[i] = one(s, "phone", "phone", "tablet")
		case ":id":
			segments[i] = s.id()
		case ":ref":
			segments[i] = s.ref()
		default:
			segments[i] = strings.Replace(name, ":", "x", 1)
		}
	}
	return strings.Join(segments, "/")
}

// likely are values that parameters may have, or nearly.
var likely = map[string][]string{
	"hold": {"2", "1", "0"}, "require": {"some", "any", "all"}, "dry_run": {"1", "0"}, "all": {"1", "0"},
	"framing": {"x", "bare", "mls_message"}, "wait": {"x", "0", "1ms"}, "cipher_suite": {"0", "1", "2"},
	"device": {"a%20b", "phone", "tablet"}, "limit": {"0", "1", "5000"}, "after": {"x"}, "poll": {"1", "0"}, "user": {"alice", "a%20b"},
	"restore_epoch": {"", "x"},
}

// query gives some parameters of a route values that it may like.
func (s *sequence) query(route string) string {
	var parts []string
	for _, name := range strings.Fields(server.QueryOf(route)) {
		if s.next(4) > 0 {
			continue
		}
		name = strings.TrimSuffix(name, "*")
		parts = append(parts, name+"="+one(s, append(likely[name], "1", "true")...))
	}
	return "?" + strings.Join(parts, "&")
}

// body makes a body that the route likes, mostly.
func (s *sequence) body(path string) any {
	last := path[strings.LastIndex(path, "/")+1:]
	switch {
	case s.next(32) == 31:
		return s.rest[:min(len(s.rest), 40)]
	case last == "key-packages" && s.next(3) == 0:
		return s.some(path)[0]
	case last == "key-packages":
		return publication{s.some(path)}
	case last == "sync" && s.next(2) == 0:
		return object{"digest": s.digest}
	case last == "sync":
		return object{"refs": []string{s.ref(), s.ref(), s.ref()}}
	case last == "reserve" && s.next(2) == 0:
		return object{"users": one(s, []string{"alice"}, []string{"bob"}, []string{"alice", "bob"}), "cipher_suites": one(s, []int{1}, []int{2, 1}, nil)}
	case last == "reserve":
		return object{"devices": []object{{"user": "alice", "device": one(s, "phone", "tablet")}}, "except": one(s, nil, []object{{"user": "bob", "device": "phone"}})}
	case last == "welcomes" && s.next(2) == 0:
		return s.welcome()
	case last == "welcomes":
		return object{"welcome": s.welcome(), "ratchet_tree": make([]byte, one(s, 0, 10, 70_000)), "context": []byte("c")}
	case last == "claim":
		return object{"max": 1 + s.next(4), "skip": one(s, nil, nil, nil, []string{s.id()}), "refs": one(s, nil, nil, nil, nil, []string{s.ref(), s.ref()})}
	case last == "ack":
		return one[any](s, nil, object{"ref": s.ref()})
	case last == "reject":
		return object{"reason": one(s, "no_matching_key_package", "undecryptable", "other")}
	}
	return nil
}

// usual are the routes on which KeyPackages and Welcomes get on.
var usual = []string{
	"POST /v1/users/:user/devices/:device/key-packages", "POST /v1/users/:user/devices/:device/key-packages",
	"POST /v1/key-packages/reserve", "POST /v1/welcomes", "POST /v1/welcomes", "POST /v1/welcomes/:id/release",
	"POST /v1/users/:user/devices/:device/claim", "POST /v1/users/:user/devices/:device/claim",
	"POST /v1/users/:user/devices/:device/welcomes/:id/ack",
}

// passes are the times that may pass, short ones more often.
var passes = []time.Duration{
	time.Second, time.Second, time.Minute, time.Minute, time.Minute, time.Hour, time.Hour, time.Hour,
	25 * time.Hour, 25 * time.Hour, 8 * 24 * time.Hour, 31 * 24 * time.Hour, 91 * 24 * time.Hour,
}

// step makes one request, or lets time pass.
func (s *sequence) step() (problems []string) {
	routes := server.Routes()
	if s.next(2) == 0 {
		routes = usual
	}
	n := s.next(len(routes) + 2)
	if n >= len(routes) {
		s.clock.Advance(one(s, passes...))
		if _, err := s.ledger.Sweep(background); err != nil {
			problems = append(problems, "sweep: "+err.Error())
		}
		return problems
	}
	method, pattern, _ := strings.Cut(routes[n], " ")
	if method == "DELETE" && s.next(4) > 0 { // or little would ever get old
		return nil
	}
	path := s.path(pattern)
	body, mediaType := encodeBody(s.body(path))
	header := "Host: localhost\r\nContent-Type: " + mediaType + "\r\nIf-Match: " + one(s, s.digest, `"`+s.digest+`"`, `"`+strings.Repeat("ab", 32)+`"`, `"`, `W/"`+s.digest+`"`) + "\r\n"
	key := strings.HasSuffix(path, "/reserve") && s.next(4) == 0
	if key {
		header += "Idempotency-Key: " + one(s, "k1", "k2") + "\r\n"
	}
	raw := s.next(8) == 0
	if raw {
		header += "Accept: message/mls\r\n"
	}
	if s.auth {
		header += "Authorization: Bearer " + one(s, "{alice}", "{phone}", "{bob}", "{bob}", "{bob}", "{service}", "{service}", "{service}", "{service}", "{reader}") + "\r\n"
	}
	r, err := readRequest(method, path+s.query(routes[n]), s.fill.Replace(header), body)
	if err != nil {
		return []string{err.Error()}
	}
	w := httptest.NewRecorder()
	s.handlers[map[bool]int{true: 2, false: 0}[s.auth]].ServeHTTP(w, r)
	s.count(w.Code)
	what := fmt.Sprintf("%s %s %.300s: %d %.300s", method, r.URL, body, w.Code, w.Body)
	for _, p := range append(wrongWith(w, method), s.look(pattern, key, w)...) {
		problems = append(problems, what+"\n"+p)
	}
	return problems
}

func encodeBody(body any) (encoded []byte, mediaType string) {
	switch body := body.(type) {
	case nil:
		return nil, "application/json"
	case []byte:
		return body, "message/mls"
	default:
		return []byte(text(body)), "application/json"
	}
}

// look remembers what an answer says, and returns what it must not say: a
// KeyPackage is reserved once, named by one Welcome that is delivered, and a
// Welcome is delivered once that is not a redelivery.
func (s *sequence) look(pattern string, repeated bool, w *httptest.ResponseRecorder) (problems []string) {
	if h := w.Header(); h.Get("Content-Type") == "message/mls" {
		return s.delivered(h.Get("Welcome-Id"), h.Get("Key-Package-Ref"), h.Get("Welcome-Redelivered") == "true")
	}
	if w.Code >= 300 || w.Header().Get("Content-Type") != "application/json" {
		return nil
	}
	var a struct {
		ID, Digest string
		Users      []struct {
			Devices []struct {
				Status     string
				KeyPackage struct{ Ref string } `json:"key_package"`
			}
		}
		KeyPackages []struct{ Ref string } `json:"key_packages"`
		Welcomes    []struct {
			ID, Ref     string
			Redelivered bool
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		return []string{err.Error()}
	}
	if a.Digest != "" {
		s.digest = a.Digest
	}
	if a.ID != "" && pattern == "/v1/welcomes" {
		s.ids = append(s.ids, a.ID)
	}
	for _, k := range a.KeyPackages {
		s.published = append(s.published, pooledOf(k.Ref))
	}
	for _, u := range a.Users {
		for _, d := range u.Devices {
			ref := d.KeyPackage.Ref
			if d.Status != "reserved" || repeated {
				continue
			}
			if s.remembers(s.handed[ref]) {
				problems = append(problems, "reserved twice: "+ref)
			}
			s.handed[ref] = s.clock.Now()
		}
	}
	for _, d := range a.Welcomes {
		problems = append(problems, s.delivered(d.ID, d.Ref, d.Redelivered)...)
	}
	return problems
}

func (s *sequence) delivered(id, ref string, again bool) (problems []string) {
	if pooledOf(ref).lastResort && s.clock.Now().Sub(s.given[id+ref]) >= delivery.DefaultLimits().OutcomesKept {
		again = true // the Welcome may be forgotten, and the KeyPackage is there
	}
	if s.remembers(s.given[id+ref]) && !again {
		problems = append(problems, "delivered twice as new: "+id+" for "+ref)
	}
	if other := s.matched[ref]; other != id && s.remembers(s.given[other+ref]) && !pooledOf(ref).lastResort {
		problems = append(problems, "two Welcomes for "+ref)
	}
	s.matched[ref], s.given[id+ref] = id, s.clock.Now()
	return problems
}

// remembers reports whether a store still knows of what was in use at a time.
func (s *sequence) remembers(at time.Time) bool {
	return s.clock.Now().Sub(at) < delivery.DefaultLimits().TombstoneKeptMost
}

func pooledOf(ref string) pooled {
	pool := sequencePool()
	return pool[slices.IndexFunc(pool, func(p pooled) bool { return p.ref == ref })]
}

// mostSteps is how many requests one sequence makes.
const mostSteps = 100

// runSequence runs a program on a new target and returns what went wrong, and what
// it saw.
func runSequence(program []byte) (problems []string, s *sequence, err error) {
	dir, err := os.MkdirTemp("", "sequence")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	clock := storetest.NewClock()
	t, err := newTarget(dir, clock)
	if err != nil {
		return nil, nil, err
	}
	s = &sequence{target: t, clock: clock, rest: program, handed: map[string]time.Time{}, matched: map[string]string{}, given: map[string]time.Time{}}
	s.auth = s.next(2) == 1
	for range mostSteps {
		if len(s.rest) == 0 {
			break
		}
		problems = append(problems, s.step()...)
	}
	for line := range strings.Lines(t.log.String()) {
		if !strings.Contains(line, "for now they get only the last resort") { // a sequence may drain a user
			problems = append(problems, "logged: "+line)
		}
	}
	if err := t.end(); err != nil {
		problems = append(problems, "recount: "+err.Error())
	}
	return problems, s, nil
}

// FuzzSequence: whatever requests are made one after the other, each is answered,
// and the store's statistics are what a recount finds.
func FuzzSequence(f *testing.F) {
	for _, program := range sequencePrograms() {
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		problems, _, err := runSequence(program)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Error(p)
		}
	})
}

// sequencePrograms are bytes without a plan, which reach all of it after a while.
func sequencePrograms() (programs [][]byte) {
	for seed := range 24 {
		programs = append(programs, randomBytes(uint64(seed), 1200))
	}
	return programs
}

// TestSequencesGoDeep: the programs that the fuzzing starts from are not all
// refused at the door.
func TestSequencesGoDeep(t *testing.T) {
	counts, handed, given := map[int]int{}, 0, 0
	for _, program := range sequencePrograms() {
		problems, s, err := runSequence(program)
		must(t, errors.Join(err, problemsOf(problems)))
		for status, n := range s.counts {
			counts[status] += n
		}
		handed, given = handed+len(s.handed), given+len(s.given)
	}
	total, text := summary(counts)
	t.Logf("%d requests: %s; %d reserved, %d delivered", total, text, handed, given)
	for _, status := range []int{200, 201, 204, 400, 401, 403, 404, 409, 412, 422, 429} {
		same(t, fmt.Sprintf("%d was seen", status), counts[status] > 0, true)
	}
	same(t, "KeyPackages were reserved", handed > 10, true)
	same(t, "Welcomes were delivered", given > 10, true)
}
