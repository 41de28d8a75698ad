package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

// A follower reads events from where it has read to.
type follower struct {
	w      *world
	caller delivery.Caller
	query  delivery.EventQuery
	stock  bool // those of stock are not left out
}

// follow begins to follow the events of a user, from now on.
func (w *world) follow(user delivery.UserID, device string) *follower {
	w.t.Helper()
	return w.followAs(delivery.Caller{User: user}, delivery.EventQuery{User: user, Device: device})
}

func (w *world) followAs(caller delivery.Caller, q delivery.EventQuery) *follower {
	w.t.Helper()
	f := &follower{w: w, caller: caller, query: q}
	if f.query.After == "" {
		same(w, "events of now", f.told(), "")
	}
	return f
}

// page reads the next page.
func (f *follower) page() delivery.EventPage {
	f.w.t.Helper()
	p, err := f.w.store.Events(f.w.ctx, f.caller, f.query)
	f.w.must(err)
	f.query.After = p.Next
	return p
}

// next reads all that there is to read, and returns why something is missing.
func (f *follower) next() (events []delivery.Event, gap delivery.EventGap) {
	f.w.t.Helper()
	for {
		p := f.page()
		for _, e := range p.Events {
			if f.stock || e.Kind != delivery.EventStock {
				events = append(events, e)
			}
		}
		if p.Gap != "" {
			gap = p.Gap
		}
		if !p.More {
			return events, gap
		}
	}
}

// told is next in words.
func (f *follower) told() string {
	f.w.t.Helper()
	events, gap := f.next()
	var all []string
	if gap != "" {
		all = append(all, "gap:"+string(gap))
	}
	for _, e := range events {
		all = append(all, inWords(e))
	}
	return strings.Join(all, ", ")
}

// inWords is an event without its ids and its time.
func inWords(e delivery.Event) string {
	switch e.Kind {
	case delivery.EventOutcome:
		return strings.TrimRight(fmt.Sprintf("%s is told: %s %s %s", e.User, e.Recipient, e.Status, e.Reason), " ")
	case delivery.EventStock:
		return fmt.Sprintf("%s/%s has %d", e.User, e.Device, e.Stock.Available)
	}
	return fmt.Sprintf("%s/%s %s", e.User, e.Device, e.Kind)
}

