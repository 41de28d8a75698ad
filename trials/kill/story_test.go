package main

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

// A story is made of records that nobody was told.
type story struct {
	*books
	phone, tablet *device
	signer        *mlstest.Signer
	next          int64
}

func newStory() *story {
	s := &story{books: newBooks(), signer: mlstest.NewSigner(1, "alice")}
	s.phone = s.addDevice(delivery.DeviceID{User: "alice", Name: "phone"}, 1)
	s.tablet = s.addDevice(delivery.DeviceID{User: "alice", Name: "tablet"}, 1)
	return s
}

// happens adds a record that took the next moment.
func (s *story) happens(r record) *record {
	s.next += 10
	r.client, r.shelved = "a client", s.books.shelved(r.epoch)
	r.attempts = append(r.attempts, attempt{call: s.next, ret: s.next + 1})
	if r.status == 0 {
		r.status = 200
	}
	s.add(&r)
	return &r
}

// lost adds an attempt without an answer to the next record.
func (s *story) lost(r record) record {
	s.next += 10
	r.attempts = append(r.attempts, attempt{call: s.next, ret: s.next + 1, lost: true})
	return r
}

// meanwhile makes the last records overlap.
func (s *story) meanwhile(n int) {
	for i, r := range s.records[len(s.records)-n:] {
		r.attempts[len(r.attempts)-1] = attempt{call: s.next + int64(i), ret: s.next + 100 + int64(i)}
	}
	s.next += 200
}

func (s *story) shelf(options ...mlstest.Option) *keyPackage {
	kp := s.addKeyPackage(s.phone, s.signer.KeyPackage(options...), len(options) > 0)
	s.happens(record{what: publish, device: s.phone, sent: []*keyPackage{kp}, status: 201, told: map[*keyPackage]string{kp: "stored"}})
	return kp
}

func (s *story) reserves(key string, kp *keyPackage) *record {
	return s.happens(record{what: reserve, key: key, told: map[*keyPackage]string{kp: "reserved"}})
}

func (s *story) make(recipients ...*keyPackage) *welcome {
	bare := make([][]byte, len(recipients))
	for i, kp := range recipients {
		bare[i] = kp.bytes
	}
	return s.addWelcome(mlstest.WelcomeFor(bare...), recipients)
}

// tells is what an answer says of the recipients of w.
func (s *story) tells(what string, w *welcome, as ...recipient) record {
	r := record{what: what, welcome: w, sent: w.recipients, recipients: make(map[*keyPackage]recipient), told: make(map[*keyPackage]string)}
	for i, m := range as {
		r.recipients[w.recipients[i]], r.told[w.recipients[i]] = m, m.String()
	}
	return r
}

var (
	isHeld         = recipient{true, delivery.StatusHeld}
	isPending      = recipient{true, delivery.StatusPending}
	isDelivered    = recipient{true, delivery.StatusDelivered}
	isAcknowledged = recipient{true, delivery.StatusAcknowledged}
	isCancelled    = recipient{true, delivery.StatusCancelled}
	isTaken        = recipient{false, delivery.StatusTaken}
)

func (s *story) posts(w *welcome, as ...recipient) *record {
	r := s.tells(post, w, as...)
	r.status = 201
	return s.happens(r)
}

func (s *story) asks(w *welcome, as ...recipient) *record {
	return s.happens(s.tells(readOutcome, w, as...))
}

// sends posts a Welcome for a new KeyPackage.
func (s *story) sends() (*welcome, *keyPackage) {
	kp := s.shelf()
	w := s.make(kp)
	s.posts(w, isPending)
	return w, kp
}

// given is a claim that returns all there is.
func (s *story) given(all ...given) *record {
	return s.happens(record{what: claim, device: s.phone, given: all, complete: true})
}

func (s *story) settles(what string, g given) *record {
	return s.happens(record{what: what, device: s.phone, welcome: g.welcome, sent: []*keyPackage{g.kp}, status: 204})
}

func (s *story) is(kp *keyPackage, state string) *record {
	r := record{what: readStatus, device: s.phone, sent: []*keyPackage{kp}, told: map[*keyPackage]string{kp: state}}
	if state == "" {
		r.status, r.code = 404, "not_found"
	}
	return s.happens(r)
}

func (s *story) owner(what string, status int, sent ...*keyPackage) *record {
	return s.happens(record{what: what, device: s.phone, status: status, sent: sent})
}

// joined is a Welcome that was claimed and acknowledged.
func (s *story) joined() given {
	w, kp := s.sends()
	g := given{welcome: w, kp: kp}
	s.given(g)
	s.settles(acknowledge, g)
	return g
}

