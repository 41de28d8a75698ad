package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// How people live. Rates are per year of a device or a user.
const (
	shelfFull     = 100 // KeyPackages to which a low shelf is replenished
	yearly        = 365 * day
	groupsPerDay  = 0.1  // that a user makes
	lostPerYear   = 0.15 // phones that never come back
	reinstalls    = 0.3
	signOuts      = 0.15
	replacements  = 0.1 // whole shelves, by clients that do what they should not
	drifts        = 0.5 // a few private keys lost: the device syncs
	withdrawals   = 0.3
	newDevices    = 0.9 // of those lost or signed out are followed by another
	leaves        = 0.1 // users
	vacations     = 1.5
	notYet        = 0.02 // of deliveries: the app dies before it has saved
	cannotJoin    = 0.01
	lostReply     = 0.01 // the request is made again
	inventoryEach = 7 * day
	lastResortAge = 30 * day
)

// habits are how long a device is away from one session to the next, on average,
// and what share of devices is like that.
var habits = []struct {
	share float64
	away  time.Duration
}{
	{0.70, 14 * time.Hour},
	{0.22, 2 * day},
	{0.08, 12 * day},
}

// A user has devices, and a source of chance of its own, so that users can act at
// the same time and the year is still the same.
type user struct {
	id      delivery.UserID
	random  *rand.Rand
	devices []*device
	made    int // devices, ever
	gone    bool
}

// A device is what is remembered of one, also when it is lost or removed.
type device struct {
	user        *user
	id          delivery.DeviceID
	self        delivery.Caller
	away        time.Duration
	lifetime    time.Duration // of the KeyPackages that its client makes
	seen        time.Time
	next        time.Time // session; zero if none will come
	inventory   time.Time // that was looked at last
	touched     time.Time // last, by what the store writes down
	removeAt    time.Time // a lost device that its owner will remove
	lost        bool
	removed     bool
	keyPackages []*keyPackage // in the order of publication, until they are tombstones
	tombstones  []*keyPackage
	recipients  []*recipient // that have not ended
}

func newUser(seed uint64, n int) *user {
	return &user{id: delivery.UserID(fmt.Sprintf("user-%07d", n)), random: rand.New(rand.NewPCG(seed, uint64(n)))}
}

// newDevice buys the user a device, whose first session is at a time.
func (u *user) newDevice(first time.Time) *device {
	u.made++
	id := delivery.DeviceID{User: u.id, Name: fmt.Sprintf("device-%d", u.made)}
	d := &device{
		user: u, id: id, self: delivery.Caller{User: u.id, Device: id.Name}, next: first, seen: first,
		lifetime: time.Duration(50+u.random.IntN(41)) * day,
	}
	d.away = habits[0].away
	chance := u.random.Float64()
	for _, h := range habits {
		if chance -= h.share; chance < 0 {
			d.away = h.away
			break
		}
	}
	u.devices = append(u.devices, d)
	return d
}

// howMany devices a new user has: 1 to 4.
func (u *user) howMany() int {
	switch chance := u.random.Float64(); {
	case chance < 0.60:
		return 1
	case chance < 0.88:
		return 2
	case chance < 0.97:
		return 3
	}
	return 4
}

// happens says whether something with a yearly rate has happened while the device
// was away.
func (d *device) happens(rate float64, away time.Duration) bool {
	return d.user.random.Float64() < rate*float64(away)/float64(yearly)
}

// leave decides when the device comes back.
func (d *device) leave(now time.Time) {
	away := time.Duration(d.user.random.ExpFloat64() * float64(d.away))
	if d.happens(vacations, now.Sub(d.seen)) {
		away += time.Duration(5+d.user.random.IntN(15)) * day
	}
	d.seen, d.next = now, now.Add(max(away, time.Minute))
}

// keyPackageOf makes a KeyPackage as the device's client would. The bytes are
// random: nobody looks into them behind the server's checks.
func (d *device) keyPackageOf(now time.Time, lastResort bool) delivery.NewKeyPackage {
	end := now.Add(d.lifetime)
	if lastResort {
		end = now.Add(yearly)
	}
	bytes := d.user.bytes(270 + d.user.random.IntN(60))
	return delivery.NewKeyPackage{
		Ref: mls.CipherSuite(1).RefOf(bytes), Suite: 1, LastResort: lastResort, InitKey: d.user.bytes(32),
		Lifetime: mls.Lifetime{NotBefore: uint64(now.Add(-time.Hour).Unix()), NotAfter: uint64(end.Unix())},
		Bytes:    bytes,
	}
}

func (u *user) bytes(n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		v := u.random.Uint64()
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56))
	}
	return b[:n]
}
