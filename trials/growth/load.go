package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

// groupInfoBytes is that of a small group.
const groupInfoBytes = 600

// adder makes all groups of the measurement.
var adder = delivery.Caller{User: "adder", Device: "laptop"}

// A life is one KeyPackage on its way from the shelf to a joiner.
type life struct {
	device  delivery.DeviceID
	self    delivery.Caller
	item    delivery.NewKeyPackage
	ref     mls.KeyPackageRef // that was reserved, the oldest on the shelf
	welcome *mls.Welcome
	id      delivery.WelcomeID
	failure error
}

// An event is one of those that are measured. prepare makes what a client would
// send, before the time counts.
type event struct {
	name    string
	prepare func(m *maker, l *life)
	do      func(ctx context.Context, s *bolt.Store, l *life) error
}

var events = []event{
	{"publish", func(m *maker, l *life) { l.item = m.keyPackage() }, publishOne},
	{"reserve", nil, reserveOne},
	{"post", prepareWelcome, postOne},
	{"claim", nil, claimOne},
	{"acknowledge", nil, acknowledgeOne},
}

func publishOne(ctx context.Context, s *bolt.Store, l *life) error {
	_, err := s.Publish(ctx, l.self, l.device, []delivery.NewKeyPackage{l.item})
	return err
}

func reserveOne(ctx context.Context, s *bolt.Store, l *life) error {
	r, err := s.Reserve(ctx, adder, delivery.ReserveRequest{Devices: []delivery.DeviceID{l.device}})
	if err != nil {
		return err
	}
	got := r.Users[0].Devices[0]
	if got.KeyPackage == nil {
		return fmt.Errorf("%s of %s", got.Status, l.device)
	}
	l.ref = got.KeyPackage.Ref
	return nil
}

func prepareWelcome(_ *maker, l *life) {
	l.welcome, l.failure = mls.ParseWelcome(mlstest.WelcomeSize(groupInfoBytes, 1, l.ref))
}

func postOne(ctx context.Context, s *bolt.Store, l *life) error {
	if l.failure != nil {
		return l.failure
	}
	o, err := s.Post(ctx, adder, delivery.Posting{Welcome: l.welcome, RequireAll: true})
	l.id = o.ID
	return err
}

// claimOne takes one Welcome, perhaps that of another life of the same device: all
// of a chunk are taken when the chunk has been.
func claimOne(ctx context.Context, s *bolt.Store, l *life) error {
	r, err := s.Claim(ctx, l.self, l.device, delivery.ClaimOptions{Max: 1})
	if err == nil && !r.New() {
		err = fmt.Errorf("nothing new for %s", l.device)
	}
	return err
}

func acknowledgeOne(ctx context.Context, s *bolt.Store, l *life) error {
	return s.Acknowledge(ctx, l.self, l.device, l.id, l.ref)
}

// measureLoad opens a file and measures everything that needs no new process.
func measureLoad(ctx context.Context, c config, path string, size int, out *column) error {
	s, err := open(path)
	if err != nil {
		return err
	}
	defer s.Close()
	debug.FreeOSMemory() // what a larger file has left
	peak := watchMemory()
	for _, callers := range c.callers {
		if err := measureCell(ctx, s, c.countFor(callers), callers, size/perDevice, out); err != nil {
			return err
		}
	}
	out.add("memory, under load", "MB", peak().anon)
	if err := measureGroup(ctx, s, out); err != nil {
		return err
	}
	return s.Close()
}

func (c config) countFor(callers int) int {
	if callers == 1 {
		return max(1, c.count/10)
	}
	return c.count
}

// chunk is how many lives go through one event before all go through the next,
// so that the shelves stay as full as they were.
const chunk = 1000

// A sample is what an event took in a cell.
type sample struct {
	event   string
	callers int
	all     time.Duration   // from the first to the last, of all chunks
	each    []time.Duration // for its caller
	written int64           // bytes
}