// brokenPromises are stories of what a server did that must not.
var brokenPromises = map[string]func(s *story){
	"a KeyPackage that two adders were given": func(s *story) { kp := s.shelf(); s.reserves("a", kp); s.reserves("b", kp) },
	"a KeyPackage that two were given at once": func(s *story) {
		kp := s.shelf()
		s.reserves("a", kp)
		s.reserves("b", kp)
		s.meanwhile(2)
	},
	"a KeyPackage that was given before it was published": func(s *story) {
		s.reserves("a", s.addKeyPackage(s.phone, s.signer.KeyPackage(), false))
	},
	"a reservation that nobody was told of": func(s *story) { s.is(s.shelf(), "reserved") },
	"a reservation that is forgotten":       func(s *story) { kp := s.shelf(); s.reserves("a", kp); s.is(kp, "available") },
	"an empty shelf where something lies": func(s *story) {
		s.shelf()
		s.happens(record{what: reserve, key: "a", told: map[*keyPackage]string{}, present: map[*device]bool{s.phone: true}})
	},
	"two Welcomes that match one KeyPackage": func(s *story) { _, kp := s.sends(); s.posts(s.make(kp), isPending) },
	"a Welcome for a consumed KeyPackage":    func(s *story) { g := s.joined(); s.posts(s.make(g.kp), isPending) },
	"a Welcome that is told taken by nothing": func(s *story) {
		r := s.tells(post, s.make(s.shelf()), isTaken)
		r.status, r.code = 409, "no_matching_key_package"
		s.happens(r)
	},
	"a KeyPackage that is consumed by two Welcomes": func(s *story) {
		w, kp := s.sends()
		other := s.make(kp)
		s.given(given{welcome: w, kp: kp})
		s.given(given{welcome: other, kp: kp})
	},
	"a Welcome that is given twice as a new one": func(s *story) {
		w, kp := s.sends()
		s.given(given{welcome: w, kp: kp})
		s.given(given{welcome: w, kp: kp})
	},
	"a Welcome that two claims are given at once": func(s *story) {
		w, kp := s.sends()
		s.given(given{welcome: w, kp: kp})
		s.given(given{welcome: w, kp: kp})
		s.meanwhile(2)
	},
	"a Welcome that nobody is given": func(s *story) { s.sends(); s.given() },
	"a delivered Welcome that is not given again": func(s *story) {
		w, kp := s.sends()
		s.given(given{welcome: w, kp: kp})
		s.given()
	},
	"an acknowledged Welcome that is given again": func(s *story) { g := s.joined(); g.redelivered = true; s.given(g) },
	"an acknowledgement that is missing":          func(s *story) { g := s.joined(); s.asks(g.welcome, isDelivered) },
	"an acknowledgement of what was never given":  func(s *story) { w, kp := s.sends(); s.settles(acknowledge, given{welcome: w, kp: kp}) },
	"a rejection that undoes an acknowledgement": func(s *story) {
		g := s.joined()
		s.settles(reject, g)
		s.asks(g.welcome, recipient{true, delivery.StatusRejected})
	},
	"a Welcome that is gone": func(s *story) {
		w, _ := s.sends()
		r := s.tells(readOutcome, w)
		r.status, r.code = 404, "not_found"
		s.happens(r)
	},
	"a Welcome that is decided a second time": func(s *story) { w, _ := s.sends(); s.posts(w, isPending) },
	"a Welcome that was refused and is there": func(s *story) {
		_, kp := s.sends()
		w := s.make(kp)
		r := s.tells(post, w, isTaken)
		r.status, r.code = 409, "no_matching_key_package"
		s.happens(r)
		s.asks(w, isTaken)
	},
	"a Welcome that only one of two recipients has": func(s *story) {
		a, b := s.shelf(), s.shelf()
		w := s.make(a, b)
		s.posts(w, isPending, isPending)
		s.given(given{welcome: w, kp: a})
	},
	"a Welcome that is given although it is held": func(s *story) {
		kp := s.shelf()
		w := s.make(kp)
		w.hold = true
		s.posts(w, isHeld)
		s.given(given{welcome: w, kp: kp})
	},
	"a release that is forgotten": func(s *story) {
		w := s.make(s.shelf())
		w.hold = true
		s.posts(w, isHeld)
		s.happens(s.tells(release, w, isPending))
		s.asks(w, isHeld)
	},
	"a release that tells of a hold": func(s *story) {
		w := s.make(s.shelf())
		w.hold = true
		s.posts(w, isHeld)
		s.happens(s.tells(release, w, isHeld))
	},
	"a release that tells of a claim to come": func(s *story) {
		kp := s.shelf()
		w := s.make(kp)
		w.hold = true
		s.posts(w, isHeld)
		s.happens(s.tells(release, w, isDelivered))
		s.given(given{welcome: w, kp: kp})
	},
	"a cancellation that tells of what waits": func(s *story) {
		w, _ := s.sends()
		s.happens(s.tells(cancel, w, isPending))
	},
	"a cancelled Welcome that is given": func(s *story) {
		w, kp := s.sends()
		s.happens(s.tells(cancel, w, isCancelled))
		s.given(given{welcome: w, kp: kp})
	},
	"a cancellation that is forgotten": func(s *story) {
		w, _ := s.sends()
		s.happens(s.tells(cancel, w, isCancelled))
		s.asks(w, isPending)
	},
	"a KeyPackage that is back on the shelf after its Welcome was cancelled": func(s *story) {
		w, kp := s.sends()
		s.happens(s.tells(cancel, w, isCancelled))
		s.is(kp, "available")
	},
	"a KeyPackage that is gone":              func(s *story) { s.is(s.shelf(), "") },
	"a KeyPackage that is stored twice":      func(s *story) { kp := s.shelf(); s.happens(*s.published(kp, "stored")) },
	"a spent KeyPackage that is put back":    func(s *story) { g := s.joined(); s.happens(*s.published(g.kp, "already_stored")) },
	"a withdrawn KeyPackage that is back":    func(s *story) { kp := s.shelf(); s.owner(withdraw, 204, kp); s.is(kp, "available") },
	"a withdrawn KeyPackage that is listed":  func(s *story) { kp := s.shelf(); s.owner(withdraw, 204, kp); s.lists(kp) },
	"a KeyPackage that is missing in a list": func(s *story) { s.shelf(); s.lists() },
	"a KeyPackage whose key is said to be of no use": func(s *story) {
		s.shelf()
		s.happens(record{what: inventory, device: s.phone, told: map[*keyPackage]string{}})
	},
	"a replaced KeyPackage that is still on the shelf": func(s *story) { kp := s.shelf(); s.owner(replace, 200); s.is(kp, "available") },
	"a last resort that two are on the shelf of": func(s *story) {
		first := s.shelf(mlstest.LastResort())
		s.shelf(mlstest.LastResort())
		s.is(first, "available")
	},
	"a sync that forgets to withdraw": func(s *story) { s.shelf(); s.owner(syncRefs, 200) },
	"a sync that is forgotten": func(s *story) {
		kp := s.shelf()
		s.happens(record{what: syncRefs, device: s.phone, told: map[*keyPackage]string{kp: "withdrawn"}})
		s.is(kp, "available")
	},
	"a removed device that still has something": func(s *story) { kp := s.shelf(); s.owner(remove, 204); s.lists(kp) },
	"a removed device that is there": func(s *story) {
		s.shelf()
		s.owner(remove, 204)
		s.happens(record{what: listDevices, present: map[*device]bool{s.phone: true}})
	},
}

