package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"welcomed/bolt"
	api "welcomed/client"
	"welcomed/delivery"
	"welcomed/trials/harness"
)

// auditors ask side by side.
const auditors = 8

// audit proves that what the server holds is what the records say, while nobody
// else asks anything: by the API, by the metrics, and by the file once the server
// has stopped. With final everything that can be claimed is, and everything is
// asked for; otherwise what may have changed.
func (r *run) audit(ctx context.Context, final bool) error {
	if err := r.checker.look(); err != nil {
		return err
	}
	if err := r.claimRest(final); err != nil {
		return err
	}
	if err := r.checker.look(); err != nil {
		return err
	}
	kps, welcomes := r.scope(final)
	if err := r.readAll(kps, welcomes); err != nil {
		return err
	}
	if err := r.checker.look(); err != nil {
		return err
	}
	want, err := r.checker.count(limits())
	if err != nil {
		return err
	}
	if err := r.awaitMetrics(want); err != nil {
		return r.which(err)
	}
	if err := r.compareFile(ctx, want, kps, welcomes); err != nil {
		return err
	}
	r.checker.cool()
	return nil
}

// claimRest claims all that waits for half of the devices, or for all of them;
// then nothing is held either.
func (r *run) claimRest(final bool) error {
	if final {
		for _, w := range r.books.byNumber {
			if w.life.states[0] == there && slices.ContainsFunc(w.recipients, func(kp *keyPackage) bool { return held(w, kp) }) {
				if err := r.auditor.release(w); err != nil {
					return err
				}
			}
		}
	}
	return r.together(len(r.devices), func(c *client, i int) error {
		if !final && c.chance(50) {
			return nil
		}
		return c.claimAll(r.devices[i])
	})
}

// held reports whether the Welcome may wait for its release.
func held(w *welcome, kp *keyPackage) bool {
	return slices.ContainsFunc(kp.with(w).states, func(s state) bool {
		m, ok := s.recipients.of(w.number)
		return ok && m.matched && m.status == delivery.StatusHeld
	})
}

// claimAll claims until there is nothing that was not given.
func (c *client) claimAll(d *device) error {
	var skipped []*welcome
	for {
		ids := []string{}
		for _, w := range skipped {
			ids = append(ids, w.id.String())
		}
		q := request{method: "POST", path: d.path().Claim(), media: mediaJSON, body: encode(harness.Claiming{Max: 100, Skip: ids})}
		r := &record{what: claim, device: d, skipped: skipped}
		if err := c.ask(q, r, c.readClaim); err != nil {
			return err
		}
		c.run.claimed.Add(int64(len(r.given)))
		if r.complete {
			return nil
		}
		skipped = slices.Clone(skipped)
		for _, g := range r.given {
			if !slices.Contains(skipped, g.welcome) {
				skipped = append(skipped, g.welcome)
			}
		}
	}
}

// scope returns what has to be asked for: what may change or is not known, or
// everything.
func (r *run) scope(final bool) (kps []*keyPackage, welcomes []*welcome) {
	open := make(map[uint32]bool)
	for _, d := range r.devices {
		list := slices.DeleteFunc(slices.Clone(d.keyPackages), func(kp *keyPackage) bool {
			return !final && !kp.unknown() && !slices.Contains(d.warm, kp)
		})
		kps = append(kps, list...)
		for _, kp := range list {
			for _, l := range kp.lives() {
				for _, s := range l.states {
					for number := range s.recipients.all {
						open[number] = true
					}
				}
			}
		}
	}
	for _, w := range r.books.byNumber {
		if final || open[w.number] || len(w.life.states) > 1 {
			welcomes = append(welcomes, w)
		}
	}
	return kps, welcomes
}

// unknown reports whether the books leave open what it is in.
func (kp *keyPackage) unknown() bool {
	return slices.ContainsFunc(kp.lives(), func(l *life[state]) bool { return len(l.states) != 1 })
}

