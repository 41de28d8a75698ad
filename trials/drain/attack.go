package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"welcomed/client"
	"welcomed/mls"
	"welcomed/trials/harness"
)

// A way is one to take what is on the shelves of others.
type way string

const (
	reserveAll  way = "reserve of everybody"
	listAndPost way = "list, post junk Welcomes"
	reserveOne  way = "reserve of the one"
)

var ways = []way{reserveAll, listAndPost, reserveOne}

// An attack is a way with what the attackers have.
type attack struct {
	way         way
	budgets     bool // the server's own
	attackers   int
	connections int // of each
	devices     int // of the one user
}

func (a attack) String() string {
	return fmt.Sprintf("%s, %s, %d attackers", a.way, a.budgetsText(), a.attackers)
}

func (a attack) budgetsText() string {
	if a.budgets {
		return "default"
	}
	return "none"
}

func (a attack) flags() []string {
	if a.budgets {
		return nil
	}
	return []string{"--budgets", "caller=0,pair=0,target=0"}
}

// An attackRun is one attack under way: what its attackers share.
type attackRun struct {
	began             time.Time
	requests, refused atomic.Int64
	lastTaken         atomic.Int64 // since began
	targets           *targets
}

// runAttack attacks the server. The user who is drained goes on meanwhile.
func (s *server) runAttack(ctx context.Context, c *config, people *population, a attack) (result, error) {
	o, err := s.newOwner(ctx)
	if err != nil {
		return result{}, err
	}
	clients := make([]*harness.Client, a.attackers)
	for i := range clients {
		if clients[i], err = s.signUp(ctx, harness.Device{User: fmt.Sprintf("attacker%d", i), Name: phone}); err != nil {
			return result{}, err
		}
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	h := &attackRun{began: time.Now(), targets: newTargets(people.users)}
	over := make(chan struct{})
	time.AfterFunc(c.duration, func() { close(over) })
	var all sync.WaitGroup
	all.Go(func() {
		if err := o.goOn(ctx, over); err != nil {
			fail(err)
		}
	})
	for i := range a.attackers * a.connections {
		all.Go(func() {
			if err := h.attack(ctx, over, a, clients[i%len(clients)]); err != nil {
				fail(err)
			}
		})
	}
	all.Wait()
	return result{attack: a, took: time.Since(h.began), requests: h.requests.Load(), refused: h.refused.Load(),
		lastTaken: time.Duration(h.lastTaken.Load()), joined: o.done, longest: o.longest, slowest: o.slowest}, context.Cause(ctx)
}

// attack asks over one connection of an attacker until the attack is over.
func (h *attackRun) attack(ctx context.Context, over <-chan struct{}, a attack, client *harness.Client) error {
	m := &attacker{attackRun: h, client: client, most: usersAtOnce}
	act := map[way]func(context.Context) error{reserveAll: m.reserveSome, listAndPost: m.takeListed, reserveOne: m.reserveOne}[a.way]
	for {
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return nil // another goroutine has failed and reports it
		default:
		}
		if err := act(ctx); err != nil {
			return err
		}
	}
}

// An attacker has one connection and asks again and again.
type attacker struct {
	*attackRun
	client *harness.Client
	most   int // users in a reservation
	posts  int
}

// usersAtOnce is how many users one reservation names. All that it names is
// charged, also if it is refused because of one of them.
const usersAtOnce = 8

// ask asks, and counts requests and refusals. A refusal is no error.
func (m *attacker) ask(ctx context.Context, method, path string, body any) (harness.Answer, error) {
	a, err := m.client.Ask(ctx, method, path, body)
	m.requests.Add(1)
	if a.Status >= 400 {
		m.refused.Add(1)
	}
	if err == nil && a.Status >= 500 && a.Status != http.StatusServiceUnavailable {
		err = a.Refusal(method, path)
	}
	return a, err
}

func (h *attackRun) took() { h.lastTaken.Store(int64(time.Since(h.began))) }

// refsOf are those of the KeyPackages that were handed out with a status.
func refsOf(r client.Reservation, status client.DeviceStatus) (refs []mls.KeyPackageRef) {
	for _, u := range r.Users {
		for _, d := range u.Devices {
			if d.Status != status || d.KeyPackage == nil {
				continue
			}
			if ref, err := mls.ParseKeyPackageRef(d.KeyPackage.Ref); err == nil {
				refs = append(refs, ref)
			}
		}
	}
	return refs
}

// notThePhone leaves out the device that has only last resorts, which would be
// charged too.
var notThePhone = []client.DeviceID{phoneID.ID()}

// reserveOne reserves of the one user.
func (m *attacker) reserveOne(ctx context.Context) error {
	_, err := m.tryReserve(ctx, []string{victim})
	return err
}

// tryReserve reserves of users and says what came of it.
func (m *attacker) tryReserve(ctx context.Context, users []string) (a harness.Answer, err error) {
	a, err = m.ask(ctx, "POST", harness.Reserve, client.Reserving{Users: users, Except: notThePhone})
	if err != nil || !a.Good() {
		return a, err
	}
	var r client.Reservation
	if err := json.Unmarshal(a.Body, &r); err != nil {
		return a, err
	}
	if len(refsOf(r, "reserved")) > 0 {
		m.took()
	}
	for _, u := range r.Users {
		for _, d := range u.Devices {
			if d.Status != "reserved" {
				m.targets.leaveAlone(u.User, aWhile)
			}
		}
	}
	return a, nil
}

// aWhile is how long attackers leave a user alone who had nothing left.
const aWhile = time.Second

// reserveSome reserves KeyPackages of some users who may have some left.
func (m *attacker) reserveSome(ctx context.Context) error {
	users, _ := m.targets.choose(m.most)
	defer m.targets.release(users)
	a, err := m.tryReserve(ctx, users)
	problem := a.Problem()
	switch problem.Code {
	case "caller_budget":
		m.most = max(1, m.most/2)
	case "pair_budget":
		for _, user := range users {
			if strings.HasSuffix(problem.Detail, " "+user) {
				m.targets.leaveAlone(user, cmp.Or(a.RetryAfter(), aWhile))
			}
		}
	}
	return err
}
