package server

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/server/admission"
)

// growthEvents is how often each event happens, growthAtOnce how many at once. One at a
// time makes a commit of each, and the file grows as much: pages are used again.
const growthEvents, growthAtOnce = 2000, 100

// A growth is a store that is filled by one user.
type growth struct {
	t      *testing.T
	store  delivery.Store
	caller delivery.Caller
	device delivery.DeviceID
}

func (g *growth) items(n int, lastResort bool) []delivery.NewKeyPackage {
	key := sha256.Sum256(fmt.Append(nil, g.t.Name(), n))
	return []delivery.NewKeyPackage{{
		Ref: mls.KeyPackageRef(key[:]), Suite: 1, LastResort: lastResort, InitKey: key[:], Bytes: mlstest.Random(300), Lifetime: mls.Lifetime{NotAfter: math.MaxUint64},
	}}
}

// publish returns what a KeyPackage is charged of a publication of a hundred.
func (g *growth) publish(n int, lastResort bool) (delivery.NewKeyPackage, int) {
	items := g.items(n, lastResort)
	_, err := g.store.Publish(context.Background(), g.caller, g.device, items)
	g.must(err)
	return items[0], admission.PublicationSize(g.device, slices.Repeat(items, 100)) / 100
}

func (g *growth) must(err error) {
	if err != nil {
		g.t.Error(err)
	}
}

// giveBack has a KeyPackage of a device be reserved, and gives it back.
func (g *growth) giveBack(id delivery.DeviceID, key string) int {
	req := delivery.ReserveRequest{Devices: []delivery.DeviceID{id}, IdempotencyKey: key}
	r, err := g.store.Reserve(context.Background(), delivery.Caller{User: g.caller.User}, req)
	g.must(err)
	_, err = g.store.GiveBack(context.Background(), g.caller, delivery.GiveBackRequest{Reservation: r.ID, Reason: delivery.GivenBackInvalid})
	g.must(err)
	return admission.RememberedSize(req, r) + admission.HeldSize(g.caller, r)
}

func (g *growth) posting(ref mls.KeyPackageRef) delivery.Posting {
	w, err := mls.ParseWelcome(mlstest.Welcome(1, ref))
	g.must(err)
	return delivery.Posting{Welcome: w}
}

// send posts a Welcome, of which as much is kept as may be, and has it rejected with as
// many words as may be.
func (g *growth) send(ref mls.KeyPackageRef) int {
	p := g.posting(ref)
	o, err := g.store.Post(context.Background(), g.caller, p)
	g.must(err)
	for range 3 { // others take some of these with them
		_, err = g.store.Claim(context.Background(), g.caller, g.device, delivery.ClaimOptions{Refs: []mls.KeyPackageRef{ref}})
		g.must(err)
		if _, err = g.store.Reject(context.Background(), g.caller, g.device, o.ID, "", delivery.ReasonOther, strings.Repeat("x", 256)); err == nil {
			break
		}
	}
	g.must(err)
	return admission.PostingSize(p, g.caller, []delivery.Owner{{Device: g.device}})
}

