package server_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
	"welcomed/server"
)

// A budgetedServer is a server with small budgets and a clock that is moved.
type budgetedServer struct {
	*service
	now      atomic.Int64
	mu       sync.Mutex
	exceeded []string
}

func (m *budgetedServer) advance(d time.Duration) { m.now.Add(int64(d)) }

func (m *budgetedServer) sawExceeded() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := strings.Join(m.exceeded, " ")
	m.exceeded = nil
	return seen
}

func startBudgetedServer(t *testing.T, b server.Budgets) *budgetedServer {
	m := &budgetedServer{}
	m.service = startWithTokens(t, func(o *server.Options) {
		o.Budgets = b
		o.BudgetClock = func() time.Time { return time.Unix(0, m.now.Load()) }
		o.OverBudget = m.exceeds
	})
	return m
}

func (m *budgetedServer) exceeds(budget string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exceeded = append(m.exceeded, budget)
}

// user signs a user up with a phone that has n KeyPackages, and returns the
// headers of the user's requests.
func (m *budgetedServer) user(name string, n int, options ...mlstest.Option) (headers []string, kps [][]byte) {
	m.t.Helper()
	headers, kps = m.token(ofUser(name)), newKeyPackages(n, options...)
	if n > 0 {
		m.call("POST", "/v1/users/"+name+"/devices/phone/key-packages", publication{kps}, headers...).want(201)
	}
	return headers, kps
}

func (m *budgetedServer) reserve(by []string, users ...string) reply {
	return m.call("POST", "/v1/key-packages/reserve", object{"users": users}, by...)
}

// status is what the only device of the only user gave.
func (r reply) reserved() string { return r.want(200).text("users", 0, "devices", 0, "status") }

func (r reply) over(code, retryAfter string) {
	r.t.Helper()
	r.refused(429, code)
	same(r.t, "Retry-After", r.header.Get("Retry-After"), retryAfter)
}

func TestOneUserTakesSoManyOfAnother(t *testing.T) {
	m := startBudgetedServer(t, server.Budgets{Pair: server.Budget{Burst: 3, PerHour: 2}})
	alice, _ := m.user("alice", 20)
	bob, _ := m.user("bob", 5)
	carol, _ := m.user("carol", 0)
	for range 3 {
		same(t, "reserved", m.reserve(bob, "alice").reserved(), "reserved")
	}
	m.reserve(bob, "alice").over("pair_budget", "1800")
	m.reserve(bob, "carol", "alice").over("pair_budget", "1800")
	same(t, "exceeded", m.sawExceeded(), "pair pair")
	same(t, "by another", m.reserve(carol, "alice").reserved(), "reserved")
	same(t, "of another", m.reserve(carol, "bob").reserved(), "reserved")

	m.advance(29 * time.Minute)
	m.reserve(bob, "alice").over("pair_budget", "60")
	m.advance(time.Minute)
	same(t, "half an hour later", m.reserve(bob, "alice").reserved(), "reserved")
	m.reserve(bob, "alice").over("pair_budget", "1800")

	for range 10 {
		same(t, "one's own", m.reserve(alice, "alice").reserved(), "reserved")
	}
}

// TestARefusedReservationTakesOfNobody: an application that repeats the very same
// request loses nothing by it.
func TestARefusedReservationTakesOfNobody(t *testing.T) {
	m := startBudgetedServer(t, server.Budgets{Pair: server.Budget{Burst: 3, PerHour: 1}, Caller: server.Budget{Burst: 60, PerHour: 1}})
	m.user("alice", 5)
	m.user("carol", 5)
	bob := m.token(ofUser("bob"))
	for range 3 {
		m.reserve(bob, "alice").want(200)
	}
	for range 100 {
		m.reserve(bob, "alice", "carol").over("pair_budget", "3600")
	}
	for range 3 {
		same(t, "of the other", m.reserve(bob, "carol").reserved(), "reserved")
	}
	m.reserve(bob, "dave").want(200) // nor has the caller's own budget paid for refusals
}

