package server

import (
	"hash/maphash"
	"sync"
	"time"

	"welcomed/delivery"
)

// givenKept is how many Welcomes are remembered at least, those that devices were given last.
// Each takes about 40 bytes. Up to twice as many are remembered.
const givenKept = 1 << 15

// givenOften is how often a device has to be given a Welcome until the Welcome counts as one
// that is never settled. A reply may be lost once, and an application may crash once.
const givenOften = 3

// given remembers when devices were last given Welcomes. It is only in memory. A claim that
// waits for a Welcome which is not remembered waits a little longer.
type given struct {
	often func() // is told of each that is given for the givenOften-th time

	mu         sync.Mutex
	seed       maphash.Seed
	young, old map[uint64]gift
}

type gift struct {
	last  time.Time
	times int
}

func newGiven(often func()) *given {
	return &given{often: often, seed: maphash.MakeSeed(), young: make(map[uint64]gift)}
}

func (g *given) key(device delivery.DeviceID, u delivery.Unsettled) uint64 {
	return maphash.Comparable(g.seed, struct {
		delivery.DeviceID
		delivery.Unsettled
	}{device, u})
}

func (g *given) find(key uint64) gift {
	if found, ok := g.young[key]; ok {
		return found
	}
	return g.old[key]
}

// note notes that a device is given these Welcomes now.
func (g *given) note(device delivery.DeviceID, deliveries []delivery.Delivery) {
	now, often := time.Now(), 0
	g.mu.Lock()
	for _, d := range deliveries {
		key := g.key(device, delivery.Unsettled{ID: d.ID, Ref: d.Ref})
		times := g.find(key).times + 1
		if times == givenOften {
			often++
		}
		if len(g.young) >= givenKept {
			g.young, g.old = make(map[uint64]gift), g.young
		}
		g.young[key] = gift{now, times}
	}
	g.mu.Unlock()
	for range often {
		g.often()
	}
}

// next returns when the first of the device's unsettled Welcomes has to be given again: some
// time after it was last given. A Welcome that is not remembered counts as given at begun. It
// returns zero if there is none.
func (g *given) next(device delivery.DeviceID, unsettled []delivery.Unsettled, begun time.Time, after time.Duration) (next time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, u := range unsettled {
		last := g.find(g.key(device, u)).last
		if last.IsZero() {
			last = begun
		}
		if at := last.Add(after); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}
