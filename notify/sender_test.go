package notify

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/store"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// A post office is a store with hints, a receiver, and who sends from one to the other.
type postOffice struct {
	t       *testing.T
	clock   *storetest.Clock
	store   delivery.Store
	answers chan http.HandlerFunc // to one request each
	asked   chan string           // the ids of messages, as they arrive
	left    chan struct{}         // senders that did not wait for an answer
	webhook *Webhook

	mu      sync.Mutex
	counted map[Result]int
	changed chan struct{}
}

func openPostOffice(t *testing.T) *postOffice {
	t.Helper()
	p := &postOffice{
		t: t, clock: storetest.NewClock(), answers: make(chan http.HandlerFunc), asked: make(chan string), left: make(chan struct{}, 100),
		counted: map[Result]int{}, changed: make(chan struct{}, 1),
	}
	s, err := store.NewMemory().Open(p.clock, true, store.Options{Limits: delivery.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	p.store = s
	url := receive(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // from here on it is noticed when the sender leaves
		select {
		case p.asked <- r.Header.Get("webhook-id"):
		case <-r.Context().Done():
			return
		case <-t.Context().Done():
			return
		}
		select {
		case answer := <-p.answers:
			answer(w, r)
		case <-r.Context().Done():
			p.left <- struct{}{}
		case <-t.Context().Done():
		}
	})
	p.webhook = webhookTo(t, url, Options{})
	return p
}

// open starts a sender, and returns it and what stops it.
func (p *postOffice) open() (*Sender, func()) {
	s := NewSender(delivery.HintWebhook, p.store, p.webhook.SendHint, slog.New(slog.DiscardHandler))
	s.Count = func(r Result, n int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.counted[r] += n
		select {
		case p.changed <- struct{}{}:
		default:
		}
	}
	p.store.KeepHints(delivery.HintWebhook, true)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx)
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	p.t.Cleanup(stop)
	return s, stop
}

// invite posts a Welcome for a device that has KeyPackages left.
func (p *postOffice) invite(d delivery.DeviceID) {
	p.t.Helper()
	items := make([]delivery.NewKeyPackage, 2)
	for i := range items {
		parsed, err := mls.ParseKeyPackage(mlstest.NewSigner(1, "alice").KeyPackage())
		if err != nil {
			p.t.Fatal(err)
		}
		items[i] = delivery.Publication(parsed)
	}
	if _, err := p.store.Publish(p.t.Context(), delivery.Unauthenticated(), d, items); err != nil {
		p.t.Fatal(err)
	}
	w, err := mls.ParseWelcome(mlstest.Welcome(1, items[0].Ref))
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.store.Post(p.t.Context(), delivery.Unauthenticated(), delivery.Posting{Welcome: w}); err != nil {
		p.t.Fatal(err)
	}
}

// arrived waits for a message.
func (p *postOffice) arrived() string {
	p.t.Helper()
	select {
	case id := <-p.asked:
		return id
	case <-time.After(patience):
		p.t.Fatal("no message arrives")
		return ""
	}
}

func (p *postOffice) answer(status int) {
	p.answers <- func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// counts waits until so much was counted, and nothing else.
func (p *postOffice) counts(want map[Result]int) {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		got := fmt.Sprint(p.counted)
		p.mu.Unlock()
		if got == fmt.Sprint(want) {
			return
		}
		select {
		case <-p.changed:
		case <-deadline:
			p.t.Fatalf("counted are %s, want %v", got, want)
		}
	}
}

// waiting waits until so many hints do.
func (p *postOffice) waiting(n int) []delivery.Hint {
	p.t.Helper()
	wake, stop := p.store.WatchHints(delivery.HintWebhook)
	defer stop()
	deadline := time.After(patience)
	for {
		hints, err := p.store.WaitingHints(p.t.Context(), delivery.HintWebhook, 100)
		if err != nil {
			p.t.Fatal(err)
		}
		taken := 0
		for _, h := range hints {
			if h.Taken {
				taken++
			}
		}
		if len(hints) == n && taken == 0 {
			return hints
		}
		select {
		case <-wake:
		case <-time.After(time.Millisecond): // one that is over wakes nobody
		case <-deadline:
			p.t.Fatalf("%d hints wait, %d are taken, want %d", len(hints), taken, n)
		}
	}
}