func TestAUserOfManyDevicesIsChargedForEach(t *testing.T) {
	m := startBudgetedServer(t, server.Budgets{Pair: server.Budget{Burst: 10, PerHour: 1}})
	alice, _ := m.user("alice", 5)
	for _, device := range []string{"tablet", "laptop", "watch"} {
		m.call("POST", "/v1/users/alice/devices/"+device+"/key-packages", publication{newKeyPackages(5)}, alice...).want(201)
	}
	bob := m.token(ofUser("bob"))
	for range 2 {
		m.reserve(bob, "alice").want(200)
	}
	m.reserve(bob, "alice").over("pair_budget", "7200") // 2 are left, 4 are asked for
	m.call("POST", "/v1/key-packages/reserve", object{"devices": []object{{"user": "alice", "device": "watch"}}}, bob...).want(200)
	m.advance(3 * time.Hour)
	m.reserve(bob, "alice").want(200)

	// One with more devices than a full bucket holds can be added all the same.
	small := startBudgetedServer(t, server.Budgets{Pair: server.Budget{Burst: 1, PerHour: 1}, Target: server.Budget{Burst: 1, PerHour: 1}})
	dave, _ := small.user("dave", 5)
	small.call("POST", "/v1/users/dave/devices/tablet/key-packages", publication{newKeyPackages(5)}, dave...).want(201)
	carol := small.token(ofUser("carol"))
	same(t, "reserved", small.reserve(carol, "dave").reserved(), "reserved")
	small.reserve(carol, "dave").over("pair_budget", "7200") // 1 owed, and 1 for the next
}

func TestARetryOfAReservationCostsNothing(t *testing.T) {
	m := startBudgetedServer(t, server.Budgets{
		Caller: server.Budget{Burst: 6, PerHour: 1}, Pair: server.Budget{Burst: 6, PerHour: 1}, Target: server.Budget{Burst: 6, PerHour: 1},
	})
	alice, _ := m.user("alice", 10)
	m.call("POST", "/v1/users/alice/devices/tablet/key-packages", publication{newKeyPackages(5)}, alice...).want(201)
	bob := m.token(ofUser("bob"))
	for range 5 { // 2 each, if it were not the same one
		m.call("POST", "/v1/key-packages/reserve", object{"users": []string{"alice"}}, append(bob, "Idempotency-Key", "k")...).want(200)
	}
	for range 2 {
		same(t, "reserved", m.reserve(bob, "alice").reserved(), "reserved")
	}
	m.reserve(bob, "alice").over("caller_budget", "7200")
}

func TestTenListedCountAsOneTaken(t *testing.T) {
	m := startBudgetedServer(t, server.Budgets{Pair: server.Budget{Burst: 3, PerHour: 1}})
	alice, _ := m.user("alice", 50)
	bob := m.token(ofUser("bob"))
	list := func(by []string, query string) reply {
		return m.call("GET", "/v1/users/alice/key-packages"+query, nil, by...)
	}
	listed := func(r reply) (int, string) {
		o := r.want(200)
		return len(o.list("devices", 0, "key_packages")), o.text("next")
	}
	n, next := listed(list(bob, "?limit=12"))
	same(t, "listed", n, 12)
	n, next = listed(list(bob, "?after="+next))
	same(t, "listed, as far as the budget goes", n, 18)
	list(bob, "?after="+next).over("list_budget", "360")
	same(t, "exceeded", m.sawExceeded(), "list")
	same(t, "reserved", m.reserve(bob, "alice").reserved(), "reserved")
	n, _ = listed(list(alice, ""))
	same(t, "one's own", n, 49)
	same(t, "an empty listing is one too", len(m.call("GET", "/v1/users/alice/key-packages?device=none", nil, m.token(ofUser("carol"))...).want(200).list("devices")), 0)
}

