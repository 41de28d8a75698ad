package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

const suite = 1

// victim is the one user; phone is the device that goes on while the others are
// drained, and has nothing but last resorts.
const (
	victim = "victim"
	phone  = "phone"
)

// perRequest is how many KeyPackages one request publishes.
const perRequest = 100

// A shelf is a device with what it publishes, in requests.
type shelf struct {
	id       delivery.DeviceID
	requests [][]byte
}

func (f *shelf) path() string { return devicePath(f.id) + "/key-packages" }

func devicePath(d delivery.DeviceID) string {
	return fmt.Sprintf("/v1/users/%s/devices/%s", d.User, d.Name)
}

// A population is everybody who has a shelf. It is made once, because signing
// takes longest.
type population struct {
	shelves []*shelf
	users   []delivery.UserID
}

func newPopulation(c config) (*population, error) {
	p := &population{users: []delivery.UserID{victim}}
	sizes := map[*shelf]int{}
	add := func(user delivery.UserID, device string, size int) {
		f := &shelf{id: delivery.DeviceID{User: user, Name: device}}
		p.shelves, sizes[f] = append(p.shelves, f), size
	}
	for i := range c.devices {
		add(victim, fmt.Sprintf("device%d", i), c.stock)
	}
	for i := range c.users {
		user := delivery.UserID(fmt.Sprintf("user%d", i))
		p.users = append(p.users, user)
		add(user, "device", c.each)
	}
	return p, p.each(func(f *shelf) error { return f.fill(sizes[f]) })
}

// each calls do for all shelves, on all processors, and returns an error of one.
func (p *population) each(do func(*shelf) error) (err error) {
	var all sync.WaitGroup
	var next atomic.Int64
	var once sync.Once
	for range 2 * runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(p.shelves); i = int(next.Add(1)) - 1 {
				if failed := do(p.shelves[i]); failed != nil {
					once.Do(func() { err = failed })
					return
				}
			}
		})
	}
	all.Wait()
	return err
}

// fill makes n KeyPackages and the last resort.
func (f *shelf) fill(n int) error {
	signer := mlstest.NewSigner(suite, f.id.String())
	kps := [][]byte{signer.KeyPackage(mlstest.LastResort())}
	for range n {
		kps = append(kps, signer.KeyPackage())
	}
	for len(kps) > 0 {
		some := kps[:min(perRequest, len(kps))]
		kps = kps[len(some):]
		body, err := json.Marshal(map[string][][]byte{"key_packages": some})
		if err != nil {
			return err
		}
		f.requests = append(f.requests, body)
	}
	return nil
}

// move has everybody publish on a server, as the service lets them.
func (p *population) move(ctx context.Context, s *process) error {
	return p.each(func(f *shelf) error {
		for _, body := range f.requests {
			q := request{token: s.service, behalf: f.id.String(), method: "POST", path: f.path(), body: body}
			if err := s.want(ctx, q, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// signUp returns a new token of a user's device.
func (s *process) signUp(ctx context.Context, user delivery.UserID, device string) (string, error) {
	var made struct{ Token string }
	d := delivery.DeviceID{User: user, Name: device}
	err := s.want(ctx, request{token: s.service, method: "POST", path: devicePath(d) + "/tokens"}, &made)
	return made.Token, err
}

// A stock is how many KeyPackages are on the shelves, last resorts not counted.
type stock struct{ one, all int }

// An inventory is what a device reads of its own.
type inventory struct {
	Counts     []struct{ Available int }
	LastResort []struct{} `json:"last_resort"`
	Refs       []string
	Digest     string
}

func (i inventory) onShelf() int {
	n := -len(i.LastResort)
	for _, c := range i.Counts {
		n += c.Available
	}
	return n
}

// stock reads the inventories.
func (p *population) stock(ctx context.Context, s *process) (stock, error) {
	var one, all atomic.Int64
	err := p.each(func(f *shelf) error {
		var i inventory
		if err := s.want(ctx, request{token: s.service, behalf: f.id.String(), method: "GET", path: f.path()}, &i); err != nil {
			return err
		}
		all.Add(int64(i.onShelf()))
		if f.id.User == victim {
			one.Add(int64(i.onShelf()))
		}
		return nil
	})
	return stock{int(one.Load()), int(all.Load())}, err
}