// readAll asks for all of it.
func (r *run) readAll(kps []*keyPackage, welcomes []*welcome) error {
	err := r.together(len(kps), func(c *client, i int) error { return c.status(kps[i]) })
	if err != nil {
		return err
	}
	err = r.together(len(welcomes), func(c *client, i int) error { return c.outcome(welcomes[i]) })
	if err != nil {
		return err
	}
	err = r.together(len(r.users), func(c *client, i int) error {
		if err := c.list(r.users[i]); err != nil {
			return err
		}
		return c.devices(r.users[i])
	})
	if err != nil {
		return err
	}
	return r.together(len(r.devices), func(c *client, i int) error {
		o := &owner{client: c, device: r.devices[i]}
		inv, _, err := o.inventory()
		if err != nil {
			return err
		}
		return o.inStep(inv)
	})
}

// inStep asks by digest whether the device has what its inventory says.
func (o *owner) inStep(inv api.Inventory) error {
	q := request{method: "POST", path: o.device.path().Shelf() + "/sync", media: mediaJSON, body: encode(map[string]any{"digest": inv.Digest})}
	a, err := o.send(q, &record{what: syncRefs})
	if err != nil {
		return err
	}
	var body struct {
		InSync bool `json:"in_sync"`
	}
	if err := decode(a, &body); err != nil || !body.InSync {
		return differ("%s asked with the digest of its inventory whether it is in step, and was told %s: %v", o.device.id, a.body, err)
	}
	return nil
}

// devices asks which devices a user has.
func (c *client) devices(user delivery.UserID) error {
	q := request{method: "GET", path: harness.UserPath(string(user)) + "/devices"}
	return c.ask(q, &record{what: listDevices, user: string(user)}, func(r *record, a answer) error {
		if err := expect(r, a); err != nil {
			return err
		}
		var body struct{ Devices []struct{ Device string } }
		if err := decode(a, &body); err != nil {
			return err
		}
		r.present = make(map[*device]bool)
		for _, d := range c.run.devices {
			if d.id.User == user {
				r.present[d] = slices.ContainsFunc(body.Devices, func(one struct{ Device string }) bool { return one.Device == d.id.Name })
			}
		}
		return nil
	})
}

// together has the auditors do something n times.
func (r *run) together(n int, do func(c *client, i int) error) error {
	errs := make([]error, auditors)
	var busy sync.WaitGroup
	for k, c := range r.auditors {
		busy.Go(func() {
			for i := k; i < n && errs[k] == nil; i += auditors {
				errs[k] = do(c, i)
			}
		})
	}
	busy.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

var (
	stateLine = regexp.MustCompile(`(?m)^welcomed_(key_packages|welcomes)\{state="(\w+)"\} (\S+)$`)
	stockLine = regexp.MustCompile(`(?m)^welcomed_devices\{stock="(\w+)"\} (\S+)$`)
)

// swept is how many sweeps it may take until what a removal, a replacement or a sync
// has ended at once is counted as such.
const swept = 10

// which asks for everything, for the one that makes a count wrong.
func (r *run) which(count error) error {
	if err := r.readAll(r.scope(true)); err != nil {
		return err
	}
	if err := r.checker.look(); err != nil {
		return err
	}
	return count
}

// awaitMetrics compares what /metrics says with the records until they agree: a sweep
// counts what a single row has ended.
func (r *run) awaitMetrics(want *census) (err error) {
	for range swept {
		if err = r.compareMetrics(want); err == nil {
			return nil
		}
		if err := r.wait(sweepEvery); err != nil {
			return err
		}
	}
	return err
}

// compareMetrics compares what /metrics says with the records.
func (r *run) compareMetrics(want *census) error {
	text, err := r.host.server.Metrics(r.ctx)
	if err != nil {
		return err
	}
	got, err := readMetrics(string(text))
	if err != nil {
		return err
	}
	return r.checker.compare("/metrics", want, got)
}

func readMetrics(text string) (*census, error) {
	n := &census{keyPackages: make(map[delivery.KeyPackageState]int), welcomes: make(map[delivery.Status]int)}
	lines := stateLine.FindAllStringSubmatch(text, -1)
	if want := len(delivery.KeyPackageStates) + len(delivery.WelcomeStates); len(lines) != want {
		return nil, differ("/metrics has %d series of states instead of %d", len(lines), want)
	}
	for _, m := range lines {
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, err
		}
		if m[1] == "welcomes" {
			n.welcomes[delivery.Status(m[2])] = int(value)
			continue
		}
		i := slices.IndexFunc(delivery.KeyPackageStates, func(s delivery.KeyPackageState) bool { return s.String() == m[2] })
		n.keyPackages[delivery.KeyPackageStates[i]] = int(value)
	}
	// What a device wants to have is nothing to the records.
	stock := map[string]*int{"ok": &n.ok, "low": &n.low, "empty": &n.empty, "last_resort": &n.empty}
	for _, m := range stockLine.FindAllStringSubmatch(text, -1) {
		count := 0
		if _, err := fmt.Sscan(m[2], &count); err != nil {
			return nil, err
		}
		*stock[m[1]] += count
	}
	return n, nil
}

