package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// largest is nearly as much as a Welcome may have.
const largest = 4<<20 - 1000

// post has posters publish a KeyPackage, post a Welcome of the largest size for it,
// claim and acknowledge it, one after the other. What the server has no room for
// they send again a second later.
func (s *process) post(ctx context.Context, posters int, f *figures) *sync.WaitGroup {
	var all sync.WaitGroup
	for i := range posters {
		g := &goodClient{process: s, device: fmt.Sprintf("/v1/users/poster%d/devices/one", i), signer: mlstest.NewSigner(1, "poster"), figures: f}
		all.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				if g.postLargest(ctx) {
					f.posted(time.Since(began))
				}
			}
		})
	}
	return &all
}

// postLargest reports whether the Welcome got through.
func (g *goodClient) postLargest(ctx context.Context) bool {
	b := g.signer.KeyPackage()
	kp, err := mls.ReadKeyPackage(b)
	if err != nil {
		panic(err) // it is ours
	}
	var claimed struct{ Welcomes []struct{ ID string } }
	return g.insist(ctx, g.device+"/key-packages", b, nil) &&
		g.insist(ctx, "/v1/welcomes", mlstest.WelcomeSize(largest, 1, kp.Ref()), nil) &&
		g.insist(ctx, g.device+"/claim", nil, &claimed) && len(claimed.Welcomes) > 0 &&
		g.insist(ctx, g.device+"/welcomes/"+claimed.Welcomes[0].ID+"/ack", nil, nil)
}

// insist asks until it is answered, and reports whether it was.
func (g *goodClient) insist(ctx context.Context, path string, body []byte, v any) bool {
	for ctx.Err() == nil {
		status, answer, err := g.try(ctx, path, body)
		if err == nil && status < 300 {
			return v == nil || json.Unmarshal(answer, v) == nil
		}
		g.figures.again(ctx, path, status, err)
		if status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
			return false
		}
		pause(ctx, time.Second)
	}
	return false
}

func (g *goodClient) try(ctx context.Context, path string, body []byte) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, answer, err := g.send(ctx, "message/mls", path, body)
	if err != nil {
		return 0, nil, err
	}
	return resp.StatusCode, answer, nil
}
