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

	"welcomed/delivery"
	"welcomed/mls"
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

// A horde is the attackers of one attack.
type horde struct {
	*process
	began             time.Time
	requests, refused atomic.Int64
	lastTaken         atomic.Int64 // since began
	marks             *marks
}

// siege has the server attacked while the one user goes on.
func (s *process) siege(ctx context.Context, c config, people *population, a attack) (result, error) {
	o, err := s.newOwner(ctx)
	if err != nil {
		return result{}, err
	}
	tokens := make([]string, a.attackers)
	for i := range tokens {
		if tokens[i], err = s.signUp(ctx, delivery.UserID(fmt.Sprintf("mallory%d", i)), phone); err != nil {
			return result{}, err
		}
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	h := &horde{process: s, began: time.Now(), marks: newMarks(people.users)}
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
			if err := h.attack(ctx, over, a, tokens[i%len(tokens)]); err != nil {
				fail(err)
			}
		})
	}
	all.Wait()
	return result{attack: a, took: time.Since(h.began), requests: h.requests.Load(), refused: h.refused.Load(),
		lastTaken: time.Duration(h.lastTaken.Load()), joined: o.done, longest: o.longest, slowest: o.slowest}, context.Cause(ctx)
}

// attack is one connection of an attacker.
func (h *horde) attack(ctx context.Context, over <-chan struct{}, a attack, token string) error {
	m := &mallory{horde: h, token: token, most: usersAtOnce}
	act := map[way]func(context.Context) error{reserveAll: m.reserveSome, listAndPost: m.takeListed, reserveOne: m.reserveOne}[a.way]
	for {
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return nil // the cause is another's
		default:
		}
		if err := act(ctx); err != nil {
			return err
		}
	}
}

// A mallory has one connection and asks again and again.
type mallory struct {
	*horde
	token string
	most  int // users in a reservation
	posts int
}

// usersAtOnce is how many users one reservation names. All that it names is
// charged, also if it is refused because of one of them.
const usersAtOnce = 8

// ask counts. A refusal is an answer.
func (m *mallory) ask(ctx context.Context, q request) (answer, error) {
	q.token = m.token
	a, err := m.process.ask(ctx, q)
	m.requests.Add(1)
	if a.status >= 400 {
		m.refused.Add(1)
	}
	if err == nil && a.status >= 500 && a.status != http.StatusServiceUnavailable {
		err = fmt.Errorf("%s %s: answered %d: %.200s", q.method, q.path, a.status, a.body)
	}
	return a, err
}

func (h *horde) took() { h.lastTaken.Store(int64(time.Since(h.began))) }

// A reservation is the answer to one.
type reservation struct {
	Users []struct {
		User    delivery.UserID
		Devices []struct {
			Status     delivery.DeviceReserveStatus
			KeyPackage struct{ Ref string } `json:"key_package"`
		}
	}
}

// refs are those of the KeyPackages that were handed out with a status.
func (r reservation) refs(status delivery.DeviceReserveStatus) (refs []mls.KeyPackageRef) {
	for _, u := range r.Users {
		for _, d := range u.Devices {
			if ref, err := mls.ParseKeyPackageRef(d.KeyPackage.Ref); err == nil && d.Status == status {
				refs = append(refs, ref)
			}
		}
	}
	return refs
}

func reserving(token string, what map[string]any) (request, error) {
	body, err := json.Marshal(what)
	return request{token: token, method: "POST", path: "/v1/key-packages/reserve", body: body}, err
}

// reserve reserves for somebody who may.
func (s *process) reserve(ctx context.Context, token string, what map[string]any) (r reservation, err error) {
	q, err := reserving(token, what)
	if err != nil {
		return r, err
	}
	return r, s.want(ctx, q, &r)
}

// notThePhone leaves out the device that has only last resorts, which would be
// charged too.
var notThePhone = []map[string]any{{"user": victim, "device": phone}}

// reserveOne reserves of the one user.
func (m *mallory) reserveOne(ctx context.Context) error {
	_, err := m.tryReserve(ctx, []delivery.UserID{victim})
	return err
}

// tryReserve reserves of users and says what came of it.
func (m *mallory) tryReserve(ctx context.Context, users []delivery.UserID) (a answer, err error) {
	q, err := reserving("", map[string]any{"users": users, "except": notThePhone})
	if err != nil {
		return a, err
	}
	if a, err = m.ask(ctx, q); err != nil || a.status >= 300 {
		return a, err
	}
	var r reservation
	if err := json.Unmarshal(a.body, &r); err != nil {
		return a, err
	}
	if len(r.refs(delivery.DeviceReserved)) > 0 {
		m.took()
	}
	for _, u := range r.Users {
		for _, d := range u.Devices {
			if d.Status != delivery.DeviceReserved {
				m.marks.rest(u.User, aWhile)
			}
		}
	}
	return a, nil
}

// aWhile is how long somebody is left alone of whom there was nothing to be had.
const aWhile = time.Second

// reserveSome reserves of some users of whom there may be something left.
func (m *mallory) reserveSome(ctx context.Context) error {
	users, _ := m.marks.choose(m.most)
	defer m.marks.leave(users)
	a, err := m.tryReserve(ctx, users)
	switch a.problem.Code {
	case "caller_budget":
		m.most = max(1, m.most/2)
	case "pair_budget":
		for _, user := range users {
			if strings.HasSuffix(a.problem.Detail, " "+string(user)) {
				m.marks.rest(user, cmp.Or(a.retryAfter, aWhile))
			}
		}
	}
	return err
}
