package load

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// Phases are the life of KeyPackages and Welcomes for one recipient, each step
// of it by itself: publish, reserve, post, claim and acknowledge, and claims
// that find nothing. Every object is used once.
type Phases struct {
	Callers     int
	Objects     int
	Devices     int           // that the objects are shared out to; 0: one for each
	KeyPackages int           // of a request that publishes several; 1: there are none
	Limit       time.Duration // of each phase; 0: none
}

// Check returns an error if the server would refuse them.
func (p Phases) Check(l Limits) error {
	perDevice := (p.Objects + p.devices() - 1) / p.devices()
	switch {
	case p.KeyPackages > l.KeyPackagesPerPublish:
		return fmt.Errorf("the server takes at most %d KeyPackages in a request, not %d", l.KeyPackagesPerPublish, p.KeyPackages)
	case perDevice > l.KeyPackagesPerDevice:
		return fmt.Errorf("the server keeps at most %d KeyPackages of a device, not %d: have more devices", l.KeyPackagesPerDevice, perDevice)
	case perDevice > l.PendingPerDevice:
		return fmt.Errorf("the server keeps at most %d Welcomes for a device, not %d: have more devices", l.PendingPerDevice, perDevice)
	}
	return nil
}

func (p Phases) devices() int {
	if p.Devices == 0 {
		return p.Objects
	}
	return min(p.Devices, p.Objects)
}

// Phases plays phases. On an error the measures are those made so far.
func (d *Driver) Phases(ctx context.Context, p Phases) (measures []Measure, err error) {
	if err := p.Check(d.target.About.Limits); err != nil {
		return nil, err
	}
	if p.KeyPackages > 1 {
		m, err := d.publishBatches(ctx, p)
		measures = append(measures, m)
		if err != nil {
			return measures, err
		}
	}
	devices, err := d.newDevices(ctx, p.devices())
	if err != nil {
		return measures, err
	}
	objects, err := d.newObjects(ctx, devices, p.Objects)
	if err != nil {
		return measures, err
	}
	single, left, err := d.singlePhases(ctx, p, objects)
	measures = append(measures, single...)
	if err != nil || left {
		return measures, err
	}
	m, err := d.nothingPhase(ctx, p, devices)
	return append(measures, m), err
}

// singlePhases plays the phases in which every object has a request of its own.
// left is whether there are Welcomes that nobody came to claim or acknowledge.
func (d *Driver) singlePhases(ctx context.Context, p Phases, objects []*object) (measures []Measure, left bool, err error) {
	for _, phase := range []func(context.Context, Phases, []*object) (Measure, error){
		d.publishPhase, d.reservePhase, d.postPhase, d.claimPhase, d.acknowledgePhase,
	} {
		// A store that keeps things in the order in which they came is not to find
		// that they are asked for in it.
		rand.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
		m, err := phase(ctx, p, objects)
		measures = append(measures, m)
		if err != nil {
			return measures, true, err
		}
		objects = objects[:m.Requests] // the others were not reached in time
	}
	return measures, len(objects) < p.Objects, nil
}

// batchRequests is how many requests of several KeyPackages a caller sends.
const batchRequests = 2

// publishBatches measures requests that publish several KeyPackages. Nobody
// reserves them.
func (d *Driver) publishBatches(ctx context.Context, p Phases) (Measure, error) {
	n := max(batchRequests*p.Callers, p.Objects/p.KeyPackages)
	devices, err := d.newDevices(ctx, n)
	if err != nil {
		return Measure{}, err
	}
	requests, now := make([][]byte, n), time.Now()
	err = d.prepare(ctx, "signing KeyPackages", n, func(i int) {
		batch := make([][]byte, p.KeyPackages)
		for k := range batch {
			batch[k] = devices[i].keyPackage(now)
		}
		requests[i] = d.publishing(devices[i], batch...)
	})
	if err != nil {
		return Measure{}, err
	}
	m, err := d.drive(ctx, stage{fmt.Sprintf("publish %d", p.KeyPackages), p.Callers, n, p.Limit, func(c *conn, i int) (time.Duration, error) {
		return c.checked(ctx, requests[i], func(a answer) error { return published(a, p.KeyPackages) })
	}})
	m.Objects *= p.KeyPackages
	return m, err
}

// checked sends a request and has the answer checked.
func (c *conn) checked(ctx context.Context, request []byte, check func(answer) error) (time.Duration, error) {
	a, err := c.exchange(ctx, request)
	if err != nil {
		return 0, err
	}
	return a.took, check(a)
}

