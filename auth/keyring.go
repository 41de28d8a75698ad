package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// fetchTime is how long the issuer may take to tell its keys.
	fetchTime = 8 * time.Second
	// patience is how long a request waits for that.
	patience = 5 * time.Second
	// maxPatient requests wait at a time, others are told at once.
	maxPatient = 256
)

// A rhythm says how often keys are fetched: regularly, and at most, because
// strangers can ask for it with a token that names an unknown key.
type rhythm struct{ regular, most time.Duration }

var (
	remote = rhythm{regular: 5 * time.Minute, most: 10 * time.Second}
	local  = rhythm{regular: 10 * time.Second, most: time.Second}
)

// A keyRing has an issuer's keys and keeps them up to date until ctx is done.
// What it has goes on working while there is nothing newer to be had.
type keyRing struct {
	ctx    context.Context
	place  string
	fetch  func(context.Context) ([]byte, error)
	rhythm rhythm
	clock  clock
	log    *slog.Logger

	current atomic.Pointer[keySet] // nil: none yet
	patient chan struct{}          // as many elements as requests wait

	mu      sync.Mutex
	running *refresh  // nil: none is
	ended   time.Time // the last one
	failed  error     // the last one, why
}

// A refresh is under way until done is closed.
type refresh struct {
	done chan struct{}
	err  error // to be read then
}

func newKeyRing(ctx context.Context, opts OIDCOptions, clock clock) *keyRing {
	fetch, rhythm := source(opts)
	return &keyRing{
		ctx: ctx, fetch: fetch, rhythm: rhythm, clock: clock,
		place:   withoutQuery(cmp.Or(opts.JWKS, opts.Issuer)),
		log:     opts.Log.With("issuer", opts.Issuer),
		patient: make(chan struct{}, maxPatient),
	}
}

// start fails if waiting would not help.
func (r *keyRing) start() error {
	first := r.refresh()
	<-first.done
	if first.err != nil && (r.rhythm == local || isMistake(first.err)) {
		return first.err
	}
	if keys := r.current.Load(); r.rhythm == local && len(keys.keys) == 0 {
		return fmt.Errorf("the keys in %s: none can check a token; %s", r.place, strings.Join(keys.skipped, ", "))
	}
	go r.run()
	return nil
}

func (r *keyRing) run() {
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.clock.after(r.pause()):
			<-r.refresh().done
		}
	}
}

func (r *keyRing) pause() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		return r.rhythm.most
	}
	return r.rhythm.regular
}

// refresh starts one unless one is under way.
func (r *keyRing) refresh() *refresh {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.join()
}

func (r *keyRing) join() *refresh {
	if r.running == nil {
		r.running = &refresh{done: make(chan struct{})}
		go r.complete(r.running)
	}
	return r.running
}

// renew returns when the keys are as new as a request can ask for: a flood of
// tokens with unknown keys waits for one refresh, or for none if there just was
// one.
func (r *keyRing) renew(ctx context.Context) error {
	r.mu.Lock()
	if r.running == nil && r.clock.now().Sub(r.ended) < r.rhythm.most {
		defer r.mu.Unlock()
		return unavailable(r.failed)
	}
	running := r.join()
	r.mu.Unlock()
	select {
	case r.patient <- struct{}{}:
		defer func() { <-r.patient }()
	default:
		return unavailable(errors.New("too many requests wait for it"))
	}
	return r.wait(ctx, running)
}

func (r *keyRing) wait(ctx context.Context, running *refresh) error {
	ctx, cancel := r.clock.within(ctx, patience)
	defer cancel()
	select {
	case <-running.done:
		return unavailable(running.err)
	case <-ctx.Done():
		return unavailable(context.Cause(ctx))
	}
}

// unavailable keeps to itself why: it has names in it that are nobody's
// business.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: the issuer's keys cannot be fetched", ErrUnavailable)
}

func (r *keyRing) complete(running *refresh) {
	ctx, cancel := r.clock.within(r.ctx, fetchTime)
	defer cancel()
	text, err := r.fetch(ctx)
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("fetch the issuer's keys: %w", context.Cause(ctx))
	}
	if err == nil {
		err = r.take(text)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report(err)
	running.err = err
	r.running, r.ended, r.failed = nil, r.clock.now(), err
	close(running.done)
}

// take leaves keys that are what they were in place: what was checked with them
// stays checked.
func (r *keyRing) take(text []byte) error {
	keys, err := parseKeys(text)
	if err != nil {
		return fmt.Errorf("the keys in %s: %w", r.place, err)
	}
	if before := r.current.Load(); before != nil && before.hash == keys.hash {
		return nil
	}
	r.current.Store(keys)
	if len(keys.keys) == 0 {
		r.log.Warn("the issuer has no keys that can check a token: all are refused", "skipped", keys.skipped)
	} else {
		r.log.Info("the issuer has new keys", "keys", len(keys.keys), "skipped", keys.skipped)
	}
	return nil
}

// report says once what is wrong, and once that it is over.
func (r *keyRing) report(err error) {
	switch {
	case r.ctx.Err() != nil:
	case err == nil && r.failed != nil:
		r.log.Info("the issuer's keys can be fetched again")
	case err != nil && (r.failed == nil || r.failed.Error() != err.Error()):
		r.log.Warn("the issuer's keys cannot be fetched; the known keys still work", "error", err)
	}
}
