package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

const crowd = 64

// A tally counts by name, from any goroutine.
type tally struct {
	mu sync.Mutex
	m  map[string]int
}

func (t *tally) add(name string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[string]int{}
	}
	t.m[name]++
	return t.m[name]
}

// once expects that nothing was counted twice, and returns how many there are.
func (t *tally) once(w *world, what string) int {
	w.t.Helper()
	for name, n := range t.m {
		if n != 1 {
			w.t.Errorf("%s %s %d times", what, name, n)
		}
	}
	return len(t.m)
}

var concurrencyPromises = []promise{
	{"64 reservers never get the same one, and are told when nothing is left", func(w *world) {
		w.publish(phone, keyPackages(40)...)
		var got, answers tally
		together(crowd, func(i int) {
			caller := delivery.Caller{User: delivery.UserID(fmt.Sprintf("user%d", i))}
			r, err := w.store.Reserve(w.ctx, caller, alice)
			if err != nil {
				w.t.Error(err)
				return
			}
			answers.add(string(r.Users[0].Status))
			for _, k := range reservedRefs(r) {
				got.add(k.String())
			}
		})
		same(w, "handed out", got.once(w, "handed out"), 40)
		same(w, "answers", answers.m, map[string]int{"success": 40, "exhausted": 24})
	}},
	{"64 retries of one reservation are one reservation", func(w *world) {
		w.publish(phone, keyPackages(10)...)
		var got tally
		together(crowd, func(int) {
			r, err := w.store.Reserve(w.ctx, bob, delivery.ReserveRequest{Users: alice.Users, IdempotencyKey: "k1"})
			if err != nil {
				w.t.Error(err)
			}
			got.add(fmt.Sprint(reservedRefs(r)))
		})
		same(w, "answers", len(got.m), 1)
		same(w, "left", len(w.listed("alice")), 9)
	}},
	{"of 64 Welcomes for one KeyPackage one wins", func(w *world) {
		k := w.one(phone)
		var won tally
		together(crowd, func(i int) {
			_, err := w.tryPost(delivery.Caller{User: delivery.UserID(fmt.Sprintf("user%d", i))}, welcome(k))
			if err != nil && !errors.Is(err, delivery.ErrNoMatchingKeyPackage) {
				w.t.Error(err)
			}
			won.add(fmt.Sprint(err == nil))
		})
		same(w, "won", won.m, map[string]int{"true": 1, "false": crowd - 1})
		same(w, "given", len(w.claim(phone).Deliveries), 1)
	}},
	{"Welcomes that share recipients in any order share no KeyPackage", func(w *world) {
		items := keyPackages(50)
		w.publish(phone, items[:25]...)
		w.publish(tablet, items[25:]...)
		var taken tally
		together(crowd, func(i int) {
			order := slices.Clone(items)
			rand.Shuffle(len(order), func(a, b int) { order[a], order[b] = order[b], order[a] })
			o, err := w.tryPost(bob, welcome(order[:10]...))
			if err != nil && !errors.Is(err, delivery.ErrNoMatchingKeyPackage) {
				w.t.Error(err)
			}
			for _, r := range o.Recipients {
				if r.Matched {
					taken.add(r.Ref.String())
				}
			}
		})
		n := taken.once(w, "matched")
		same(w, "given", len(w.claim(phone).Deliveries)+len(w.claim(tablet).Deliveries), n)
	}},
	{"64 posts of one Welcome are one Welcome", func(w *world) {
		m := welcome(w.one(phone))
		var answers tally
		together(crowd, func(int) {
			o, err := w.tryPost(bob, m)
			answers.add(fmt.Sprint(o.ID, o.Repeated, err))
		})
		id := delivery.IDOf(bob, m.Bytes())
		same(w, "answers", answers.m, map[string]int{fmt.Sprint(id, false, nil): 1, fmt.Sprint(id, true, nil): crowd - 1})
		w.first(phone, id)
	}},
	{"64 claims of one device give each Welcome for the first time once", func(w *world) {
		items := w.shelf(phone, 20)
		for _, k := range items {
			w.send(bob, k)
		}
		var first, all tally
		together(crowd, func(int) {
			r, err := w.store.Claim(w.ctx, self(phone), phone, claimOptions(atMost(7)))
			if err != nil {
				w.t.Error(err)
			}
			for _, g := range r.Deliveries {
				all.add(g.Ref.String())
				if !g.Redelivered {
					first.add(g.Ref.String())
				}
			}
		})
		same(w, "given first", first.once(w, "given first"), 20)
		same(w, "given", len(all.m), 20)
		w.states(delivery.Consumed, items...)
	}},
	{"64 publications of the same bytes are one", func(w *world) {
		items := keyPackages(5)
		var stored tally
		together(crowd, func(int) {
			p, err := w.store.Publish(w.ctx, self(phone), phone, items)
			if err != nil {
				w.t.Error(err)
			}
			stored.add(fmt.Sprint(publishedStatuses(p)))
		})
		same(w, "answers", len(stored.m), 2)
		same(w, "listed", len(w.listed("alice")), 5)
	}},
	{"of a claim and a withdrawal one comes first", func(w *world) {
		for range 20 {
			k := w.one(phone)
			id := w.send(bob, k)
			var given, withdrawn bool
			together(2, func(i int) {
				if i == 0 {
					r, err := w.store.Claim(w.ctx, self(phone), phone, claimOptions())
					given = err == nil && len(r.Deliveries) == 1
				} else {
					withdrawn = w.store.Withdraw(w.ctx, self(phone), phone, k.Ref) == nil
				}
			})
			same(w, "withdrawn", withdrawn, !given)
			if given {
				w.became(bob, id, delivery.StatusDelivered)
				w.ack(phone, id)
			} else {
				w.became(bob, id, delivery.StatusWithdrawn)
			}
		}
	}},
	{"of a claim and a cancellation one comes first", func(w *world) {
		for range 20 {
			k := w.one(phone)
			id := w.send(bob, k)
			var given bool
			var o delivery.Outcome
			together(2, func(i int) {
				if i == 0 {
					r, err := w.store.Claim(w.ctx, self(phone), phone, claimOptions())
					given = err == nil && len(r.Deliveries) == 1
				} else {
					o, _ = w.store.Cancel(w.ctx, bob, id)
				}
			})
			if given {
				same(w, "cancelling said", statuses(o.Recipients), []delivery.Status{"delivered"})
				w.states(delivery.Consumed, k)
				w.ack(phone, id)
			} else {
				same(w, "cancelling said", statuses(o.Recipients), []delivery.Status{"cancelled"})
				w.states(delivery.Reserved, k)
			}
		}
	}},
	{"of an acknowledgement and a rejection the acknowledgement wins", func(w *world) {
		for range 20 {
			id := w.consume(phone, w.one(phone))
			together(4, func(i int) {
				var err error
				if i%2 == 0 {
					err = w.store.Acknowledge(w.ctx, self(phone), phone, id, "")
				} else {
					_, err = w.store.Reject(w.ctx, self(phone), phone, id, "", delivery.ReasonOther, "")
				}
				if err != nil {
					w.t.Error(err)
				}
			})
			w.became(bob, id, delivery.StatusAcknowledged)
		}
	}},
	{"a sync and a reservation leave nothing handed out that was withdrawn before", func(w *world) {
		for range 20 {
			k := w.one(phone)
			digest := w.inventory(phone).Digest
			var r delivery.Reservation
			var err error
			together(2, func(i int) {
				if i == 0 {
					_, err = w.store.Sync(w.ctx, self(phone), phone, digest, nil)
				} else {
					r, _ = w.store.Reserve(w.ctx, bob, alice)
				}
			})
			w.must(err) // a reservation leaves the inventory's refs as they are
			w.states(delivery.Withdrawn, k)
			if n := len(reservedRefs(r)); n > 1 {
				w.t.Fatalf("reserved %d", n)
			}
		}
	}},
	{"a device whose shelf is replaced meanwhile gives of the old one or of the new one", func(w *world) {
		for round := range 5 {
			w.replace(phone, 0, keyPackage(mlstest.LastResort()))
			var answers tally
			together(17, func(i int) {
				if i == 0 {
					if _, err := w.store.Replace(w.ctx, self(phone), phone, 0, keyPackages(16)); err != nil {
						w.t.Error(err)
					}
					return
				}
				req := delivery.ReserveRequest{Users: alice.Users, IdempotencyKey: fmt.Sprintf("%d of %d", i, round)}
				first, err := w.store.Reserve(w.ctx, bob, req)
				again, errAgain := w.store.Reserve(w.ctx, bob, req)
				again.Repeated = false
				if err != nil || errAgain != nil || !reflect.DeepEqual(again, first) {
					w.t.Errorf("the second answer is another: %v, %v, then %v, %v", first, err, again, errAgain)
					return
				}
				answers.add(string(first.Users[0].Devices[0].Status))
			})
			same(w, "served", answers.m["reserved"]+answers.m["last_resort"], 16)
		}
	}},
	{"in a storm nothing is handed out twice, given twice or lost", storm},
}