// TestADrainEndsInTheLastResort: many take all they may of one.
func TestADrainEndsInTheLastResort(t *testing.T) {
	m := startBudgetedServer(t, server.Budgets{Pair: server.Budget{Burst: 4, PerHour: 1}, Target: server.Budget{Burst: 5, PerHour: 1}})
	alice, _ := m.user("alice", 20)
	last := newKeyPackages(1, mlstest.LastResort())[0]
	m.call("POST", shelf, publication{[][]byte{last}}, alice...).want(201)
	poor, _ := m.user("poor", 10)
	takeAll := func(of string) {
		for _, by := range []string{"mallory1", "mallory2", "mallory3"} {
			headers := m.token(ofUser(by))
			for range 2 {
				m.reserve(headers, of).want(200)
			}
		}
	}
	takeAll("alice")
	takeAll("poor")
	same(t, "exceeded", m.sawExceeded(), "target target")
	same(t, "logged once", strings.Count(m.log.String(), "others have taken as many KeyPackages of a user"), 1)

	carol := m.token(ofUser("carol"))
	same(t, "a user without a last resort", m.reserve(carol, "poor").reserved(), "exhausted")
	r := m.reserve(carol, "alice")
	same(t, "a user with one", r.reserved(), "last_resort")
	same(t, "its ref", r.want(200).text("users", 0, "devices", 0, "key_package", "ref"), refOf(last))
	listing := m.call("GET", "/v1/users/alice/key-packages", nil, carol...).want(200)
	same(t, "listed", len(listing.list("devices", 0, "key_packages")), 1)
	same(t, "listed", listing.text("devices", 0, "key_packages", 0, "ref"), refOf(last))
	same(t, "the Welcome", m.call("POST", "/v1/welcomes", mlstest.WelcomeFor(last), carol...).want(201).text("recipients", 0, "status"), "pending")
	same(t, "left", words(m.call("GET", shelf, nil, alice...).want(200).at("counts", 0, "available")), "16")
	same(t, "left", words(m.call("GET", "/v1/users/poor/devices/phone/key-packages", nil, poor...).want(200).at("counts", 0, "available")), "5")

	// The owner goes on as ever.
	m.call("POST", shelf, publication{newKeyPackages(5)}, alice...).want(201)
	same(t, "claimed", len(m.call("POST", phone+"/claim", nil, alice...).want(200).list("welcomes")), 1)
	m.advance(time.Hour)
	same(t, "an hour later", m.reserve(carol, "poor").reserved(), "reserved")
}

func TestEveryNamedKeyPackageIsCharged(t *testing.T) {
	m := startBudgetedServer(t, server.Budgets{Caller: server.Budget{Burst: 10, PerHour: 60}})
	_, kps := m.user("alice", 3)
	bob := m.token(ofUser("bob"))
	junk := mlstest.WelcomeFor(newKeyPackages(6)...)
	m.call("POST", "/v1/welcomes?dry_run=1", junk, bob...).refused(409, "no_matching_key_package")
	m.call("POST", "/v1/welcomes", junk, bob...).over("caller_budget", "120")
	m.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kps...), bob...).want(201)
	m.reserve(bob, "alice").want(200)
	m.reserve(bob, "alice").over("caller_budget", "60")
	m.call("GET", "/v1/users/alice/key-packages", nil, bob...).want(200) // listings have budgets of their own
	m.call("POST", "/v1/welcomes", junk, m.token(ofUser("carol"))...).refused(409, "no_matching_key_package")
	same(t, "exceeded", m.sawExceeded(), "caller caller")
}

// TestAShelfIsNotTakenByOneWelcome: what was only listed is charged when it is
// named, and what is named at once is no more than may be taken.
func TestAShelfIsNotTakenByOneWelcome(t *testing.T) {
	m := startBudgetedServer(t, server.Budgets{Pair: server.Budget{Burst: 5, PerHour: 1}, Target: server.Budget{Burst: 8, PerHour: 1}})
	alice, kps := m.user("alice", 20)
	mallory, carol := m.token(ofUser("mallory")), m.token(ofUser("carol"))
	m.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kps...), mallory...).refused(429, "pair_budget")
	m.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kps[:5]...), mallory...).want(201)
	m.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kps[5:9]...), carol...).refused(429, "target_budget")
	same(t, "left", words(m.call("GET", shelf, nil, alice...).want(200).at("counts", 0, "available")), "15")
	same(t, "exceeded", m.sawExceeded(), "pair target")
}

