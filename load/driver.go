package load

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/progress"
)

// A Driver makes users, whose names nobody else has, and acts for them.
type Driver struct {
	Progress progress.Progress

	target *Target
	suite  mls.CipherSuite
	run    string // in the name of every user
	mu     sync.Mutex
	made   []*device
}

// NewDriver returns a driver whose objects are of suite. One server can have
// several, also after one another.
func NewDriver(t *Target, suite mls.CipherSuite) *Driver {
	return &Driver{target: t, suite: suite, run: rand.Text()[:10]}
}

// A device is the only one of its user.
type device struct {
	user   string
	signer *mlstest.Signer
	used   atomic.Bool // the server may know it
}

const deviceName = "phone"

func (d *device) path() string { return "/v1/users/" + d.user + "/devices/" + deviceName }

// newDevice makes a device. Names of users lie apart, as they do in life:
// neighbours would share pages of a store.
func (d *Driver) newDevice() *device {
	user := fmt.Sprintf("%s.bench-%s", hex.EncodeToString(mlstest.Random(8)), d.run)
	return &device{user: user, signer: mlstest.NewSigner(d.suite, user+"/"+deviceName)}
}

// newDevices makes n devices.
func (d *Driver) newDevices(ctx context.Context, n int) ([]*device, error) {
	devices := make([]*device, n)
	err := d.prepare(ctx, "making devices", n, func(i int) { devices[i] = d.newDevice() })
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made = append(d.made, devices...)
	return devices, nil
}

// keyPackage returns a new bare KeyPackage with a lifetime like a client's.
func (d *device) keyPackage(now time.Time) []byte {
	const hour, quarter = time.Hour, 90 * 24 * time.Hour
	return d.signer.KeyPackage(mlstest.WithLifetime(uint64(now.Add(-hour).Unix()), uint64(now.Add(quarter).Unix())))
}

// prepare calls do for 0 to n-1, on all processors.
func (d *Driver) prepare(ctx context.Context, what string, n int, do func(i int)) error {
	d.Progress.Begin(what, progress.Items, int64(n))
	_, err := spread(ctx, runtime.GOMAXPROCS(0), n, 0, func(_, i int) error {
		do(i)
		d.Progress.Add(1)
		return nil
	})
	return err
}

// spread has workers call do for 0 to n-1, until one call fails, ctx is done or
// the limit is over, which is no error. What was begun is ended, and each worker
// begins something if there is enough. 0 is no limit.
func spread(ctx context.Context, workers, n int, limit time.Duration, do func(worker, i int) error) (begun int, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var next atomic.Int64
	var running sync.WaitGroup
	start := time.Now()
	for worker := range min(workers, n) {
		running.Go(func() {
			for begun := false; ctx.Err() == nil && (!begun || limit == 0 || time.Since(start) < limit); begun = true {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(worker, i); err != nil {
					fail(err)
				}
			}
		})
	}
	running.Wait()
	return min(int(next.Load()), n), context.Cause(ctx)
}

// A stage is n things that callers do side by side, each thing once.
type stage struct {
	operation string
	callers   int
	n         int
	limit     time.Duration // nothing is begun after it; 0: no limit
	do        func(c *conn, i int) (time.Duration, error)
}

// drive plays a stage and measures it. It ends early, without an error, when the
// limit is over, and with one when a thing goes wrong or ctx is done. What was
// measured are the first things then, and no other was begun.
func (d *Driver) drive(ctx context.Context, s stage) (Measure, error) {
	conns, hangUp, err := d.target.dialAll(ctx, min(s.callers, s.n))
	if err != nil {
		return Measure{}, err
	}
	defer hangUp()
	d.Progress.Begin(callersText(s.callers)+": "+s.operation, progress.Items, int64(s.n))
	took := make([]time.Duration, s.n)
	runtime.GC() // what was prepared is not collected at the cost of what is measured
	start, processor := time.Now(), processorTime()
	begun, err := spread(ctx, s.callers, s.n, s.limit, func(worker, i int) (err error) {
		if took[i], err = s.do(conns[worker], i); err != nil {
			return fmt.Errorf("%s: %w", s.operation, err)
		}
		d.Progress.Add(1)
		return nil
	})
	elapsed, processor := time.Since(start), processorTime()-processor
	m := newMeasure(s.operation, s.callers, answered(took[:begun]))
	m.Elapsed, m.Processor = elapsed, processor
	for _, c := range conns {
		m.Received += c.received
		m.Throttled += c.throttled
	}
	return m, err
}

func callersText(n int) string {
	if n == 1 {
		return "1 caller"
	}
	return fmt.Sprintf("%d callers", n)
}

// answered leaves out what failed.
func answered(took []time.Duration) []time.Duration {
	return slices.DeleteFunc(took, func(d time.Duration) bool { return d == 0 })
}
