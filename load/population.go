package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A Population is a number of devices that have KeyPackages on their shelves.
type Population struct {
	driver  *Driver
	stock   int // of a full shelf
	members []*member
	byUser  map[string]*member
}

// A member is a device that looks after its stock.
type member struct {
	*device
	claim  []byte       // the request of a claim that does not wait
	left   atomic.Int64 // on the shelf
	mu     sync.Mutex   // held while it publishes
	spares [][]byte     // KeyPackages that it will publish next
}

// Populate makes n devices and publishes stock KeyPackages of each, with callers
// side by side.
func (d *Driver) Populate(ctx context.Context, n, stock, callers int) (*Population, Measure, error) {
	if most := d.target.About.Limits.KeyPackagesPerPublish; stock > most {
		return nil, Measure{}, fmt.Errorf("the server takes at most %d KeyPackages in a request, not %d", most, stock)
	}
	devices, err := d.newDevices(ctx, n)
	if err != nil {
		return nil, Measure{}, err
	}
	p := &Population{driver: d, stock: stock, members: make([]*member, n), byUser: make(map[string]*member, n)}
	for i, one := range devices {
		p.members[i] = &member{device: one, claim: d.claiming(one, 0)}
		p.byUser[one.user] = p.members[i]
	}
	m, err := p.publish(ctx, callers)
	return p, m, err
}

// publish fills the empty shelves.
func (p *Population) publish(ctx context.Context, callers int) (Measure, error) {
	requests, now := make([][]byte, len(p.members)), time.Now()
	err := p.driver.prepare(ctx, "signing KeyPackages", len(p.members), func(i int) {
		m := p.members[i]
		requests[i] = p.driver.publishing(m.device, m.sign(p.stock, now)...)
	})
	if err != nil {
		return Measure{}, err
	}
	m, err := p.driver.drive(ctx, stage{fmt.Sprintf("publish %d", p.stock), callers, len(requests), 0, func(c *conn, i int) (time.Duration, error) {
		return c.checked(ctx, requests[i], func(a answer) error {
			p.members[i].left.Store(int64(p.stock))
			return published(a, p.stock)
		})
	}})
	m.Objects *= p.stock
	return m, err
}

func (m *member) sign(n int, now time.Time) [][]byte {
	keyPackages := make([][]byte, n)
	for i := range keyPackages {
		keyPackages[i] = m.keyPackage(now)
	}
	return keyPackages
}

// refill is how many KeyPackages a device publishes when as many are gone.
func (p *Population) refill() int { return (p.stock + 1) / 2 }

// refilling is what publishing them is called.
func (p *Population) refilling() string { return fmt.Sprintf("publish %d", p.refill()) }

// prepareSpares makes what the devices will publish next.
func (p *Population) prepareSpares(ctx context.Context) error {
	now := time.Now()
	return p.driver.prepare(ctx, "signing KeyPackages", len(p.members), func(i int) {
		if m := p.members[i]; m.spares == nil {
			m.spares = m.sign(p.refill(), now)
		}
	})
}
