package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"welcomed/client"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

// behave has clients publish, post, claim and acknowledge, one after the other.
func (s *server) behave(ctx context.Context, clients int, f *figures) *sync.WaitGroup {
	var all sync.WaitGroup
	for i := range clients {
		g := s.goodClient(fmt.Sprintf("good%d", i), f)
		all.Go(func() {
			for ctx.Err() == nil {
				g.join(ctx)
				pause(ctx, 20*time.Millisecond)
			}
		})
	}
	return &all
}

// A goodClient is one that behaves, with one device.
type goodClient struct {
	client  *harness.Client
	device  harness.Device
	signer  *mlstest.Signer
	figures *figures
}

func (s *server) goodClient(user string, f *figures) *goodClient {
	return &goodClient{client: s.Client(), device: harness.Device{User: user, Name: "one"}, signer: mlstest.NewSigner(1, user), figures: f}
}

// join is how one gets into a group, with four requests.
func (g *goodClient) join(ctx context.Context) {
	kp := g.signer.KeyPackage()
	g.ask(ctx, "publish", g.device.Shelf(), kp, nil)
	g.ask(ctx, "post", harness.AllWelcomes, mlstest.WelcomeFor(kp), nil)
	var claimed client.Claimed
	g.ask(ctx, "claim", g.device.Claim(), nil, &claimed)
	for _, w := range claimed.Welcomes {
		g.ask(ctx, "acknowledge", g.device.Acknowledgement(w.ID), nil, nil)
	}
}

// patience is how long a client that behaves waits.
const patience = 30 * time.Second

func (g *goodClient) ask(ctx context.Context, what, path string, body, answer any) {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	err := g.client.Do(asking, "POST", path, body, answer)
	if ctx.Err() == nil {
		g.figures.asked(time.Since(began), what, err)
	}
}
