package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	api "welcomed/client"
	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

// An adder reserves KeyPackages or picks them from a list, and posts Welcomes for
// them.
type adder struct {
	*client
	keys   int        // Idempotency-Keys so far
	posted []*welcome // some of those accepted
	held   []*welcome // accepted with a hold, and nothing said since
}

func (r *run) newAdder(n int) *adder { return &adder{client: r.newClient(fmt.Sprintf("adder %d", n))} }

// act adds people to a group, or goes on with one.
func (a *adder) act() error {
	switch n := a.rng.IntN(100); {
	case len(a.held) > 0 && n < 40:
		return a.decide()
	case len(a.posted) > 0 && n < 52:
		return a.outcome(a.posted[a.rng.IntN(len(a.posted))])
	case n < 90:
		return a.add(a.reserve)
	default:
		return a.add(a.pick)
	}
}

// add posts a Welcome for what choose has chosen; some adders give up before.
func (a *adder) add(choose func() ([]*keyPackage, error)) error {
	chosen, err := choose()
	if err != nil || len(chosen) == 0 || a.chance(8) {
		return err
	}
	w, q := a.welcome(chosen)
	return a.post(w, q)
}

// reserve reserves one KeyPackage of each of some devices and users of one suite.
func (a *adder) reserve() ([]*keyPackage, error) {
	a.keys++
	r := &record{what: reserve, key: fmt.Sprintf("%s-%d", strings.ReplaceAll(a.name, " ", "-"), a.keys)}
	suite := a.run.suites[a.rng.IntN(len(a.run.suites))]
	var users []string
	var devices []api.DeviceID
	for _, d := range a.run.devices {
		switch {
		case d.suite != suite:
		case a.chance(8) && !slices.Contains(users, string(d.id.User)):
			users = append(users, string(d.id.User))
		case a.chance(12):
			devices = append(devices, d.path().ID())
		}
	}
	if len(devices)+len(users) == 0 {
		return nil, nil
	}
	body := api.Reserving{CipherSuites: []uint16{uint16(suite)}, Users: users, Devices: devices}
	q := request{method: "POST", path: harness.Reserve, media: mediaJSON, body: encode(body), header: map[string]string{"Idempotency-Key": r.key}}
	err := a.ask(q, r, a.readReservation)
	return slices.SortedFunc(maps.Keys(r.told), func(a, b *keyPackage) int { return strings.Compare(string(a.ref), string(b.ref)) }), err
}

// readReservation reads what was reserved. The answer to the same request with
// the same key is the same, byte for byte.
func (a *adder) readReservation(r *record, got answer) error {
	if err := expect(r, got); err != nil {
		return err
	}
	if repeated, err := a.run.books.repeats(r, got.body); repeated || err != nil {
		return err // it happened then, and not now
	}
	var body api.Reservation
	if err := decode(got, &body); err != nil {
		return err
	}
	r.told, r.present = make(map[*keyPackage]string), make(map[*device]bool)
	for _, u := range body.Users {
		for _, d := range u.Devices {
			if d.KeyPackage == nil {
				if d.Status == api.DeviceExhausted {
					r.present[a.run.books.devices[delivery.DeviceID{User: delivery.UserID(u.User), Name: d.Device}]] = true
				}
				continue
			}
			kp, err := a.receive(*d.KeyPackage, u.User, d.Device)
			if err != nil {
				return err
			}
			r.told[kp] = string(d.Status)
		}
	}
	return nil
}

// pick takes one KeyPackage of each device from a listing; others may pick the
// same.
func (a *adder) pick() ([]*keyPackage, error) {
	found, err := a.listed(a.run.devices[a.rng.IntN(len(a.run.devices))].id.User)
	if err != nil {
		return nil, err
	}
	var chosen []*keyPackage
	seen := make(map[*device]bool)
	for _, kp := range found {
		if !seen[kp.device] && a.chance(30) {
			seen[kp.device] = true
			chosen = append(chosen, kp)
		}
	}
	return chosen, nil
}

// welcome makes a Welcome and the request that posts it.
func (a *adder) welcome(recipients []*keyPackage) (*welcome, request) {
	refs := make([]mls.KeyPackageRef, len(recipients))
	for i, kp := range recipients {
		refs[i] = kp.ref
	}
	size := a.between(100, 1500)
	if a.chance(5) {
		size = 30_000
	}
	bare := mlstest.WelcomeSize(size, recipients[0].suite, refs...)
	w := a.run.books.addWelcome(bare, recipients)
	w.hold, w.requireAll = a.chance(60), a.chance(60)
	q := request{method: "POST", path: harness.AllWelcomes + "?require=any", media: mediaMLS, body: mls.Wrap(mls.WireFormatWelcome, bare)}
	if w.requireAll {
		q.path = harness.AllWelcomes + "?require=all"
	}
	if w.hold {
		q.path += "&hold=1"
	}
	if a.chance(40) {
		var tree []byte
		switch {
		case a.chance(10):
			tree = mlstest.Random(delivery.TreeInline + a.between(1, 5000))
		case a.chance(60):
			tree = mlstest.Random(a.between(1, 6000))
		}
		w.context, w.tree, w.treeSize = mlstest.Random(a.between(1, 200)), sha256.Sum256(tree), len(tree)
		q.media, q.body = mediaJSON, encode(api.Posting{Welcome: q.body, RatchetTree: tree, Context: w.context})
	}
	return w, q
}

