package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"welcomed/client"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
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
	id       harness.Device
	requests []json.RawMessage
}

// A population is everybody who has a shelf. It is made once, because signing
// takes longest.
type population struct {
	shelves []*shelf
	users   []string
}

func newPopulation(c *config) (*population, error) {
	p := &population{users: []string{victim}}
	sizes := map[*shelf]int{}
	add := func(user, device string, size int) {
		f := &shelf{id: harness.Device{User: user, Name: device}}
		p.shelves, sizes[f] = append(p.shelves, f), size
	}
	for i := range c.devices {
		add(victim, fmt.Sprintf("device%d", i), c.stock)
	}
	for i := range c.users {
		user := fmt.Sprintf("user%d", i)
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
		body, err := json.Marshal(harness.Publishing{KeyPackages: some})
		if err != nil {
			return err
		}
		f.requests = append(f.requests, body)
	}
	return nil
}

// move has everybody publish on a server, as the service lets them.
func (p *population) move(ctx context.Context, s *server) error {
	return p.each(func(f *shelf) error {
		for _, body := range f.requests {
			if err := s.service.For(f.id.String()).Do(ctx, "POST", f.id.Shelf(), body, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// signUp returns a client with a new token of a device.
func (s *server) signUp(ctx context.Context, d harness.Device) (*harness.Client, error) {
	made, err := s.service.CreateToken(ctx, d.ID(), client.NewToken{})
	return s.Client().As(made.Token), err
}

// A stock is how many KeyPackages are on the shelves, last resorts not counted.
type stock struct{ one, all int }

func onShelf(i client.Inventory) int {
	n := -len(i.LastResort)
	for _, c := range i.Counts {
		n += c.Available
	}
	return n
}

// stock reads the inventories.
func (p *population) stock(ctx context.Context, s *server) (stock, error) {
	var one, all atomic.Int64
	err := p.each(func(f *shelf) error {
		i, err := s.service.For(f.id.String()).Inventory(ctx, f.id.ID())
		if err != nil {
			return err
		}
		all.Add(int64(onShelf(i)))
		if f.id.User == victim {
			one.Add(int64(onShelf(i)))
		}
		return nil
	})
	return stock{int(one.Load()), int(all.Load())}, err
}
