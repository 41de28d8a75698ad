package load

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/progress"
)

// Groups are groups that are made one after another, each by one caller, whose
// joiners then come all at once.
type Groups struct {
	Callers int // that claim for the joiners
	Groups  int
	Joiners int           // of each group
	Limit   time.Duration // no group is begun after it; 0: none
}

// Check returns an error if the server would refuse them.
func (g Groups) Check(l Limits) error {
	switch {
	case g.Joiners > l.DevicesPerReserve:
		return fmt.Errorf("the server reserves for at most %d devices at once, not %d", l.DevicesPerReserve, g.Joiners)
	case g.Joiners > l.RecipientsPerWelcome:
		return fmt.Errorf("the server takes at most %d recipients of a Welcome, not %d", l.RecipientsPerWelcome, g.Joiners)
	}
	return nil
}

// A Download is what joining costs on the wire.
type Download struct {
	Joiners  int // of a group
	Whole    int // bytes of the Welcome as it was posted
	Slice    int // bytes of the Welcome that a joiner is given
	Received int // bytes of the whole answer to a claim, headers too, on average
}

// Groups makes groups. On an error the measures are those made so far.
func (d *Driver) Groups(ctx context.Context, g Groups) (measures []Measure, size Download, err error) {
	if err := g.Check(d.target.About.Limits); err != nil {
		return nil, size, err
	}
	var rounds [][]Measure
	for start := time.Now(); len(rounds) < g.Groups && (g.Limit == 0 || time.Since(start) < g.Limit); {
		var round []Measure
		if round, size, err = d.group(ctx, g); err != nil {
			break
		}
		rounds = append(rounds, round)
	}
	return joinRounds(rounds), size, err
}

// joinRounds joins the measures that stand at the same place of each round.
func joinRounds(rounds [][]Measure) []Measure {
	var measures []Measure
	for i := range len(append(rounds, nil)[0]) {
		var same []Measure
		for _, round := range rounds {
			same = append(same, round[i])
		}
		measures = append(measures, join(same...))
	}
	return measures
}

// group makes one group.
func (d *Driver) group(ctx context.Context, g Groups) ([]Measure, Download, error) {
	objects, err := d.publishOne(ctx, g.Joiners)
	if err != nil {
		return nil, Download{}, err
	}
	creating, welcome, err := d.create(ctx, objects)
	if err != nil {
		return nil, Download{}, err
	}
	p := Phases{Callers: g.Callers}
	claim, err := d.claimPhase(ctx, p, objects)
	if err != nil {
		return nil, Download{}, err
	}
	acknowledge, err := d.acknowledgePhase(ctx, p, objects)
	size := Download{g.Joiners, len(welcome), len(objects[0].slice), int(claim.Received) / g.Joiners}
	return append(creating, claim, acknowledge), size, err
}

// publishOne makes n devices with one KeyPackage each.
func (d *Driver) publishOne(ctx context.Context, n int) ([]*object, error) {
	devices, err := d.newDevices(ctx, n)
	if err != nil {
		return nil, err
	}
	objects, err := d.newObjects(ctx, devices, n)
	if err != nil {
		return nil, err
	}
	_, err = d.publishPhase(ctx, Phases{Callers: dialAtOnce}, objects)
	return objects, err
}

// create reserves all objects and posts a Welcome for them, and measures the two
// requests. Between them the Welcome is made, which nobody measures.
func (d *Driver) create(ctx context.Context, objects []*object) ([]Measure, []byte, error) {
	conns, hangUp, err := d.target.dialAll(ctx, 1)
	if err != nil {
		return nil, nil, err
	}
	defer hangUp()
	d.Progress.Begin(fmt.Sprintf("creating a group of %d", len(objects)), progress.Items, 2)
	reserve, err := d.reserveAll(ctx, conns[0], objects)
	if err != nil {
		return nil, nil, fmt.Errorf("reserve: %w", err)
	}
	d.Progress.Add(1)
	welcome := d.inviteAll(objects)
	post, err := conns[0].checked(ctx, d.posting(welcome, false), func(a answer) error {
		return a.all(http.StatusCreated, `"status":"pending"`, len(objects))
	})
	if err != nil {
		return nil, nil, fmt.Errorf("post: %w", err)
	}
	var measures []Measure
	for _, m := range []struct {
		operation string
		took      time.Duration
	}{{"reserve", reserve}, {"post", post}, {"reserve and post", reserve + post}} {
		one := newMeasure(fmt.Sprintf("%s %d", m.operation, len(objects)), 1, []time.Duration{m.took})
		one.Objects, one.Elapsed = len(objects), m.took
		measures = append(measures, one)
	}
	return measures, welcome, nil
}

// reserveAll reserves the KeyPackages of all objects in one request.
func (d *Driver) reserveAll(ctx context.Context, c *conn, objects []*object) (time.Duration, error) {
	byUser := make(map[string]*object, len(objects))
	devices := make([]*device, len(objects))
	for i, o := range objects {
		byUser[o.device.user], devices[i] = o, o.device
	}
	a, err := c.exchange(ctx, d.reserving(devices...))
	if err == nil {
		err = a.all(http.StatusOK, `"status":"reserved"`, len(objects))
	}
	if err != nil {
		return 0, err
	}
	list, err := readReservation(a.body)
	for _, r := range list {
		if o := byUser[r.user]; o != nil {
			o.ref = r.ref
		}
	}
	return a.took, err
}

// inviteAll makes one Welcome for all objects.
func (d *Driver) inviteAll(objects []*object) []byte {
	refs := make([]mls.KeyPackageRef, len(objects))
	for i, o := range objects {
		refs[i] = o.ref
	}
	welcome, err := mls.ParseWelcome(mlstest.Welcome(d.suite, refs...))
	if err != nil {
		panic(fmt.Sprintf("mlstest made a Welcome that is none: %v", err))
	}
	for i, o := range objects {
		o.slice = mls.Wrap(mls.WireFormatWelcome, welcome.Slice(i))
	}
	return mls.Wrap(mls.WireFormatWelcome, welcome.Bytes())
}