// TestWhatIsReservedIsPaidFor: the Welcome for it always goes through.
func TestWhatIsReservedIsPaidFor(t *testing.T) {
	m := startBudgetedServer(t, server.Budgets{Pair: server.Budget{Burst: 1, PerHour: 1}, Target: server.Budget{Burst: 1, PerHour: 1}})
	m.user("alice", 2)
	bob := m.token(ofUser("bob"))
	kp := m.reserve(bob, "alice").want(200).bytes("users", 0, "devices", 0, "key_package", "bytes")
	welcome := mlstest.WelcomeFor(kp)
	m.call("POST", "/v1/welcomes", welcome, bob...).want(201)
	m.call("POST", "/v1/welcomes", welcome, bob...).want(200)
	m.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kp), m.token(ofUser("carol"))...).refused(429, "target_budget")
	same(t, "exceeded", m.sawExceeded(), "target")
}

func TestWhoIsNotCharged(t *testing.T) {
	one := server.Budget{Burst: 1, PerHour: 1}
	m := startBudgetedServer(t, server.Budgets{Caller: one, Pair: one, Target: one})
	m.user("alice", 10)
	backend := m.token(aBackend)
	for range 4 {
		same(t, "a service for nobody", m.reserve(backend, "alice").reserved(), "reserved")
	}
	onBehalf := m.token(aBackend, "On-Behalf-Of", "bob")
	same(t, "a service for a user", m.reserve(onBehalf, "alice").reserved(), "reserved")
	m.reserve(onBehalf, "alice").refused(429, "caller_budget")

	open := start(t, func(o *server.Options) { o.Budgets = server.Budgets{Caller: one, Pair: one, Target: one} })
	open.call("POST", shelf, publication{newKeyPackages(4)}).want(201)
	for range 4 {
		open.call("POST", "/v1/key-packages/reserve", object{"users": []delivery.UserID{"alice"}}).want(200)
	}
}

// TestAListingCostsItsCallerOne: so does one of a name that nobody has.
func TestAListingCostsItsCallerOne(t *testing.T) {
	m := startBudgetedServer(t, server.Budgets{Caller: server.Budget{Burst: 3, PerHour: 1}})
	alice, _ := m.user("alice", 25)
	bob, _ := m.user("bob", 0)
	list := func(by []string, of string) reply { return m.call("GET", "/v1/users/"+of+"/key-packages", nil, by...) }
	for _, nobody := range []string{"x", "y", "z"} {
		list(alice, nobody).want(200)
	}
	list(alice, "x").over("list_budget", "3600")
	same(t, "listed", len(list(bob, "alice").want(200).list("devices", 0, "key_packages")), 25)
	list(bob, "x").over("list_budget", "1800") // half of one is left
}

// TestARefusedPostNamesNobody: who knows a ref is not told whose it is.
func TestARefusedPostNamesNobody(t *testing.T) {
	m := startBudgetedServer(t, server.Budgets{Pair: server.Budget{Burst: 1, PerHour: 1}, Target: server.Budget{Burst: 3, PerHour: 1}})
	_, kps := m.user("alice", 5)
	post := func(by string, kp []byte) reply {
		return m.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kp), m.token(ofUser(by))...)
	}
	refused := func(r reply, code string) {
		t.Helper()
		if detail := r.refused(429, code).text("detail"); strings.Contains(detail, "alice") {
			t.Errorf("%s: %s", code, detail)
		}
	}
	post("bob", kps[0]).want(201)
	post("carol", kps[1]).want(201)
	refused(post("bob", kps[1]), "pair_budget")
	post("dave", kps[2]).want(201)
	refused(post("erin", kps[2]), "target_budget")
}