// storm lets adders reserve, post, release and cancel while devices claim, lose
// replies, acknowledge and publish.
func storm(w *world) {
	const devicesOf, rounds, adders = 3, 25, 6
	var devices []deviceID
	for i := range 2 * devicesOf {
		d := deviceID{User: delivery.UserID(fmt.Sprintf("user%d", i/devicesOf)), Name: fmt.Sprintf("device%d", i)}
		devices = append(devices, d)
		w.publish(d, append(keyPackages(12), keyPackage(mlstest.LastResort()))...)
	}
	s := &tempest{w: w, devices: devices}
	var adding atomic.Int32
	adding.Store(adders)
	together(adders+2*len(devices), func(i int) {
		if i < adders {
			defer adding.Add(-1)
			for n := range rounds {
				s.add(i, n)
			}
			return
		}
		for adding.Load() > 0 {
			s.join(devices[i%len(devices)])
		}
	})
	for _, d := range devices {
		for s.join(d) > 0 {
		}
	}
	s.judge()
}

type tempest struct {
	w        *world
	devices  []deviceID
	reserved tally // refs that are not last resort
	given    tally // Welcome and ref, for the first time
	consumed tally // refs that are not last resort, given for the first time
}

// add is what an adder does in a round.
func (s *tempest) add(adder, round int) {
	w, caller := s.w, delivery.Caller{User: delivery.UserID(fmt.Sprintf("adder%d", adder))}
	req := delivery.ReserveRequest{Users: []delivery.UserID{s.devices[rand.IntN(len(s.devices))].User}}
	r, err := w.store.Reserve(w.ctx, caller, req)
	if err != nil {
		w.t.Error(err)
		return
	}
	for _, u := range r.Users {
		for _, d := range u.Devices {
			if d.Status == delivery.DeviceReserved {
				s.reserved.add(d.KeyPackage.Ref.String())
			}
		}
	}
	refs := reservedRefs(r)
	if l, err := w.store.List(w.ctx, caller, s.devices[0].User, delivery.ListOptions{Limit: 5, Bytes: 1 << 20}); err == nil {
		for _, k := range listedRefs(l) {
			if !slices.Contains(refs, k) {
				refs = append(refs, k) // others may be faster
			}
		}
	}
	if len(refs) == 0 {
		return
	}
	o, err := w.tryPost(caller, parseWelcome(mlstest.Welcome(1, refs...)), func(p *delivery.Posting) { p.Hold = round%2 == 0 })
	switch {
	case errors.Is(err, delivery.ErrNoMatchingKeyPackage):
	case err != nil:
		w.t.Error(err)
	case round%5 == 4:
		_, err = w.store.Cancel(w.ctx, caller, o.ID)
	case round%2 == 0:
		_, err = w.store.Release(w.ctx, caller, o.ID)
	}
	if err != nil && !errors.Is(err, delivery.ErrNoMatchingKeyPackage) {
		w.t.Error(err)
	}
}

