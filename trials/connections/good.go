package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"welcomed/mls/mlstest"
)

// behave has clients publish, post, claim and acknowledge, one after the other.
func (s *process) behave(ctx context.Context, clients int, f *figures) *sync.WaitGroup {
	var all sync.WaitGroup
	for i := range clients {
		g := &goodClient{process: s, device: fmt.Sprintf("/v1/users/good%d/devices/one", i), signer: mlstest.NewSigner(1, "good"), figures: f}
		all.Go(func() {
			for ctx.Err() == nil {
				g.join(ctx)
				pause(ctx, 20*time.Millisecond)
			}
		})
	}
	return &all
}

type goodClient struct {
	*process
	device  string
	signer  *mlstest.Signer
	figures *figures
}

// join is how one gets into a group, with four requests.
func (g *goodClient) join(ctx context.Context) {
	kp := g.signer.KeyPackage()
	g.ask(ctx, "publish", g.device+"/key-packages", kp, http.StatusCreated)
	g.ask(ctx, "post", "/v1/welcomes", mlstest.WelcomeFor(kp), http.StatusCreated)
	g.settle(ctx)
}

// settle claims what waits, and acknowledges it.
func (g *goodClient) settle(ctx context.Context) {
	answer := g.ask(ctx, "claim", g.device+"/claim", nil, http.StatusOK)
	var claimed struct{ Welcomes []struct{ ID string } }
	if json.Unmarshal(answer, &claimed) != nil {
		return
	}
	for _, w := range claimed.Welcomes {
		g.ask(ctx, "acknowledge", g.device+"/welcomes/"+w.ID+"/ack", nil, http.StatusNoContent)
	}
}

// patience is how long a client that behaves waits.
const patience = 30 * time.Second

func (g *goodClient) ask(ctx context.Context, what, path string, body []byte, want int) []byte {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	answer, err := g.call(asking, path, body, want)
	if ctx.Err() == nil {
		g.figures.asked(time.Since(began), what, err)
	}
	return answer
}
