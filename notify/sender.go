package notify

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"welcomed/delivery"
)

// A Result says what became of a hint, for who counts.
type Result string

const (
	Sent    Result = "sent"     // the receiver has taken it
	Failed  Result = "failed"   // an attempt, after which there is another one
	GivenUp Result = "given_up" // after the last attempt, or because the receiver wants none
	Over    Result = "over"     // the device has come by itself before it was sent
	Full    Result = "full"     // it was not kept: there were too many
)

// Results lists them.
var Results = []Result{Sent, Failed, GivenUp, Over, Full}

const (
	// sendAtOnce is how many hints of a channel are on their way at the same time.
	sendAtOnce = 16
	// lease is for how long a hint is taken: for the attempt, and for what it takes the
	// store to write down how it ended.
	lease = AttemptLimit + 45*time.Second
	// longestWait is for how long nobody asks the store although nothing is due: its clock
	// may have been put right.
	longestWait = time.Minute
	// shortestWait keeps a sender from asking again and again in the millisecond in which
	// a hint is about to be due.
	shortestWait = 10 * time.Millisecond
	// afterFailure is how long the store is left alone that could not give hints.
	afterFailure = 10 * time.Second
)

// A Sender sends the hints of a channel.
type Sender struct {
	// Count is told what becomes of hints; nil: nobody counts.
	Count func(Result, int)
	// Failing is told after each attempt whether it has failed; nil: nobody is told.
	Failing func(bool)

	channel delivery.HintChannel
	hints   delivery.Hints
	now     func() time.Time // of the store, by which hints are due
	send    func(context.Context, delivery.Hint) error
	log     *slog.Logger
	resume  chan struct{}

	mu    sync.Mutex
	state State
}

// NewSender returns who sends the hints of a store. From then on the store keeps hints, so that
// none of what happens before Run is missed.
func NewSender(channel delivery.HintChannel, s delivery.Store, send func(context.Context, delivery.Hint) error, log *slog.Logger) *Sender {
	s.KeepHints(channel, true)
	return &Sender{
		channel: channel, hints: s, send: send, log: log,
		now:    func() time.Time { return s.Time().Sure },
		resume: make(chan struct{}, 1),
	}
}

// A State is how sending goes.
type State struct {
	SentAt       time.Time // the last time; zero: never since the start
	FailedAt     time.Time // likewise
	Failure      string    // why, then
	FailingSince time.Time // zero: the last attempt went well, or there was none
	StoppedAt    time.Time // the receiver wanted no more; zero: it is sent to
}

// State returns how sending goes.
func (s *Sender) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Resume has hints be kept and sent again after a receiver wanted no more, and all that wait
// be sent at once. It returns how many wait.
func (s *Sender) Resume(ctx context.Context) (int, error) {
	n, err := s.hints.RetryHints(ctx, s.channel)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.StoppedAt = time.Time{}
	s.hints.KeepHints(s.channel, true)
	select {
	case s.resume <- struct{}{}:
	default:
	}
	return n, nil
}

// Run sends until ctx is done. Then it ends the attempts that are under way, and returns
// when the store knows that they are due again.
func (s *Sender) Run(ctx context.Context) {
	due, stop := s.hints.WatchHints(s.channel)
	defer stop()
	var sending sync.WaitGroup
	defer sending.Wait()
	free, done := sendAtOnce, make(chan struct{}, sendAtOnce)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		wait := longestWait
		if free > 0 && s.State().StoppedAt.IsZero() {
			var hints []delivery.Hint
			hints, wait = s.take(ctx, free)
			for _, h := range hints {
				free--
				sending.Go(func() {
					s.attempt(ctx, h)
					done <- struct{}{}
				})
			}
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-due:
		case <-s.resume:
		case <-timer.C:
		case <-done:
			free++
		}
	}
}

// take returns hints to be sent, and how long to wait for the next ones.
func (s *Sender) take(ctx context.Context, most int) ([]delivery.Hint, time.Duration) {
	taken, err := s.hints.TakeHints(ctx, s.channel, most, lease)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("no hints can be taken from the store", "channel", s.channel, "error", err)
		}
		return nil, afterFailure
	}
	s.count(Over, taken.Over)
	s.count(Full, taken.Full)
	wait := longestWait
	if !taken.Next.IsZero() {
		wait = min(max(taken.Next.Sub(s.now()), shortestWait), longestWait)
	}
	return taken.Hints, wait
}

func (s *Sender) count(r Result, n int) {
	if s.Count != nil && n > 0 {
		s.Count(r, n)
	}
}

// attempt sends a hint, and settles it.
func (s *Sender) attempt(ctx context.Context, h delivery.Hint) {
	settled := delivery.SettledHint{Hint: h}
	var err error
	if h.Attempt <= Attempts { // each start of a process that dies of a hint is an attempt
		err = s.send(ctx, h)
	} else {
		err = errors.New("too many attempts")
	}
	switch {
	case err == nil:
		s.count(Sent, 1)
	case ctx.Err() != nil:
		settled.Again = time.Millisecond // by the next process, at once
	default:
		again, more := Pause(h.Attempt, err)
		if settled.Again = again; more {
			s.count(Failed, 1)
		} else {
			s.count(GivenUp, 1)
		}
	}
	if ctx.Err() == nil || err == nil {
		s.note(err)
	}
	if err := s.hints.SettleHint(context.WithoutCancel(ctx), settled); err != nil {
		s.log.Warn("what became of a hint cannot be written: it will be sent again", "channel", s.channel, "error", err)
	}
}

// note keeps how an attempt has ended, and says so where it ended otherwise than the one
// before.
func (s *Sender) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.Failing != nil {
		s.Failing(err != nil)
	}
	if err == nil {
		if !s.state.FailingSince.IsZero() {
			s.log.Info("the receiver takes hints again", "channel", s.channel)
		}
		s.state.SentAt, s.state.FailingSince = now, time.Time{}
		return
	}
	s.state.FailedAt, s.state.Failure = now, err.Error()
	if s.state.FailingSince.IsZero() {
		s.state.FailingSince = now
		s.log.Warn("the receiver does not take hints", "channel", s.channel, "error", err)
	}
	if errors.Is(err, ErrGone) && s.state.StoppedAt.IsZero() {
		s.state.StoppedAt = now
		s.hints.KeepHints(s.channel, false)
		s.log.Error("the receiver wants no more hints, and is sent none until somebody says otherwise", "channel", s.channel)
	}
}