// measureCell has count lives lived. They are enough for what the store puts off
// to be paid for within the measurement.
func measureCell(ctx context.Context, s *bolt.Store, count, callers, devices int, out *column) error {
	samples := make([]sample, len(events))
	for i, e := range events {
		samples[i] = sample{event: e.name, callers: callers}
	}
	before, err := s.Stats(ctx)
	if err != nil {
		return err
	}
	written, err := harness.BytesWritten()
	if err != nil {
		return err
	}
	for done := 0; done < count; done += chunk {
		lives := newLives(min(count-done, chunk), devices)
		for i, e := range events {
			if err := samples[i].measure(ctx, s, e, lives); err != nil {
				return fmt.Errorf("%s at %d callers: %w", e.name, callers, err)
			}
		}
	}
	for i := range samples {
		out.addSample(&samples[i])
	}
	writtenAfter, err := harness.BytesWritten()
	if err != nil {
		return err
	}
	// What the store writes while it has nothing else to do is in no event's figure.
	out.add(fmt.Sprintf("written per life, %d at a time", callers), "B", float64(writtenAfter-written)/float64(count))
	after, err := s.Stats(ctx)
	// Nothing is swept in between: what has ended still has its bytes.
	out.add(fmt.Sprintf("used in the file per life, %d at a time", callers), "B", float64(after.UsedBytes-before.UsedBytes)/float64(count))
	return err
}

// newLives picks devices at random: neighbours in the file do not share a commit.
func newLives(n, devices int) []*life {
	lives := make([]*life, n)
	for i := range lives {
		d := deviceNo(rand.IntN(devices))
		lives[i] = &life{device: d, self: delivery.Caller{User: d.User, Device: d.Name}}
	}
	return lives
}

// measure has each of lives go through an event.
func (p *sample) measure(ctx context.Context, s *bolt.Store, e event, lives []*life) error {
	m := newMaker()
	for _, l := range lives {
		if e.prepare != nil {
			e.prepare(m, l)
		}
	}
	took := make([]time.Duration, len(lives))
	before, err := harness.BytesWritten()
	if err != nil {
		return err
	}
	start := time.Now()
	err = spread(p.callers, len(lives), func(_ *maker, i int) error {
		begun := time.Now()
		defer func() { took[i] = time.Since(begun) }()
		return e.do(ctx, s, lives[i])
	})
	if err != nil {
		return err
	}
	p.all += time.Since(start)
	p.each = append(p.each, took...)
	after, err := harness.BytesWritten()
	p.written += after - before
	return err
}

// groupSize is that of the one large group.
const groupSize = 1000

// measureGroup reserves for a group of 1000 and posts its Welcome.
func measureGroup(ctx context.Context, s *bolt.Store, out *column) error {
	crew := make([]delivery.DeviceID, groupSize)
	for i := range crew {
		crew[i] = delivery.DeviceID{User: delivery.UserID(fmt.Sprintf("crew-%04d", i)), Name: "phone"}
	}
	err := spread(fillers, len(crew), func(m *maker, i int) error { return m.publish(ctx, s, crew[i], 1) })
	if err != nil {
		return err
	}
	start := time.Now()
	r, err := s.Reserve(ctx, adder, delivery.ReserveRequest{Devices: crew})
	if err != nil {
		return err
	}
	out.add("reserve for a group of 1000", "ms", ms(time.Since(start)))
	var refs []mls.KeyPackageRef
	for _, u := range r.Users {
		refs = append(refs, u.Devices[0].KeyPackage.Ref)
	}
	w, err := mls.ParseWelcome(mlstest.WelcomeSize(groupInfoBytes, 1, refs...))
	if err != nil {
		return err
	}
	start = time.Now()
	_, err = s.Post(ctx, adder, delivery.Posting{Welcome: w, RequireAll: true})
	out.add("post for a group of 1000", "ms", ms(time.Since(start)))
	return err
}