// compareFile ends the server, in one way or the other, and opens the file.
func (r *run) compareFile(ctx context.Context, want *census, kps []*keyPackage, welcomes []*welcome) (err error) {
	if r.rng.IntN(2) == 0 {
		err = r.host.kill()
	} else {
		_, err = r.host.stop()
	}
	if err != nil {
		return err
	}
	store, err := r.openFile()
	if err != nil {
		return err
	}
	if err := r.compareStore(ctx, store, want, kps, welcomes); err != nil {
		store.Close()
		return err
	}
	return store.Close()
}

// openFile opens the file as another process does, as soon as the server has ended.
func (r *run) openFile() (*bolt.Store, error) {
	start := time.Now()
	store, err := bolt.Open(r.host.how.DB, bolt.Options{Limits: limits(), LockTimeout: r.config.opens})
	if err != nil {
		return nil, differ("the file cannot be opened after the server has ended: %v", err)
	}
	took := time.Since(start)
	r.opened = max(r.opened, took)
	if took > r.config.opens {
		store.Close()
		return nil, differ("the file could be opened only %s after the server had ended", took)
	}
	return store, nil
}

func (r *run) compareStore(ctx context.Context, store *bolt.Store, want *census, kps []*keyPackage, welcomes []*welcome) error {
	stats, err := store.Stats(ctx)
	if err != nil {
		return differ("the file: %v", err)
	}
	got := &census{keyPackages: stats.KeyPackages, welcomes: make(map[delivery.Status]int), ok: stats.DevicesOK, low: stats.DevicesLow, empty: stats.DevicesEmpty + stats.DevicesLastResort}
	for s, n := range stats.Welcomes {
		got.welcomes[s.Status()] = n
	}
	if err := r.checker.compare("the file", want, got); err != nil {
		return err
	}
	for _, kp := range kps {
		if err := r.checker.compareKeyPackage(ctx, store, kp); err != nil {
			return err
		}
	}
	for _, w := range welcomes {
		if err := r.checker.compareWelcome(ctx, store, w); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) compareKeyPackage(ctx context.Context, store delivery.Store, kp *keyPackage) error {
	c.checks++
	want := kp.life.states[0].kp
	got, err := store.KeyPackage(ctx, delivery.Unauthenticated(), kp.ref)
	if want == 0 && err != nil || err == nil && got.State == want && got.Device == kp.device.id {
		return nil
	}
	return &difference{fmt.Sprintf("in the file, %s of %s is %s (%v), by the records %s", kp.life.name, kp.device.id, got.State, err, kp.life.states[0]), kp.life.tell()}
}

func (c *checker) compareWelcome(ctx context.Context, store delivery.Store, w *welcome) error {
	c.checks++
	outcome, err := store.Outcome(ctx, delivery.Unauthenticated(), w.id)
	if w.life.states[0] == absent {
		if err == nil {
			return &difference{"in the file is " + w.life.name + ", which was never accepted", w.life.tell()}
		}
		return nil
	}
	if err != nil || outcome.Cancelled != (w.life.states[0] == cancelled) || len(outcome.Recipients) != len(w.recipients) {
		return &difference{fmt.Sprintf("in the file, %s has %d recipients, cancelled is %t (%v); by the records %d and it is %s",
			w.life.name, len(outcome.Recipients), outcome.Cancelled, err, len(w.recipients), w.life.states[0]), w.life.tell()}
	}
	for i, kp := range w.recipients {
		l := kp.with(w)
		m, _ := l.states[0].recipients.of(w.number)
		if got := outcome.Recipients[i]; got.Ref != kp.ref || got.Status != m.status || got.Matched != m.matched {
			return &difference{fmt.Sprintf("in the file, %s is %s for %s, by the records %s", w.life.name, got.Status, kp.ref, m), l.tell()}
		}
	}
	return nil
}