// onEach plays a phase whose requests can be made before, one for each object.
func (d *Driver) onEach(ctx context.Context, operation string, p Phases, objects []*object,
	request func(*object) []byte, check func(*object, answer) error) (Measure, error) {
	requests := make([][]byte, len(objects))
	for i, o := range objects {
		requests[i] = request(o)
	}
	return d.drive(ctx, stage{operation, p.Callers, len(objects), p.Limit, func(c *conn, i int) (time.Duration, error) {
		return c.checked(ctx, requests[i], func(a answer) error { return check(objects[i], a) })
	}})
}

func (d *Driver) publishPhase(ctx context.Context, p Phases, objects []*object) (Measure, error) {
	return d.onEach(ctx, "publish", p, objects,
		func(o *object) []byte { return d.publishing(o.device, o.keyPackage) },
		func(_ *object, a answer) error { return published(a, 1) })
}

// reservePhase learns which KeyPackage of the device it was when the clock has
// stopped.
func (d *Driver) reservePhase(ctx context.Context, p Phases, objects []*object) (Measure, error) {
	answers := make(map[*object]*bytes.Buffer, len(objects))
	for _, o := range objects {
		answers[o] = bytes.NewBuffer(make([]byte, 0, 2*len(o.keyPackage)+512))
	}
	m, err := d.onEach(ctx, reserve, p, objects,
		func(o *object) []byte { return d.reserving(o.device) },
		func(o *object, a answer) error {
			answers[o].Write(a.body)
			return a.all(http.StatusOK, `"status":"reserved"`, 1)
		})
	if err != nil {
		return m, err
	}
	return m, d.prepareEach(ctx, "reading reservations", objects[:m.Requests], func(o *object) error {
		list, err := readReservation(answers[o].Bytes())
		if err == nil && len(list) != 1 {
			err = fmt.Errorf("a reservation for one device is about %d", len(list))
		}
		if err == nil {
			o.ref = list[0].ref
		}
		return err
	})
}

// prepareEach is prepare for what can fail.
func (d *Driver) prepareEach(ctx context.Context, what string, objects []*object, do func(*object) error) error {
	errs := make([]error, len(objects))
	err := d.prepare(ctx, what, len(objects), func(i int) { errs[i] = do(objects[i]) })
	return errors.Join(err, cmp.Or(errs...))
}

func (d *Driver) postPhase(ctx context.Context, p Phases, objects []*object) (Measure, error) {
	err := d.prepareEach(ctx, "making Welcomes", objects, func(o *object) error {
		d.invite(o)
		return nil
	})
	if err != nil {
		return Measure{}, err
	}
	return d.onEach(ctx, post, p, objects,
		func(o *object) []byte { return d.posting(o.welcome, false) },
		func(_ *object, a answer) error { return a.all(http.StatusCreated, `"status":"pending"`, 1) })
}

// claimPhase claims as often for a device as there are Welcomes for it. Which
// one is given first is not asked; what was claimed comes first afterwards.
func (d *Driver) claimPhase(ctx context.Context, p Phases, objects []*object) (Measure, error) {
	posted := newExpected(objects)
	m, err := d.onEach(ctx, claim, p, objects,
		func(o *object) []byte { return d.claiming(o.device, 0) },
		func(o *object, a answer) error {
			_, err := posted.receive(a, o.device)
			return err
		})
	slices.SortStableFunc(objects, func(a, b *object) int { return claimedFirst(a) - claimedFirst(b) })
	return m, err
}

func claimedFirst(o *object) int {
	if o.claimed.Load() {
		return 0
	}
	return 1
}

func (d *Driver) acknowledgePhase(ctx context.Context, p Phases, objects []*object) (Measure, error) {
	return d.onEach(ctx, acknowledge, p, objects,
		func(o *object) []byte { return d.acknowledging(o.device, o.id) },
		func(_ *object, a answer) error { return a.expect(http.StatusNoContent) })
}

// nothingPhase measures claims for which there is nothing, which also proves
// that nothing comes a second time.
func (d *Driver) nothingPhase(ctx context.Context, p Phases, devices []*device) (Measure, error) {
	requests := make([][]byte, len(devices))
	for i, owner := range devices {
		requests[i] = d.claiming(owner, 0)
	}
	return d.drive(ctx, stage{"claim nothing", p.Callers, len(devices), p.Limit, func(c *conn, i int) (time.Duration, error) {
		return c.checked(ctx, requests[i], func(a answer) error { return a.expect(http.StatusNoContent) })
	}})
}