// TestWhatIsStoredIsCharged: whatever a user has stored, the file grows by no more than
// what it is charged for, pages that are half full included.
func TestWhatIsStoredIsCharged(t *testing.T) {
	for sentence, event := range map[string]func(g *growth, n int) (charged int){
		"an answer that is remembered of a user who has no devices": func(g *growth, n int) int {
			req := delivery.ReserveRequest{Users: []delivery.UserID{g.caller.User}, IdempotencyKey: fmt.Sprint(n)}
			r, err := g.store.Reserve(context.Background(), g.caller, req)
			g.must(err)
			return admission.RememberedSize(req, r)
		},
		"an answer that is remembered of ten devices that do not exist": func(g *growth, n int) int {
			req := delivery.ReserveRequest{IdempotencyKey: fmt.Sprint(n)}
			for i := range 10 {
				req.Devices = append(req.Devices, delivery.DeviceID{User: g.caller.User, Name: fmt.Sprint("d", i)})
			}
			r, err := g.store.Reserve(context.Background(), g.caller, req)
			g.must(err)
			return admission.RememberedSize(req, r)
		},
		"a KeyPackage": func(g *growth, n int) int {
			_, charged := g.publish(n, false)
			return charged
		},
		"a KeyPackage that is reserved and given back": func(g *growth, n int) int {
			_, charged := g.publish(n, false)
			return charged + g.giveBack(g.device, "")
		},
		"one that is with an answer that is remembered": func(g *growth, n int) int {
			_, charged := g.publish(n, false)
			return charged + g.giveBack(g.device, fmt.Sprint(n))
		},
		"a KeyPackage, and a Welcome that is held": func(g *growth, n int) int {
			item, charged := g.publish(n, false)
			p := g.posting(item.Ref)
			p.Hold = true
			_, err := g.store.Post(context.Background(), g.caller, p)
			g.must(err)
			return charged + admission.PostingSize(p, g.caller, []delivery.Owner{{Device: g.device}})
		},
		"a Welcome that is held for a last resort, and cancelled": func(g *growth, n int) int {
			p := g.posting(g.items(-1, true)[0].Ref)
			p.Hold, p.Context = true, binary.BigEndian.AppendUint64(nil, uint64(n))
			o, err := g.store.Post(context.Background(), g.caller, p)
			g.must(err)
			_, err = g.store.Cancel(context.Background(), g.caller, o.ID)
			g.must(err)
			return admission.PostingSize(p, g.caller, []delivery.Owner{{Device: g.device}})
		},
		"a KeyPackage, and a Welcome that is rejected": func(g *growth, n int) int {
			item, charged := g.publish(n, false)
			return charged + g.send(item.Ref)
		},
		"a rejected Welcome for a last resort": func(g *growth, n int) int {
			return g.send(g.items(-1, true)[0].Ref)
		},
		"a KeyPackage of a device of its own, which is removed": func(g *growth, n int) int {
			items := g.items(n, false)
			id := delivery.DeviceID{User: g.caller.User, Name: fmt.Sprint("device", n)}
			_, err := g.store.Publish(context.Background(), g.caller, id, items)
			g.must(err)
			g.must(g.store.RemoveDevice(context.Background(), g.caller, id))
			return admission.PublicationSize(g.device, items)
		},
	} {
		for _, user := range []delivery.UserID{"mallory", delivery.UserID(strings.Repeat("m", 255))} {
			t.Run(fmt.Sprintf("%s, of a name of %d", sentence, len(user)), func(t *testing.T) {
				t.Parallel()
				limits := delivery.DefaultLimits()
				limits.KeyPackagesPerDevice, limits.KeyPackagesPerUser, limits.DevicesPerUser = 1<<20, 1<<20, 1<<20
				limits.PendingPerDevice, limits.OpenPerDevice = 1<<20, 1<<20
				store, err := bolt.Open(filepath.Join(t.TempDir(), "w.db"), bolt.Options{Limits: limits, LogSize: 64 << 10})
				if err != nil {
					t.Fatal(err)
				}
				defer store.Close()
				g := &growth{t: t, store: store, caller: delivery.Caller{User: user, Device: "phone"}}
				g.device = delivery.DeviceID{User: user, Name: "phone"}
				g.publish(-1, true)
				before, err := store.Stats(t.Context())
				g.must(err)
				charged, mu, wait, turns := 0, sync.Mutex{}, sync.WaitGroup{}, make(chan struct{}, growthAtOnce)
				for n := range growthEvents {
					turns <- struct{}{}
					wait.Go(func() {
						size := event(g, n)
						mu.Lock()
						charged += size
						mu.Unlock()
						<-turns
					})
				}
				wait.Wait()
				after, err := store.Stats(t.Context())
				g.must(err)
				grown := after.UsedBytes - before.UsedBytes - 128<<10 // the log
				t.Logf("%s: %d bytes each, charged %d", t.Name(), grown/growthEvents, charged/growthEvents)
				if grown > int64(charged) {
					t.Errorf("the file has grown by %d bytes for each, and %d were charged", grown/growthEvents, charged/growthEvents)
				}
			})
		}
	}
}
