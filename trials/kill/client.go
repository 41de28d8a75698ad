package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/trials/harness"
)

// again is how often in a hundred a request that was answered is sent again.
const again = 8

// A client sends requests until each is answered, and writes into the books what
// it was told.
type client struct {
	run  *run
	name string
	rng  *rand.Rand
	conn conn
	old  []exchanged // some that were answered
}

// An exchanged is a request that can be sent again.
type exchanged struct {
	request request
	record  record
	read    reader
}

// A reader reads an answer into its record.
type reader func(*record, answer) error

func (r *run) newClient(name string) *client {
	seed := sha256.Sum256([]byte(name))
	return &client{run: r, name: name, rng: rand.New(rand.NewPCG(r.seed, uint64(seed[0])<<56|uint64(seed[1])<<48|uint64(seed[2])<<40|uint64(seed[3])<<32)), conn: conn{host: r.host}}
}

// live acts until the run is over.
func (c *client) live(act func() error) {
	defer c.conn.close()
	for c.run.control.wait() {
		if err := act(); err != nil {
			c.run.fail(fmt.Errorf("%s: %w", c.name, err))
			return
		}
		if len(c.old) > 0 && c.chance(again) {
			if err := c.repeat(); err != nil {
				c.run.fail(fmt.Errorf("%s: %w", c.name, err))
				return
			}
		}
		time.Sleep(time.Duration(c.rng.Int64N(int64(c.run.pause) + 1)))
	}
}

func (c *client) chance(percent int) bool { return c.rng.IntN(100) < percent }

// between returns a number from low to high.
func (c *client) between(low, high int) int { return low + c.rng.IntN(high-low+1) }

// ask sends the request until it is answered, reads the answer, and notes both.
func (c *client) ask(q request, r *record, read reader) error {
	r.client, r.shelved = c.name, c.run.books.shelved(r.epoch)
	first := *r
	a, err := c.send(q, r)
	if err != nil {
		return err
	}
	r.status = a.status
	if a.status >= 400 {
		var problem harness.Problem
		if err := json.Unmarshal(a.body, &problem); err != nil || problem.Code == "" {
			return differ("%s: the problem has no code: %s", r, a.body)
		}
		r.code = problem.Code
	}
	if err := read(r, a); err != nil {
		return err
	}
	c.run.books.add(r)
	c.run.count(r)
	c.remember(exchanged{q, first, read})
	return nil
}

// remember keeps some requests to send them again, also after a restart.
func (c *client) remember(e exchanged) {
	if e.record.what == claim || e.record.what == listUser || e.record.what == listDevices || e.record.what == inventory {
		return // nothing is repeated by these
	}
	if len(c.old) < 16 {
		c.old = append(c.old, e)
	} else {
		c.old[c.rng.IntN(len(c.old))] = e
	}
}

// repeat sends an old request again, byte for byte.
func (c *client) repeat() error {
	e := c.old[c.rng.IntN(len(c.old))]
	r := e.record
	c.run.repeats.Add(1)
	return c.ask(e.request, &r, e.read)
}

// send returns the whole answer to the last attempt. Those before had none, and
// the server was killed meanwhile.
func (c *client) send(q request, r *record) (answer, error) {
	for {
		at, began := attempt{call: c.run.books.tick()}, time.Now()
		generation := c.conn.generation
		if c.conn.net == nil {
			generation = 0
		}
		fresh := !c.conn.used || c.conn.net == nil
		a, err := c.conn.exchange(q)
		at.ret = c.run.books.tick()
		if generation == 0 {
			generation = c.conn.generation
		}
		switch {
		case c.run.over():
			return a, errOver
		case errors.Is(err, errNotSent):
			c.run.refused.Add(1)
		case err != nil:
			if err := c.unanswered(r, generation, fresh, began, err); err != nil {
				return a, err
			}
			at.lost = true
			r.attempts = append(r.attempts, at)
			c.run.lost.Add(1)
		case a.status == http.StatusServiceUnavailable:
			at.lost = true // a refusal says so itself: it may have happened or not
			r.attempts = append(r.attempts, at)
		default:
			c.run.requests.Add(1)
			r.attempts = append(r.attempts, at)
			return a, nil
		}
		time.Sleep(time.Duration(5+c.rng.IntN(20)) * time.Millisecond)
	}
}

// errOver ends a client whose run is over.
var errOver = errors.New("the run is over")

// heard is how long after SIGTERM a request may begin and has to be answered. It
// is less than the server waits for what is on its way.
const heard = 150 * time.Millisecond

// unanswered judges a request that got no answer, or half of one. That is what a
// killed server does. One that was asked to stop does it only to a connection on
// which it has never answered, because it has not accepted it yet, and to one
// that was idle for long when the request came.
func (c *client) unanswered(r *record, generation int64, fresh bool, began time.Time, cause error) error {
	how, at := c.run.host.ending(generation)
	switch {
	case how == killed || generation == 0:
		return nil
	case how == running:
		return differ("%s of %s got no answer from a server that runs: %v", r.what, c.name, cause)
	case began.Sub(at) > heard:
		c.run.tooLate.Add(1)
		return nil
	case fresh:
		c.run.unaccepted.Add(1)
		return nil
	}
	return differ("SIGTERM: %s of %s, begun %s after it, got no answer over a connection in use: %v",
		r.what, c.name, began.Sub(at).Round(time.Millisecond), cause)
}

// expect returns an error unless the answer is a 2xx or has one of the codes.
func expect(r *record, a answer, codes ...string) error {
	if a.status < 300 {
		return nil
	}
	for _, code := range codes {
		if r.code == code {
			return nil
		}
	}
	return differ("%s: nobody expects this answer: %s", r.client+" "+r.what, a.body)
}

// decode reads the JSON of a good answer.
func decode(a answer, v any) error {
	if a.status >= 300 {
		return nil
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		return differ("an answer is no JSON: %v: %s", err, a.body)
	}
	return nil
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers and bytes encode
	}
	return b
}

// find returns the KeyPackage with a ref in an answer.
func (c *client) find(ref string) (*keyPackage, error) {
	raw, err := mls.ParseKeyPackageRef(ref)
	if err != nil {
		return nil, differ("an answer names the KeyPackage %q", ref)
	}
	kp := c.run.books.keyPackage(raw)
	if kp == nil {
		return nil, differ("an answer names the KeyPackage %s, which nobody made", ref)
	}
	return kp, nil
}

func (c *client) findAll(refs []string) ([]*keyPackage, error) {
	list := make([]*keyPackage, len(refs))
	for i, ref := range refs {
		kp, err := c.find(ref)
		if err != nil {
			return nil, err
		}
		list[i] = kp
	}
	return list, nil
}

// findWelcome returns the Welcome with an id in an answer.
func (c *client) findWelcome(id string) (*welcome, error) {
	parsed, err := delivery.ParseWelcomeID(id)
	if err != nil {
		return nil, differ("an answer names the Welcome %q", id)
	}
	w := c.run.books.welcome(parsed)
	if w == nil {
		return nil, differ("an answer names the Welcome %s, which nobody made", id)
	}
	return w, nil
}

// tally counts what was done, by kind.
type tally map[string]*atomic.Int64

func newTally(kinds []string) tally {
	t := make(tally, len(kinds))
	for _, kind := range kinds {
		t[kind] = new(atomic.Int64)
	}
	return t
}

func (r *run) count(record *record) {
	if n := r.done[record.what]; n != nil && record.good() {
		n.Add(1)
	}
}
