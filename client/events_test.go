package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"welcomed/client"
	"welcomed/mls/mlstest"
)

// A cutBody ends in the middle.
type cutBody struct {
	io.ReadCloser
	left int
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the connection was lost")
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// cutting sends requests over a line that cuts each answer after some bytes.
func cutting() transport {
	return func(r *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err == nil {
			resp.Body = &cutBody{resp.Body, 300 + rand.N(2000)}
		}
		return resp, err
	}
}

func (s *served) post(t *testing.T, kps ...[]byte) {
	t.Helper()
	for _, kp := range kps {
		_, err := s.service().For("bob").Post(t.Context(), client.Posting{Welcome: mlstest.WelcomeFor(kp)})
		must(t, err)
	}
}

// TestEventsAreToldOnce over a line that is cut again and again.
func TestEventsAreToldOnce(t *testing.T) {
	s := serve(t)
	const many = 60
	kps := keyPackages(many + 10)
	own := s.service().For("alice/phone")
	_, err := own.Publish(t.Context(), phone, "", kps[:40]...)
	must(t, err)
	_, err = own.Publish(t.Context(), phone, "", kps[40:]...)
	must(t, err)
	own.HTTP = through(cutting())
	own.Pausing(func(time.Duration) {})
	var refs []string
	posted := make(chan struct{})
	for e, err := range own.Events(t.Context(), client.Following{User: "alice", Device: "phone"}) {
		must(t, err)
		if e.Type == client.EventOpen {
			go func() { defer close(posted); s.post(t, kps[:many]...) }()
			continue
		}
		same(t, "told before", slices.Contains(refs, e.Ref), false)
		if refs = append(refs, e.Ref); len(refs) == many {
			break
		}
	}
	<-posted
	for i, ref := range refs {
		same(t, fmt.Sprint("event ", i), ref, refOf(kps[i]))
	}
}

// TestWhatEndsFollowing: what a repeat does not help, a context, and too many failures.
func TestWhatEndsFollowing(t *testing.T) {
	s := serve(t)
	follow := func(ctx context.Context, c *client.Client) (err error) {
		c.Pausing(func(time.Duration) {})
		for _, err = range c.Events(ctx, client.Following{User: "alice", Device: "phone"}) {
			if err == nil {
				return nil
			}
		}
		return err
	}
	same(t, "another's", client.CodeOf(follow(t.Context(), s.service().For("bob"))), client.CodeForbidden)
	gone, leave := context.WithCancelCause(t.Context())
	why := errors.New("the app was closed")
	leave(why)
	same(t, "left", errors.Is(follow(gone, s.service()), why), true)
	tries, c := 0, s.service()
	c.HTTP = through(func(*http.Request) (*http.Response, error) {
		tries++
		return nil, errors.New("no network")
	})
	same(t, "no network", strings.Contains(fmt.Sprint(follow(t.Context(), c)), "no network"), true)
	same(t, "tries", tries, 5)
}

// TestADeviceIsWokenByEvents: once there is a stream no claim waits, and the device joins as
// soon as it is added.
func TestADeviceIsWokenByEvents(t *testing.T) {
	s := serve(t)
	p, bob := s.phone(t), s.adder(t)
	p.visit()
	var waits atomic.Int64
	p.Client.HTTP = through(func(r *http.Request) (*http.Response, error) {
		if r.URL.Query().Has("wait") {
			waits.Add(1)
		}
		return http.DefaultTransport.RoundTrip(r)
	})
	p.Wait = 100 * time.Millisecond // until there is a stream
	ctx, stop := context.WithCancel(t.Context())
	joined, ended := p.running(ctx)
	deadline := time.Now().Add(patience)
	for woken := 0; woken < 3; {
		before := waits.Load()
		bob.add("join")
		wait(t, "a Welcome", joined)
		if woken++; waits.Load() != before {
			woken = 0
		}
		if time.Now().After(deadline) {
			t.Fatal("claims wait all the while")
		}
	}
	stop()
	wait(t, "the end", ended)
}

// withoutEvents is a server of before there were events.
func withoutEvents(next transport) transport {
	return func(r *http.Request) (*http.Response, error) {
		if !strings.HasSuffix(r.URL.Path, "/events") {
			return next(r)
		}
		return &http.Response{StatusCode: 404, Header: http.Header{"Content-Type": {"application/problem+json"}},
			Body: io.NopCloser(strings.NewReader(`{"code":"not_found"}`))}, nil
	}
}

// TestADeviceWithoutEvents falls back to claims that wait.
func TestADeviceWithoutEvents(t *testing.T) {
	s := serve(t)
	p, bob := s.phone(t), s.adder(t)
	p.visit()
	waits := make(chan bool, 100)
	p.Client.HTTP = through(withoutEvents(func(r *http.Request) (*http.Response, error) {
		if r.URL.Query().Has("wait") {
			waits <- true
		}
		return http.DefaultTransport.RoundTrip(r)
	}))
	ctx, stop := context.WithCancel(t.Context())
	joined, ended := p.running(ctx)
	wait(t, "a claim that waits", waits)
	bob.add("join")
	wait(t, "a Welcome", joined)
	stop()
	wait(t, "the end", ended)
}