var somePhone = delivery.DeviceID{User: "alice", Name: "phone"}

func TestAHintIsSentUntilTheReceiverTakesIt(t *testing.T) {
	p := openPostOffice(t)
	s, _ := p.open()
	p.invite(somePhone)
	first := p.arrived()
	p.answer(500)
	p.counts(map[Result]int{Failed: 1})
	h := p.waiting(1)[0]
	if state := s.State(); state.FailingSince.IsZero() || state.Failure != "the receiver answered 500 Internal Server Error" || !state.SentAt.IsZero() {
		t.Errorf("the state is %+v", state)
	}
	p.clock.Advance(h.Due.Sub(p.clock.Now()))
	p.store.Time()
	if _, err := s.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := p.arrived(); again != first || again != h.ID {
		t.Errorf("the second attempt has the id %s, the first %s", again, first)
	}
	p.answer(204)
	p.counts(map[Result]int{Failed: 1, Sent: 1})
	p.waiting(0)
	if state := s.State(); !state.FailingSince.IsZero() || state.SentAt.IsZero() {
		t.Errorf("the state is %+v", state)
	}
}

func TestAHintIsGivenUpAfterTheLastAttempt(t *testing.T) {
	p := openPostOffice(t)
	p.store.KeepHints(delivery.HintWebhook, true)
	p.invite(somePhone)
	for range Attempts - 1 {
		taken, err := p.store.TakeHints(t.Context(), delivery.HintWebhook, 1, time.Minute)
		if err != nil || len(taken.Hints) != 1 {
			t.Fatal(taken, err)
		}
		if err := p.store.SettleHint(t.Context(), delivery.SettledHint{Hint: taken.Hints[0], Again: time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		p.clock.Advance(time.Millisecond)
	}
	p.open()
	p.arrived()
	p.answer(503)
	p.counts(map[Result]int{GivenUp: 1})
	p.waiting(0)
}

func TestAReceiverThatWantsNoMoreIsSentNoMore(t *testing.T) {
	p := openPostOffice(t)
	s, _ := p.open()
	p.invite(somePhone)
	p.arrived()
	p.answer(410)
	p.counts(map[Result]int{GivenUp: 1})
	p.waiting(0)
	p.invite(somePhone)
	p.waiting(0)
	if s.State().StoppedAt.IsZero() {
		t.Error("it is still sent to")
	}
	if _, err := s.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.invite(somePhone)
	p.arrived()
	p.answer(200)
	p.counts(map[Result]int{GivenUp: 1, Sent: 1})
}

// TestTheNextProcessSendsWhatOneWasSending has a process stop while the receiver thinks.
func TestTheNextProcessSendsWhatOneWasSending(t *testing.T) {
	p := openPostOffice(t)
	_, stop := p.open()
	p.invite(somePhone)
	first := p.arrived()
	stop()
	<-p.left
	p.waiting(1)
	p.clock.Advance(time.Millisecond)
	p.open()
	if again := p.arrived(); again != first {
		t.Errorf("the id is %s, and was %s", again, first)
	}
	p.answer(200)
	p.counts(map[Result]int{Sent: 1})
}

// TestAReceiverThatHangsKeepsNothingElse has all attempts hang that are made at a time. The
// rest waits, each device has one, and nothing is lost.
func TestAReceiverThatHangsKeepsNothingElse(t *testing.T) {
	p := openPostOffice(t)
	p.webhook.Client.limit = 50 * time.Millisecond
	_, stop := p.open()
	const devices = 2 * sendAtOnce
	for i := range devices {
		p.invite(delivery.DeviceID{User: "alice", Name: fmt.Sprint("phone-", i)})
	}
	p.counts(map[Result]int{Failed: devices}) // some before the receiver has seen them
	p.waiting(devices)
	stop()
}

func TestADeviceThatHasComeIsNotHintedAt(t *testing.T) {
	p := openPostOffice(t)
	p.store.KeepHints(delivery.HintWebhook, true)
	p.invite(somePhone)
	if _, err := p.store.Claim(t.Context(), delivery.Unauthenticated(), somePhone, delivery.ClaimOptions{Max: 1, Bytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	p.open()
	p.counts(map[Result]int{Over: 1})
}