var eventPromises = []promise{
	{"a device is told of a Welcome when it can be claimed", func(w *world) {
		f := w.follow("alice", "phone")
		a, b := w.one(phone), w.one(phone)
		at := w.clock.Now()
		id := w.send(bob, a)
		events, _ := f.next()
		want := delivery.Event{Kind: delivery.EventWelcome, At: at, User: "alice", Device: "phone", Welcome: id, Ref: a.Ref}
		want.ID = events[0].ID
		same(w, "events", events, []delivery.Event{want})

		held := w.post(bob, welcome(b), hold).ID
		same(w, "while it is held", f.told(), "")
		w.clock.Advance(time.Minute)
		at = w.clock.Now()
		w.release(bob, held)
		events, _ = f.next()
		want = delivery.Event{Kind: delivery.EventWelcome, At: at, User: "alice", Device: "phone", Welcome: held, Ref: b.Ref}
		want.ID = events[0].ID
		same(w, "after the release", events, []delivery.Event{want})
	}},
	{"who has posted is told what becomes of it", func(w *world) {
		f := w.follow("bob", "")
		a, b, c := w.one(phone), w.one(tablet), w.one(dave)
		id := w.send(bob, a, b, c)
		same(w, "of a post", f.told(), "")
		at := w.clock.Now()
		w.first(phone, id)
		events, _ := f.next()
		want := delivery.Event{Kind: delivery.EventOutcome, At: at, User: "bob", Welcome: id, Ref: a.Ref, Recipient: phone, Status: delivery.StatusDelivered}
		want.ID = events[0].ID
		same(w, "of a claim", events, []delivery.Event{want})
		w.again(phone, id)
		same(w, "of another claim", f.told(), "")
		w.reject(phone, id, delivery.ReasonUndecryptable)
		same(w, "of a rejection", f.told(), "bob is told: alice/phone rejected undecryptable")
		w.ack(phone, id)
		same(w, "of an acknowledgement after it", f.told(), "bob is told: alice/phone acknowledged")
		w.ack(phone, id)
		same(w, "of one more", f.told(), "")
		w.withdraw(tablet, b)
		same(w, "of a withdrawal", f.told(), "bob is told: alice/tablet withdrawn")
		w.cancel(bob, id)
		same(w, "of a cancellation", f.told(), "bob is told: dave/phone cancelled")
	}},
	{"what ends by itself is told by the sweep that ends it", func(w *world) {
		f := w.follow("bob", "")
		a, b := w.one(phone), w.one(tablet)
		id := w.send(bob, a, b)
		w.first(phone, id)
		f.next()
		w.clock.Advance(max(w.limits.WelcomeKept, w.limits.Redelivery))
		w.sweep()
		same(w, "told", inAnyOrder(f.told()), "bob is told: alice/phone lapsed, bob is told: alice/tablet expired")
	}},
	{"that a device was removed is told by a sweep to who has posted for it", func(w *world) {
		f := w.follow("bob", "")
		w.send(bob, w.one(phone))
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		w.sweep()
		same(w, "told", f.told(), "bob is told: alice/phone withdrawn")
	}},
	{"a device is told that its stock becomes low, and that it is used up", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.LowWatermark = 2 })
		f := w.follow("alice", "phone")
		f.stock = true
		w.shelf(phone, 3)
		w.one(phone, mlstest.LastResort())
		same(w, "of a publication", f.told(), "")
		var told []string
		for range 5 {
			w.reserve(bob, delivery.ReserveRequest{Devices: []deviceID{phone}})
			told = append(told, f.told())
		}
		same(w, "told", told, []string{"", "alice/phone has 1", "alice/phone has 0", "alice/phone key_package", ""})
		w.shelf(phone, 1)
		w.reserve(bob, delivery.ReserveRequest{Devices: []deviceID{phone}})
		same(w, "of the next that is the last", f.told(), "alice/phone has 0")
	}},
	{"a device is told its own events and the outcomes of its user, and not those of another device", func(w *world) {
		phoneOnly, all, others := w.follow("alice", "phone"), w.follow("alice", ""), w.follow("carol", "")
		toPhone, toTablet, toDave := w.one(phone), w.one(tablet), w.one(dave)
		w.send(bob, toPhone)
		w.send(bob, toTablet)
		w.first(dave, w.send(delivery.Caller{User: "alice", Device: "tablet"}, toDave))
		same(w, "the phone", phoneOnly.told(), "alice/phone welcome, alice is told: dave/phone delivered")
		same(w, "the user", all.told(), "alice/phone welcome, alice/tablet welcome, alice is told: dave/phone delivered")
		same(w, "somebody else", others.told(), "")
	}},
	{"a service is told the events of all users, and what becomes of its own posts", func(w *world) {
		robot, other := delivery.Caller{Service: "robot"}, delivery.Caller{Service: "other"}
		all, others, everybody := w.followAs(robot, delivery.EventQuery{}), w.followAs(other, delivery.EventQuery{}), w.followAs(nobody, delivery.EventQuery{})
		w.first(phone, w.send(robot, w.one(phone)))
		w.first(dave, w.send(bob, w.one(dave)))
		own := " is told: alice/phone delivered"
		rest := "dave/phone welcome, bob is told: dave/phone delivered"
		same(w, "the service", all.told(), "alice/phone welcome, "+own+", "+rest)
		same(w, "another service", others.told(), "alice/phone welcome, "+rest)
		same(w, "who runs without authentication", everybody.told(), "alice/phone welcome, "+own+", "+rest)
	}},
	{"a page has as many events as it may, and the next one goes on", func(w *world) {
		f, limited := w.follow("alice", ""), w.follow("alice", "")
		one := w.followAs(nobody, delivery.EventQuery{Limit: 1})
		f.stock, limited.query.Limit = true, 2
		items := w.shelf(phone, 5)
		for _, k := range items {
			w.send(bob, k)
		}
		want, _ := f.next()
		same(w, "all", len(want), 6) // one says that the stock is used up
		for _, f := range []*follower{limited, one} {
			var got []delivery.Event
			for more := true; more; {
				p := f.page()
				if len(p.Events) > f.query.Limit {
					w.t.Errorf("%d events on a page of %d", len(p.Events), f.query.Limit)
				}
				got, more = append(got, p.Events...), p.More
			}
			same(w, "in pages", got, want)
		}
		for i, e := range want {
			f.query.After = e.ID
			rest, _ := f.next()
			same(w, "behind an event", len(rest), len(want)-1-i)
		}
	}},
	{"events are told again after the store was opened again", func(w *world) {
		f := w.follow("alice", "")
		w.send(bob, w.one(phone))
		again := *f
		want, _ := f.next()
		w.reopen()
		got, gap := again.next()
		if w.fixture.Moves {
			want, *f = nil, again
			same(w, "gap", gap, delivery.GapRestored) // no cursor of another database can be read
		} else {
			same(w, "gap", gap, "")
		}
		same(w, "events", got, want)
		w.send(bob, w.one(phone))
		same(w, "of later", f.told(), "alice/phone welcome")
	}},
	{"a place does not tell whether others have done something", func(w *world) {
		places := map[string]bool{}
		place := func(after string) string {
			p, err := w.store.Events(w.ctx, self(dave), delivery.EventQuery{User: "dave", After: after})
			w.must(err)
			same(w, "events", len(p.Events), 0)
			places[p.Next] = true
			return p.Next
		}
		first := place("")
		place(first)
		w.send(bob, w.one(phone))
		place(first)
		place("")
		same(w, "different ones", len(places), 4)
	}},
	{"what is no cursor is refused", func(w *world) {
		for _, text := range []string{
			"x", ".", "1", "1.", ".A", strings.Repeat("A", 26), strings.Repeat("A", 26) + ".", strings.Repeat("A", 26) + ".aa", strings.Repeat("A", 25) + ".A",
			strings.Repeat("a", 26) + ".A", strings.Repeat("A", 26) + ".A\nB", strings.Repeat("A", 26) + ".A.A", strings.Repeat("A", 34) + ".A", "A\n" + strings.Repeat("A", 25) + ".A",
		} {
			_, err := w.store.Events(w.ctx, bob, delivery.EventQuery{User: "bob", After: text})
			w.refused(err, delivery.ErrBadCursor)
		}
	}},
	{"events are kept for more than a day, and then it is said that some are missing", func(w *world) {
		f := w.follow("alice", "")
		w.send(bob, w.one(phone))
		early := *f
		w.clock.Advance(delivery.EventsKept - time.Minute)
		w.send(bob, w.one(tablet))
		w.sweep()
		same(w, "within a day", f.told(), "alice/phone welcome, alice/tablet welcome")
		w.clock.Advance(time.Minute)
		same(w, "forgotten, with the one of stock", w.sweep().ForgottenEvents, 2)
		same(w, "after it", early.told(), "gap:expired, alice/tablet welcome")
		same(w, "from there on", early.told(), "")
		w.clock.Advance(delivery.EventsKept)
		w.sweep()
		w.idle("another sweep", func() { w.sweep() })
		same(w, "of one that is in step", f.told(), "")
	}},
	{"a cursor that is kept in step does not grow old", func(w *world) {
		f := w.follow("alice", "")
		for range 5 {
			w.clock.Advance(20 * time.Hour)
			w.send(bob, w.one(dave))
			w.sweep()
			same(w, "told", f.told(), "")
		}
	}},
	{"after a restore it is said that events are missing, and nothing of before is told", func(w *world) {
		f := w.follow("alice", "")
		w.send(bob, w.one(phone))
		w.restored()
		w.send(bob, w.one(tablet))
		same(w, "told", f.told(), "gap:restored, alice/tablet welcome")
		same(w, "from there on", f.told(), "")
	}},
	{"of a user who was removed nothing of before is told", func(w *world) {
		user, all := w.follow("alice", ""), w.followAs(nobody, delivery.EventQuery{})
		w.send(bob, w.one(phone))
		w.must(w.store.RemoveUser(w.ctx, delivery.Operator(), "alice"))
		same(w, "told", user.told(), "")
		same(w, "told to who reads all", all.told(), "")
		w.send(bob, w.one(phone))
		same(w, "of the user who comes back", user.told(), "alice/phone welcome")
		same(w, "of all", all.told(), "alice/phone welcome")

		poster := w.follow("erin", "") // who has no device
		w.first(dave, w.send(delivery.Caller{User: "erin"}, w.one(dave)))
		w.must(w.store.RemoveUser(w.ctx, delivery.Operator(), "erin"))
		w.idle("removing again", func() { w.must(w.store.RemoveUser(w.ctx, delivery.Operator(), "erin")) })
		same(w, "told to a user without devices", poster.told(), "")
		w.clock.Advance(delivery.EventsKept)
		w.sweep()
		w.idle("another sweep", func() { w.sweep() })
	}},
	{"a device that was removed and made again is told nothing of before", func(w *world) {
		f, user := w.follow("alice", "phone"), w.follow("alice", "")
		w.send(bob, w.one(phone))
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		w.send(bob, w.one(phone))
		same(w, "the device", f.told(), "alice/phone welcome")
		same(w, "the user", user.told(), "alice/phone welcome, alice/phone welcome")
	}},
	{"a page of a device's events says whether the device exists", func(w *world) {
		f := w.follow("alice", "phone")
		exists := func(when string, want bool) {
			w.t.Helper()
			same(w, when, f.page().Exists, want)
		}
		exists("before it publishes", false)
		w.one(phone)
		exists("once it has", true)
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		exists("removed", false)
		w.one(phone)
		exists("back", true)
		w.must(w.store.RemoveUser(w.ctx, delivery.Operator(), "alice"))
		exists("removed with its user", false)
	}},
	{"who watches before reading misses nothing", func(w *world) {
		items := w.shelf(phone, 20)
		f := w.follow("alice", "phone")
		for _, k := range items {
			wake, stop := w.store.WatchEvents("alice", "phone", owner{})
			same(w, "before", f.told(), "")
			posted := make(chan error, 1)
			go func() {
				_, err := w.tryPost(bob, welcome(k))
				posted <- err
			}()
			w.woken(wake)
			same(w, "told", f.told(), "alice/phone welcome")
			w.must(<-posted)
			stop()
		}
	}},
	{"a watch of events is woken by them, by a removal and by a revocation, and not by what is another's", func(w *world) {
		k, other := w.one(phone), w.one(dave)
		wake, stop := w.store.WatchEvents("alice", "phone", owner{User: "alice"})
		defer stop()
		all, stopAll := w.store.WatchEvents("", "", owner{})
		defer stopAll()
		w.send(bob, other)
		w.woken(all)
		w.asleep(wake)
		w.send(bob, k)
		w.woken(wake)
		w.woken(all)
		token := w.token(owner{User: "alice"})
		w.must(w.store.RevokeToken(w.ctx, owner{}, token.ID))
		w.woken(wake)
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		w.woken(wake)
		stop()
		w.send(bob, w.one(phone))
		w.asleep(wake)
	}},
	{"of events of many at the same time each is told once, in the same order to all", func(w *world) {
		const n = 24
		items := make([]kp, n)
		for i := range items {
			items[i] = w.one(deviceID{User: delivery.UserID(fmt.Sprint("user", i%3)), Name: fmt.Sprint("phone", i)})
		}
		all := w.followAs(nobody, delivery.EventQuery{})
		late, users := *all, []*follower{}
		for i := range 3 {
			users = append(users, w.follow(delivery.UserID(fmt.Sprint("user", i)), ""))
		}
		wake, stop := w.store.WatchEvents("", "", owner{})
		defer stop()
		posted := make(chan error, n)
		for _, k := range items {
			go func() {
				_, err := w.tryPost(bob, welcome(k))
				posted <- err
			}()
		}
		var live []delivery.Event
		for len(live) < n {
			w.woken(wake)
			events, _ := all.next()
			live = append(live, events...)
		}
		for range n {
			w.must(<-posted)
		}
		again, _ := late.next()
		same(w, "read again", again, live)
		for i, f := range users {
			events, _ := f.next()
			same(w, "of a user", events, slices.DeleteFunc(slices.Clone(live), func(e delivery.Event) bool { return e.User != delivery.UserID(fmt.Sprint("user", i)) }))
		}
	}},
}

// inAnyOrder sorts what is told in words.
func inAnyOrder(told string) string {
	all := strings.Split(told, ", ")
	slices.Sort(all)
	return strings.Join(all, ", ")
}
