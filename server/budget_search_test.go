package server_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"welcomed/mls/mlstest"
	"welcomed/server"
)

// TestTheMostThatCanBeTakenInAnHour searches: accounts do what they can for an hour
// in mixtures that are drawn anew each time, and most of what one user has on the
// shelves is to stay there. With -v it prints the most that was found.
// The budgets are a tenth of the default ones.
func TestTheMostThatCanBeTakenInAnHour(t *testing.T) {
	pair, target := server.Budget{Burst: 10, PerHour: 2}, server.Budget{Burst: 100, PerHour: 20}
	for _, accounts := range []int{1, 4, 20} {
		may := min(accounts*(pair.Burst+pair.PerHour), target.Burst+target.PerHour)
		most := 0
		for round := range uint64(4) {
			g := &attack{random: rand.New(rand.NewPCG(round, uint64(accounts)))}
			g.budgetedServer = startBudgetedServer(t, server.Budgets{Caller: server.Budget{Burst: 2000, PerHour: 2000}, Pair: pair, Target: target})
			most = max(most, g.run(accounts))
		}
		t.Logf("%d accounts took %d of one user in an hour, %d may be taken", accounts, most, may)
		if most > may || most < may*3/4 {
			t.Errorf("%d accounts took %d of one user in an hour, want at most %d, and nearly that", accounts, most, may)
		}
	}
}

// An attack takes what it can for an hour.
type attack struct {
	*budgetedServer
	random *rand.Rand
	kept   []string // Idempotency-Keys
	made   int      // names that nobody has
}

const attackedDevices, attackedStock = 4, 60

// run returns how many KeyPackages are gone from the shelves.
func (g *attack) run(accounts int) int {
	alice := g.token(ofUser("alice"))
	for i := range attackedDevices {
		g.call("POST", shelfOf(i), publication{newKeyPackages(attackedStock)}, alice...).want(201)
	}
	var tokens [][]string
	for i := range accounts {
		tokens = append(tokens, g.token(ofUser(fmt.Sprint("mallory", i))))
	}
	ways := []func([]string){g.reserveUser, g.reserveDevice, g.listAndPost, g.repeat, g.makeUpNames, g.tryOnly}
	weights := make([]float64, len(ways))
	for i := range weights {
		weights[i] = g.random.Float64()
	}
	steps := 40 + 12*accounts
	for range steps {
		g.advance(time.Hour / time.Duration(steps))
		ways[g.draw(weights)](tokens[g.random.IntN(accounts)])
	}
	for _, by := range tokens { // and what is left at the end
		for range 4 {
			g.reserveDevice(by)
		}
	}
	left := 0
	for i := range attackedDevices {
		n, err := strconv.Atoi(words(g.call("GET", shelfOf(i), nil, alice...).want(200).at("counts", 0, "available")))
		must(g.t, err)
		left += n
	}
	return attackedDevices*attackedStock - left
}

func shelfOf(i int) string { return fmt.Sprintf("/v1/users/alice/devices/device%d/key-packages", i) }

func (g *attack) draw(weights []float64) int {
	total := 0.0
	for _, w := range weights {
		total += w
	}
	at := g.random.Float64() * total
	for i, w := range weights {
		if at -= w; at <= 0 {
			return i
		}
	}
	return 0
}

func (g *attack) ask(by []string, body any) {
	key := fmt.Sprint("key", len(g.kept))
	if len(g.kept) > 0 && g.random.IntN(4) == 0 {
		key = g.kept[g.random.IntN(len(g.kept))]
	}
	g.kept = append(g.kept, key)
	g.call("POST", "/v1/key-packages/reserve", body, append(by, "Idempotency-Key", key)...)
}

func (g *attack) reserveUser(by []string) { g.ask(by, object{"users": []string{"alice"}}) }

func (g *attack) reserveDevice(by []string) {
	g.ask(by, object{"devices": []object{{"user": "alice", "device": fmt.Sprint("device", g.random.IntN(attackedDevices))}}})
}

// repeat asks twice for the same with one key.
func (g *attack) repeat(by []string) {
	key := append(by, "Idempotency-Key", fmt.Sprint("twice", g.random.Int()))
	for range 2 {
		g.call("POST", "/v1/key-packages/reserve", object{"users": []string{"alice"}}, key...)
	}
}

// makeUpNames reserves of names that nobody has.
func (g *attack) makeUpNames(by []string) {
	var names []string
	for range 50 {
		g.made++
		names = append(names, fmt.Sprint("nobody", g.made))
	}
	g.ask(by, object{"users": names})
}

// listAndPost names what was listed in a Welcome, and may cancel it.
func (g *attack) listAndPost(by []string) {
	if id := g.post(by, ""); id != "" && g.random.IntN(2) == 0 {
		g.call("DELETE", "/v1/welcomes/"+id, nil, by...)
	}
}

func (g *attack) tryOnly(by []string) { g.post(by, "?dry_run=1") }

func (g *attack) post(by []string, query string) (id string) {
	listed := g.call("GET", fmt.Sprintf("/v1/users/alice/key-packages?limit=%d", 1+g.random.IntN(5)), nil, by...)
	if listed.status != 200 {
		return ""
	}
	page, kps := listed.want(200), [][]byte(nil)
	for i := range page.list("devices") {
		for j := range page.list("devices", i, "key_packages") {
			kps = append(kps, page.bytes("devices", i, "key_packages", j, "bytes"))
		}
	}
	if len(kps) == 0 {
		return ""
	}
	posted := g.call("POST", "/v1/welcomes"+query, mlstest.WelcomeFor(kps...), by...)
	if posted.status != 201 {
		return ""
	}
	return posted.want(201).text("id")
}