// TestTheCheckerFinds: a checker that would not notice proves nothing.
func TestTheCheckerFinds(t *testing.T) {
	for name, tell := range brokenPromises {
		t.Run(name, func(t *testing.T) {
			s := newStory()
			tell(s)
			err := (&checker{books: s.books}).look()
			if err == nil {
				t.Fatal("was not found")
			}
			if strings.Count(err.Error(), "a client") < 1 || !strings.Contains(err.Error(), "its records:") {
				t.Errorf("%v: has no records", err)
			}
		})
	}
}

func (s *story) published(kp *keyPackage, status string) *record {
	return &record{what: publish, device: s.phone, sent: []*keyPackage{kp}, status: 201, told: map[*keyPackage]string{kp: status}}
}

func (s *story) lists(kps ...*keyPackage) *record {
	told := make(map[*keyPackage]string)
	for _, kp := range kps {
		told[kp] = "listed"
	}
	return s.happens(record{what: listUser, user: "alice", told: told, complete: true, present: map[*device]bool{s.phone: true, s.tablet: true}})
}

// keptPromises are stories of a server that was killed and has kept its promises.
var keptPromises = map[string]func(s *story){
	"a life":                              func(s *story) { s.is(s.joined().kp, "consumed") },
	"a publication whose answer was lost": func(s *story) { kp := s.half(); s.is(kp, "available") },
	"a publication that was lost": func(s *story) {
		kp := s.addKeyPackage(s.phone, s.signer.KeyPackage(), false)
		s.happens(s.lost(*s.published(kp, "stored")))
	},
	"a post whose answer was lost, and what was claimed meanwhile": func(s *story) {
		kp := s.shelf()
		w := s.make(kp)
		r := s.lost(s.tells(post, w, isAcknowledged))
		g := given{welcome: w, kp: kp}
		s.given(g)
		s.settles(acknowledge, g)
		s.happens(r)
	},
	"a claim whose answer was lost and is given again": func(s *story) {
		w, kp := s.sends()
		s.happens(s.lost(record{what: claim, device: s.phone, complete: true, given: []given{{w, kp, true}}}))
	},
	"a claim that was lost with its request": func(s *story) {
		w, kp := s.sends()
		s.happens(s.lost(record{what: claim, device: s.phone, complete: true, given: []given{{w, kp, false}}}))
	},
	"a release that tells of what was claimed meanwhile": func(s *story) {
		kp := s.shelf()
		w := s.make(kp)
		w.hold = true
		s.posts(w, isHeld)
		s.happens(s.tells(release, w, isDelivered))
		s.given(given{welcome: w, kp: kp})
		s.meanwhile(2)
		s.asks(w, isDelivered)
	},
	"a withdrawal that comes before a Welcome, or after it": func(s *story) {
		kp := s.shelf()
		w := s.make(kp)
		s.owner(withdraw, 204, kp)
		s.posts(w, isPending)
		s.meanwhile(2)
		s.asks(w, recipient{true, delivery.StatusWithdrawn})
	},
	"a reservation that was made before its answer was lost": func(s *story) {
		kp := s.shelf()
		r := s.lost(record{what: reserve, key: "a", told: map[*keyPackage]string{kp: "reserved"}})
		s.is(kp, "reserved")
		s.happens(r)
	},
	"a last resort that two Welcomes name": func(s *story) {
		kp := s.shelf(mlstest.LastResort())
		for range 2 {
			w := s.make(kp)
			s.posts(w, isPending)
			s.given(given{welcome: w, kp: kp})
			s.settles(acknowledge, given{welcome: w, kp: kp})
		}
		s.is(kp, "available")
	},
	"an acknowledgement after a rejection": func(s *story) {
		w, kp := s.sends()
		g := given{welcome: w, kp: kp}
		s.given(g)
		s.settles(reject, g)
		s.settles(acknowledge, g)
		s.asks(w, isAcknowledged)
	},
}

