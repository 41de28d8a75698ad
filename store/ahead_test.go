package store

import (
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
)

// TestAnEventAsksForManyRowsAtOnce: an engine that asks another machine for rows would ask
// so often for each event, looks and answers included, however many rows it needs. Each
// question costs a round trip. An event that reads a row which ahead has not said asks
// once more, and the test fails.
//
// An engine that locks owners makes two more round trips for a transaction that writes: it
// locks and reads everything again, and commits.
func TestAnEventAsksForManyRowsAtOnce(t *testing.T) {
	const devices, each = 30, 20
	clock := storetest.NewClock()
	s := openAt(t, clock)
	rounds := 0
	s.observeRounds = func(n int) { rounds += n }
	ctx := t.Context()
	id := deviceNo(0)
	self := delivery.Caller{User: id.User, Device: id.Name}
	bound := self
	bound.Bound = clock.Now().Add(time.Second)
	var names []delivery.DeviceID
	shelf := map[delivery.DeviceID][]delivery.NewKeyPackage{}
	for n := range devices {
		device := deviceNo(n)
		names, shelf[device] = append(names, device), randomItems(each)
		shelf[device][each-1].LastResort = true
		_, err := s.Publish(ctx, delivery.Caller{User: device.User, Device: device.Name}, device, shelf[device])
		must(t, err)
	}
	beside := deviceOf(id.User, "tablet")
	_, err := s.Publish(ctx, self, beside, randomItems(each))
	must(t, err)
	must(t, s.RemoveDevice(ctx, ann, deviceOf(id.User, "watch")))
	clock.Advance(time.Minute)

	at := 0
	toAll := func() delivery.Posting { // for the next KeyPackage of each device
		var refs []mls.KeyPackageRef
		for _, device := range names {
			refs = append(refs, shelf[device][at].Ref)
		}
		at++
		return delivery.Posting{Welcome: parsedWelcome(t, refs...), RatchetTree: make([]byte, 5000)}
	}
	held, group, another := toAll(), toAll(), toAll()
	held.Hold = true
	idOf := func(p delivery.Posting) delivery.WelcomeID { return delivery.IDOf(ann, p.Welcome.Bytes()) }
	post := func(p delivery.Posting) func() error {
		return func() error { _, err := s.Post(ctx, ann, p); return err }
	}
	claim := func(caller delivery.Caller, opts delivery.ClaimOptions, want int) func() error {
		return func() error {
			r, err := s.Claim(ctx, caller, id, opts)
			if len(r.Deliveries) != want {
				t.Errorf("given %d", len(r.Deliveries))
			}
			return err
		}
	}
	var reserved delivery.Reservation
	once := delivery.ReserveRequest{Devices: names, IdempotencyKey: "once"}
	token := delivery.Token{ID: "one", Owner: delivery.TokenOwner{User: id.User, Device: id.Name}, Expires: clock.Now().Add(time.Hour)}
	sync := func(gone ...mls.KeyPackageRef) func() error {
		return func() error {
			inventory, err := s.Inventory(ctx, self, id)
			must(t, err)
			rounds = 0
			r, err := s.Sync(ctx, self, id, inventory.Digest, without(inventory.Refs, gone))
			if len(r.Withdrawn) != len(gone) {
				t.Errorf("%d withdrawn", len(r.Withdrawn))
			}
			return err
		}
	}
	for _, event := range []struct {
		sentence string
		do       func() error
		want     int
	}{
		{"a claim that gives nothing", claim(self, delivery.ClaimOptions{}, 0), 2},
		{"a claim by credentials that end with the device", claim(bound, delivery.ClaimOptions{}, 0), 2},
		{"a publication", func() error { _, err := s.Publish(ctx, self, id, randomItems(10)); return err }, 2},
		{"a publication again", func() error { _, err := s.Publish(ctx, self, id, shelf[id]); return err }, 2},
		{"a first publication of another device", func() error { _, err := s.Publish(ctx, self, deviceOf(id.User, "new"), randomItems(10)); return err }, 2},
		{"a replacement", func() error { _, err := s.Replace(ctx, self, beside, 0, randomItems(each)); return err }, 2},
		{"a Welcome that is held", post(held), 2},
		{"a Welcome", post(group), 2},
		{"another", post(another), 2},
		{"a Welcome again", post(group), 3},
		{"a Welcome for KeyPackages that others took", func() error {
			p := group
			p.Welcome = parsedWelcome(t, append(refsOf(shelf[id][:3]), shelf[id][each-1].Ref)...)
			return post(p)()
		}, 3},
		{"a dry run", func() error { p := toAll(); p.DryRun = true; return post(p)() }, 2},
		{"an outcome", func() error { _, err := s.Outcome(ctx, ann, idOf(group)); return err }, 3},
		{"a release", func() error { _, err := s.Release(ctx, ann, idOf(held)); return err }, 6},
		{"a release again", func() error { _, err := s.Release(ctx, ann, idOf(held)); return err }, 3},
		{"a claim", claim(self, delivery.ClaimOptions{Max: 2}, 2), 3},
		{"a claim by a device that holds few keys", claim(self, delivery.ClaimOptions{Refs: refsOf(shelf[id][2:3])}, 1), 3},
		{"a claim of what was given", claim(self, delivery.ClaimOptions{}, 4), 3},
		{"a claim of nothing but what is new", claim(self, delivery.ClaimOptions{NewOnly: true}, 0), 3},
		{"a claim that skips what was given", claim(self, delivery.ClaimOptions{Skip: []delivery.WelcomeID{idOf(group)}}, 3), 3},
		{"a ratchet tree", func() error { _, err := s.RatchetTree(ctx, self, id, idOf(group)); return err }, 3},
		{"an acknowledgement", func() error { return s.Acknowledge(ctx, self, id, idOf(group), "") }, 3},
		{"an acknowledgement again", func() error { return s.Acknowledge(ctx, self, id, idOf(group), "") }, 3},
		{"a rejection", func() error { _, err := s.Reject(ctx, self, id, idOf(held), "", delivery.ReasonOther, ""); return err }, 3},
		{"a cancellation", func() error { _, err := s.Cancel(ctx, ann, idOf(another)); return err }, 7},
		{"a reservation from all", func() (err error) {
			reserved, err = s.Reserve(ctx, ann, delivery.ReserveRequest{Devices: names})
			if reserved.Users[0].Status != delivery.UserSuccess {
				t.Errorf("%+v", reserved.Users[0])
			}
			return err
		}, 6},
		{"a reservation from users, some unknown, in suites that nobody has", func() error {
			_, err := s.Reserve(ctx, ann, delivery.ReserveRequest{Users: []delivery.UserID{id.User, "nobody", names[1].User}, Suites: []mls.CipherSuite{2, 3}})
			return err
		}, 3},
		{"a reservation with a key", func() error { _, err := s.Reserve(ctx, ann, once); return err }, 6},
		{"a reservation again", func() error { _, err := s.Reserve(ctx, ann, once); return err }, 4},
		{"KeyPackages that are given back", func() error {
			_, err := s.GiveBack(ctx, ann, delivery.GiveBackRequest{Reservation: reserved.ID, Refs: refsIn(reserved)[:devices/2], Reason: delivery.GivenBackUnused})
			return err
		}, 2},
		{"a reservation that is given back", func() error {
			_, err := s.GiveBack(ctx, ann, delivery.GiveBackRequest{Reservation: reserved.ID, Reason: delivery.GivenBackUnused})
			return err
		}, 2},
		{"an inventory", func() error { _, err := s.Inventory(ctx, self, id); return err }, 2},
		{"a listing", func() error { _, err := s.List(ctx, self, id.User, delivery.ListOptions{Limit: 100}); return err }, 3},
		{"devices", func() error { _, err := s.Devices(ctx, self, id.User); return err }, 2},
		{"a KeyPackage", func() error { _, err := s.KeyPackage(ctx, self, shelf[id][0].Ref); return err }, 3},
		{"a sync in step by credentials that end with the device", func() error {
			inventory, err := s.Inventory(ctx, self, id)
			must(t, err)
			rounds = 0
			_, err = s.Sync(ctx, bound, id, inventory.Digest, inventory.Refs)
			return err
		}, 4},
		{"a sync in step", sync(), 2},
		{"a sync that withdraws", sync(refsOf(shelf[id][10:15])...), 4},
		{"a withdrawal", func() error { return s.Withdraw(ctx, self, id, shelf[id][16].Ref) }, 2},
		{"a KeyPackage for another device", func() error { return s.Give(ctx, self, beside, shelf[id][15].Ref) }, 2},
		{"a new token", func() error { _, err := s.AddToken(ctx, token); return err }, 1},
		{"a token", func() error { _, err := s.Token(ctx, token.ID); return err }, 1},
		{"tokens", func() error { _, err := s.Tokens(ctx, delivery.TokenOwner{User: id.User}); return err }, 2},
		{"a new token of the device", func() error { token.ID = "two"; _, err := s.AddToken(ctx, token); return err }, 1},
		{"a revocation", func() error { return s.RevokeToken(ctx, delivery.TokenOwner{}, "one") }, 1},
		{"a look before a publication", func() error { _, err := s.BeforePublish(ctx, self, id, refsOf(shelf[id])); return err }, 2},
		{"a look before a reservation", func() error {
			_, err := s.BeforeReserve(ctx, ann, delivery.ReserveRequest{Devices: names, IdempotencyKey: "other"})
			return err
		}, 2},
		{"a look before a reservation again", func() error { _, err := s.BeforeReserve(ctx, ann, once); return err }, 4},
		{"a look before a Welcome", func() error { _, err := s.BeforePost(ctx, ann, idOf(toAll()), refsOf(shelf[id])); return err }, 2},
		{"a sweep with nothing to do", func() error { _, err := s.Sweep(ctx); return err }, 10},
		{"a removal", func() error { return s.RemoveDevice(ctx, bound, id) }, 2},
		{"a removal again", func() error { return s.RemoveDevice(ctx, ann, id) }, 3},
		{"a removal of a user", func() error { return s.RemoveUser(ctx, ann, id.User) }, 2},
	} {
		rounds = 0
		must(t, event.do())
		if rounds != event.want {
			t.Errorf("%s asks %d times for rows, not %d", event.sentence, rounds, event.want)
		}
	}
	// Each kind of timers is asked for by itself, and what a sweep does is found out once
	// before it is decided. All devices and Welcomes of a kind are asked for at once.
	most := 0
	for range 125 {
		clock.Advance(24 * time.Hour)
		rounds = 0
		_, err := s.Sweep(ctx)
		must(t, err)
		most = max(most, rounds)
	}
	if most != 26 {
		t.Errorf("a sweep asks up to %d times for rows, not 26", most)
	}
}

func without(refs, gone []mls.KeyPackageRef) (left []mls.KeyPackageRef) {
	drop := map[mls.KeyPackageRef]bool{}
	for _, ref := range gone {
		drop[ref] = true
	}
	for _, ref := range refs {
		if !drop[ref] {
			left = append(left, ref)
		}
	}
	return left
}