// TestAReadOnlyTokenKeepsNobodyFromReserving: whoever has one can list its user out
// of listings, and of nothing else.
func TestAReadOnlyTokenKeepsNobodyFromReserving(t *testing.T) {
	one := server.Budget{Burst: 2, PerHour: 1}
	m := startBudgetedServer(t, server.Budgets{Caller: one, Pair: one, Target: one})
	m.user("alice", 25)
	reads := m.tokenWith(ofUser("bob"), func(t *delivery.Token) { t.ReadOnly = true })
	m.call("GET", "/v1/users/alice/key-packages", nil, reads...).want(200)
	m.call("GET", "/v1/users/alice/key-packages", nil, reads...).refused(429, "list_budget")
	bob := m.token(ofUser("bob"))
	for range 2 {
		same(t, "reserved", m.reserve(bob, "alice").reserved(), "reserved")
	}
	m.reserve(bob, "alice").refused(429, "caller_budget")
}

// TestARepeatIsFree: also when nothing is left in any budget, and also for a Welcome.
func TestARepeatIsFree(t *testing.T) {
	one := server.Budget{Burst: 2, PerHour: 1}
	m := &budgetedServer{}
	m.service = startWithTokens(t, func(o *server.Options) {
		o.Budgets = server.Budgets{Caller: one, Pair: one, Target: one}
		o.Storage = server.Budget{Burst: 1, PerHour: 1} // the first one owes it
		o.BudgetClock = func() time.Time { return time.Unix(0, m.now.Load()) }
	})
	m.user("alice", 3)
	bob := m.token(ofUser("bob"))
	keyed := func() reply {
		return m.call("POST", "/v1/key-packages/reserve", object{"users": []string{"alice"}}, append(bob, "Idempotency-Key", "k")...)
	}
	first := keyed().want(200).bytes("users", 0, "devices", 0, "key_package", "bytes")
	m.call("POST", "/v1/key-packages/reserve", object{"users": []string{"alice"}}, append(bob, "Idempotency-Key", "l")...).refused(429, "too_much_stored")
	m.reserve(bob, "alice").want(200)
	m.reserve(bob, "alice").refused(429, "caller_budget")
	for range 5 {
		again := keyed().want(200).bytes("users", 0, "devices", 0, "key_package", "bytes")
		same(t, "the same one", string(again) == string(first), true)
	}

	dave := m.token(ofUser("dave"))
	left := newKeyPackages(1)[0]
	m.call("POST", "/v1/users/erin/devices/phone/key-packages", publication{[][]byte{left}}, m.token(ofUser("erin"))...).want(201)
	welcome := mlstest.WelcomeFor(left)
	m.call("POST", "/v1/welcomes", welcome, dave...).want(201)
	for range 5 {
		m.call("POST", "/v1/welcomes", welcome, dave...).want(200)
	}
}

// TestANameThatNobodyHasCostsWhatAnyNameCosts: what is charged does not tell whether
// there is such a user.
func TestANameThatNobodyHasCostsWhatAnyNameCosts(t *testing.T) {
	m := startBudgetedServer(t, server.Budgets{Caller: server.Budget{Burst: 6, PerHour: 1}, Pair: server.Budget{Burst: 2, PerHour: 1}, Target: server.Budget{Burst: 50, PerHour: 1}})
	m.user("alice", 5)
	m.user("empty", 1)
	m.reserve(m.token(ofUser("carol")), "empty").want(200)
	for by, name := range map[string]string{"bob": "alice", "dave": "nobody", "erin": "empty"} {
		headers := m.token(ofUser(by))
		for range 2 {
			m.reserve(headers, name).want(200)
		}
		m.reserve(headers, name).over("pair_budget", "3600")
		for _, other := range []string{"v", "w", "x", "y"} {
			m.reserve(headers, other).want(200)
		}
		m.reserve(headers, "z").over("caller_budget", "3600")
	}
}
