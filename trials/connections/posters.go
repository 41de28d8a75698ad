package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"welcomed/client"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

// largest is nearly as much as a Welcome may have.
const largest = 4<<20 - 1000

// post has posters publish a KeyPackage, post a Welcome of the largest size for it,
// claim and acknowledge it, one after the other. What the server has no room for
// they send again a second later.
func (s *server) post(ctx context.Context, posters int, f *figures) *sync.WaitGroup {
	var all sync.WaitGroup
	for i := range posters {
		g := s.goodClient(fmt.Sprintf("poster%d", i), f)
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
	var claimed client.Claimed
	return g.insist(ctx, g.device.Shelf(), b, nil) &&
		g.insist(ctx, harness.AllWelcomes, mlstest.WelcomeSize(largest, 1, kp.Ref()), nil) &&
		g.insist(ctx, g.device.Claim(), nil, &claimed) && len(claimed.Welcomes) > 0 &&
		g.insist(ctx, g.device.Acknowledgement(claimed.Welcomes[0].ID), nil, nil)
}

// insist asks until it is answered, and reports whether it was.
func (g *goodClient) insist(ctx context.Context, path string, body, answer any) bool {
	for ctx.Err() == nil {
		err := g.try(ctx, path, body, answer)
		if err == nil {
			return true
		}
		status := 0
		if refusal, ok := errors.AsType[*client.Error](err); ok {
			status, err = refusal.Status, nil
		}
		g.figures.again(ctx, path, status, err)
		if status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
			return false
		}
		pause(ctx, time.Second)
	}
	return false
}

func (g *goodClient) try(ctx context.Context, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return g.client.Do(ctx, "POST", path, body, answer)
}