func TestTheCheckerAllows(t *testing.T) {
	for name, tell := range keptPromises {
		t.Run(name, func(t *testing.T) {
			s := newStory()
			tell(s)
			if err := (&checker{books: s.books}).look(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// half is a KeyPackage whose publication was answered at the second attempt.
func (s *story) half() *keyPackage {
	kp := s.addKeyPackage(s.phone, s.signer.KeyPackage(), false)
	s.happens(s.lost(*s.published(kp, "already_stored")))
	return kp
}

func TestAnIdempotencyKeyHasOneAnswer(t *testing.T) {
	s := newStory()
	r := s.reserves("a", s.shelf())
	for i, body := range []string{"some", "some", "other"} {
		repeated, err := s.repeats(r, []byte(body))
		if repeated != (i > 0) || (err != nil) != (i == 2) {
			t.Errorf("answer %d, %s: repeated %t, %v", i, body, repeated, err)
		}
		if err != nil && !(strings.Contains(err.Error(), "some") && strings.Contains(err.Error(), "other")) {
			t.Errorf("the difference does not say both answers: %v", err)
		}
	}
}

// TestCountsAreCompared changes one number after the other.
func TestCountsAreCompared(t *testing.T) {
	s := newStory()
	s.joined()
	s.sends()
	c := &checker{books: s.books}
	if err := c.look(); err != nil {
		t.Fatal(err)
	}
	count := func() *census {
		n, err := c.count(limits())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	metrics := func(n *census) string {
		var b strings.Builder
		for _, s := range delivery.KeyPackageStates {
			fmt.Fprintf(&b, "welcomed_key_packages{state=%q} %d\n", s, n.keyPackages[s])
		}
		for _, s := range delivery.WelcomeStates {
			fmt.Fprintf(&b, "welcomed_welcomes{state=%q} %d\n", s, n.welcomes[s.Status()])
		}
		fmt.Fprintf(&b, "welcomed_devices{stock=\"ok\"} %d\nwelcomed_devices{stock=\"low\"} %d\nwelcomed_devices{stock=\"empty\"} %d\n", n.ok, n.low, n.empty)
		return b.String()
	}
	read, err := readMetrics(metrics(count()))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.compare("/metrics", count(), read); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*census){
		"a KeyPackage less":  func(n *census) { n.keyPackages[delivery.Matched]-- },
		"a KeyPackage more":  func(n *census) { n.keyPackages[delivery.Available]++ },
		"a Welcome less":     func(n *census) { n.welcomes[delivery.StatusAcknowledged]-- },
		"a device forgotten": func(n *census) { n.empty-- },
		"a device too well":  func(n *census) { n.ok, n.empty = n.ok+1, n.empty-1 },
	} {
		wrong := count()
		change(wrong)
		if c.compare("/metrics", count(), wrong) == nil {
			t.Errorf("%s is not seen", name)
		}
	}
	if !maps.Equal(read.welcomes, count().welcomes) && len(read.welcomes) == 0 {
		t.Error("no Welcomes were read")
	}
}
