package server_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"welcomed/mls/mlstest"
	"welcomed/server"
	"welcomed/server/admission"
)

// startStorage serves users who may have so many bytes stored at once, and a
// hundredth of them in an hour.
func startStorage(t *testing.T, burst int) *budgetedServer {
	m := &budgetedServer{}
	m.service = startWithTokens(t, func(o *server.Options) {
		o.Storage = server.Budget{Burst: burst, PerHour: burst / 100}
		o.BudgetClock = func() time.Time { return time.Unix(0, m.now.Load()) }
		o.OverBudget = m.exceeds
	})
	return m
}

// storedTooMuch checks a refusal, and that the operator was told of it.
func (m *budgetedServer) storedTooMuch(r reply) {
	m.t.Helper()
	r.refused(429, "too_much_stored")
	if r.header.Get("Retry-After") == "" {
		r.t.Errorf("%s: there is no Retry-After", r.what)
	}
	same(m.t, r.what+" exceeds", m.sawExceeded(), admission.BudgetStore)
}

// TestAnswersThatAreRememberedArePaid: nobody fills the disk with devices that
// do not exist, of which the own ones cost nothing else.
func TestAnswersThatAreRememberedArePaid(t *testing.T) {
	m := startStorage(t, 100_000)
	mallory := m.token(ofUser("mallory"))
	devices := make([]object, 200)
	for i := range devices {
		devices[i] = object{"user": "mallory", "device": fmt.Sprintf("%03d%s", i, strings.Repeat("x", 250))}
	}
	ask := func(n int) reply {
		return m.call("POST", "/v1/key-packages/reserve", object{"devices": devices},
			append([]string{"Idempotency-Key", fmt.Sprint("k", n)}, mallory...)...)
	}
	for range 3 { // the answer was lost
		ask(0).want(200)
	}
	ask(1).want(200) // 63 kB each: now some are owed
	m.storedTooMuch(ask(2))
	m.call("POST", "/v1/key-packages/reserve", object{"devices": devices}, mallory...).want(200) // nothing is remembered
	m.advance(100 * time.Hour)
	ask(2).want(200)
}

func TestWelcomesArePaidByTheirPosters(t *testing.T) {
	m := startStorage(t, 100_000)
	_, kps := m.user("alice", 5)
	bob, _ := m.user("bob", 0)
	tree, welcomes := mlstest.Random(60_000), make([][]byte, len(kps))
	for i, kp := range kps {
		welcomes[i] = mlstest.WelcomeFor(kp)
	}
	post := func(welcome []byte, query string) reply {
		return m.call("POST", "/v1/welcomes"+query, object{"welcome": welcome, "ratchet_tree": tree}, bob...)
	}
	for range 3 {
		post(welcomes[0], "?dry_run=1").want(200)
	}
	post(welcomes[0], "").want(201)
	for range 3 {
		post(welcomes[0], "").want(200) // the answer was lost
	}
	m.call("POST", "/v1/welcomes", object{"welcome": mlstest.WelcomeFor(newKeyPackages(1)...), "ratchet_tree": tree}, bob...).refused(409, "no_matching_key_package")
	post(welcomes[1], "").want(201)
	m.storedTooMuch(post(welcomes[2], ""))
	post(welcomes[2], "?dry_run=1").want(200)
	backend := m.token(aBackend)
	for _, welcome := range welcomes[2:4] {
		m.call("POST", "/v1/welcomes", object{"welcome": welcome, "ratchet_tree": tree}, backend...).want(201)
	}
	m.storedTooMuch(m.call("POST", "/v1/welcomes", object{"welcome": welcomes[4]}, append(backend, "On-Behalf-Of", "bob")...))
}

func TestKeyPackagesArePaidByTheirBytes(t *testing.T) {
	m := startStorage(t, 12_000)
	large := newKeyPackages(3, mlstest.WithPadding(9_000))
	alice := m.token(ofUser("alice"))
	publish := func(kps ...[]byte) reply { return m.call("POST", shelf, publication{kps}, alice...) }
	for range 3 {
		publish(large[0]).want(201) // the answer was lost
	}
	publish(large[1]).want(201)
	m.storedTooMuch(publish(large[2]))
	m.storedTooMuch(m.call("PUT", shelf, publication{large[2:]}, alice...))
	m.advance(100 * time.Hour)
	publish(large[2]).want(201)
}

// TestAHundredReservationsAtOnce find the budget as those before have left it:
// only a request that is under way can take more than there is.
func TestAHundredReservationsAtOnce(t *testing.T) {
	const devices, burst = 10, 20
	m := startBudgetedServer(t, server.Budgets{Pair: server.Budget{Burst: burst, PerHour: 1}})
	alice := m.token(ofUser("alice"))
	for i := range devices {
		m.call("POST", fmt.Sprintf("/v1/users/alice/devices/d%d/key-packages", i), publication{newKeyPackages(burst + 1)}, alice...).want(201)
	}
	bob := m.token(ofUser("bob"))
	var taken sync.Map
	var asking sync.WaitGroup
	for range 100 {
		asking.Go(func() {
			r, err := m.try("POST", "/v1/key-packages/reserve", object{"users": []string{"alice"}}, bob...)
			if err != nil || r.status != 200 {
				return
			}
			for i := range devices {
				taken.Store(r.want(200).text("users", 0, "devices", i, "key_package", "ref"), true)
			}
		})
	}
	asking.Wait()
	n := 0
	taken.Range(func(any, any) bool { n++; return true })
	if n < burst || n > burst+2*devices {
		t.Errorf("%d were taken of a budget of %d", n, burst)
	}
}

// TestOutcomesCountAsMemory: what a client takes slowly is accounted for.
func TestOutcomesCountAsMemory(t *testing.T) {
	s := startWithTokens(t, func(o *server.Options) { o.Caps.BodyMemory = 60 << 10 })
	alice := s.token(ofUser("alice"))
	kps := newKeyPackages(200)
	s.call("POST", shelf, publication{kps[:1]}, alice...).want(201)
	post := func(kps [][]byte) string {
		return s.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kps...), alice...).want(201).text("id")
	}
	large := post(kps)
	s.call("GET", "/v1/welcomes/"+large, nil, alice...).want(200)
	eventually(t, "all memory to be given back", func() bool { return s.server.Load().BodyMemory == 0 })
	if err := s.server.TakeMemory("alice", 15<<10); err != nil {
		t.Fatal(err)
	}
	s.call("GET", "/v1/welcomes/"+large, nil, alice...).refused(503, "overloaded")
}