// join is what a device does: claim, lose half of the replies, acknowledge the
// others, and publish when its stock is low. It returns how many it was given.
func (s *tempest) join(d deviceID) int {
	w := s.w
	r, err := w.store.Claim(w.ctx, self(d), d, claimOptions(atMost(5)))
	if err != nil {
		w.t.Error(err)
		return 0
	}
	for _, g := range r.Deliveries {
		if !g.Redelivered {
			s.given.add(g.ID.String() + " " + g.Ref.String())
			if k, err := w.store.KeyPackage(w.ctx, self(d), g.Ref); err != nil || !k.LastResort {
				s.consumed.add(g.Ref.String())
			}
		}
		if rand.IntN(2) == 0 {
			if err := w.store.Acknowledge(w.ctx, self(d), d, g.ID, g.Ref); err != nil {
				w.t.Error(err)
			}
		}
	}
	if r.Stock.Available < 3 {
		if _, err := w.store.Publish(w.ctx, self(d), d, keyPackages(3)); err != nil {
			w.t.Error(err)
		}
	}
	return len(r.Deliveries)
}

// judge expects that the promises were kept.
func (s *tempest) judge() {
	w := s.w
	s.reserved.once(w, "reserved")
	s.consumed.once(w, "consumed")
	given := s.given.once(w, "given first")
	acknowledged := 0
	for id, caller := range w.store.welcomes {
		for _, r := range w.outcome(caller, id).Recipients {
			switch {
			case !r.Matched, r.Status == delivery.StatusCancelled:
			case r.Status == delivery.StatusAcknowledged:
				acknowledged++
				if s.given.m[id.String()+" "+r.Ref.String()] != 1 {
					w.t.Errorf("%v was not given for %v", id, r.Ref)
				}
			default:
				w.t.Errorf("a recipient is %s", r.Status)
			}
		}
	}
	same(w, "given and acknowledged", acknowledged, given)
	if given == 0 {
		w.t.Error("nothing happened")
	}
	w.clock.Advance(time.Second)
}