func (a *adder) post(w *welcome, q request) error {
	r := &record{what: post, welcome: w, sent: w.recipients}
	err := a.ask(q, r, a.readPost)
	if err != nil || !r.good() {
		return err
	}
	a.posted = append(a.posted[max(0, len(a.posted)-30):], w)
	if w.hold {
		a.held = append(a.held, w)
	} else if a.chance(12) {
		return a.cancel(w)
	}
	return nil
}

func (a *adder) readPost(r *record, got answer) error {
	if err := expect(r, got, "no_matching_key_package", "cancelled"); err != nil {
		return err
	}
	return a.readRecipients(r, got)
}

// readRecipients reads what an answer says of each recipient of the Welcome, who
// are those that it was posted for.
func (c *client) readRecipients(r *record, a answer) error {
	var body api.Outcome
	if err := json.Unmarshal(a.body, &body); err != nil {
		return differ("%s: the answer is no JSON: %v", r, err)
	}
	r.told, r.recipients, r.wholly = make(map[*keyPackage]string), make(map[*keyPackage]recipient), body.Cancelled
	if !r.good() && r.code != "no_matching_key_package" {
		return nil
	}
	if r.good() && body.ID != r.welcome.id.String() || len(body.Recipients) != len(r.welcome.recipients) {
		return differ("%s: the answer is about Welcome %q with %d recipients, it has %d", r, body.ID, len(body.Recipients), len(r.welcome.recipients))
	}
	for i, kp := range r.welcome.recipients {
		told := body.Recipients[i]
		if told.Ref != kp.ref.String() || told.User != "" && told.User+"/"+told.Device != kp.device.id.String() {
			return differ("%s: recipient %d is %s of %s/%s, it was posted for %s of %s", r, i, told.Ref, told.User, told.Device, kp.ref, kp.device.id)
		}
		// Nobody is known to the server, so only who matches is named.
		m := recipient{told.User != "", delivery.Status(told.Status)}
		r.told[kp], r.recipients[kp] = m.String(), m
	}
	return nil
}

// decide releases or cancels a Welcome that is held, or leaves it.
func (a *adder) decide() error {
	i := a.rng.IntN(len(a.held))
	w := a.held[i]
	a.held = append(a.held[:i], a.held[i+1:]...)
	switch {
	case a.chance(70):
		return a.release(w)
	case a.chance(80):
		return a.cancel(w)
	}
	return nil
}

func (c *client) release(w *welcome) error {
	q := request{method: "POST", path: harness.ReleasePath(w.id.String())}
	return c.ask(q, &record{what: release, welcome: w}, func(r *record, a answer) error {
		if err := expect(r, a, "cancelled", "not_found"); err != nil { // not there since a restore
			return err
		}
		return c.readRecipients(r, a)
	})
}

// cancel takes a Welcome back. What it named is reserved again, and some adders
// try once more with it.
func (a *adder) cancel(w *welcome) error {
	q := request{method: "DELETE", path: harness.WelcomePath(w.id.String())}
	r := &record{what: cancel, welcome: w}
	err := a.ask(q, r, func(r *record, got answer) error {
		if err := expect(r, got, "not_found"); err != nil { // since a restore
			return err
		}
		return a.readRecipients(r, got)
	})
	if err != nil || a.chance(40) {
		return err
	}
	again, q := a.welcome(w.recipients)
	time.Sleep(time.Duration(a.rng.IntN(5)) * time.Millisecond)
	return a.post(again, q)
}

func (c *client) outcome(w *welcome) error {
	q := request{method: "GET", path: harness.WelcomePath(w.id.String())}
	return c.ask(q, &record{what: readOutcome, welcome: w}, func(r *record, a answer) error {
		if err := expect(r, a, "not_found"); err != nil {
			return err
		}
		return c.readRecipients(r, a)
	})
}

// repeats reports whether there was an answer with the record's key before. It is
// an error if that was another one.
func (b *books) repeats(r *record, body []byte) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := b.reserved[r.key]
	if kept == nil {
		b.reserved[r.key] = &keptReservation{r, body}
		return false, nil
	}
	if !bytes.Equal(kept.body, body) {
		return true, &difference{
			fmt.Sprintf("the same request with Idempotency-Key %s was answered differently the second time: %s\nThe first time: %s", r.key, body, kept.body),
			[]string{kept.first.String(), r.String()},
		}
	}
	return true, nil
}
