package cli

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"welcomed/delivery"
)

// A sweeper makes a store end what has had its time.
type sweeper struct {
	store     delivery.Store
	every     time.Duration
	log       *slog.Logger
	untrusted bool      // the clock, at the last sweep
	swept     time.Time // the time that had come then
}

// run sweeps at once, because the server may have been off for long, and then regularly until
// ctx is done.
func (s *sweeper) run(ctx context.Context) {
	ticker := time.NewTicker(s.every)
	defer ticker.Stop()
	for {
		s.sweep(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *sweeper) sweep(ctx context.Context) {
	s.judgeTime(s.store.Time().Sure)
	result, err := s.store.Sweep(ctx)
	if ctx.Err() != nil {
		return
	}
	s.judgeClock(err)
	switch {
	case errors.Is(err, delivery.ErrClock), errors.Is(err, delivery.ErrClosed):
	case err != nil:
		s.log.Error("sweep failed", "error", err)
	case result.ForgottenDevices > 0:
		s.log.Info("removed devices that did not come back (--forget-devices-after)", "devices", result.ForgottenDevices)
	case result != delivery.SweepResult{}:
		s.log.Debug("swept", "result", result)
	}
}

// judgeClock logs once that the clock is not trusted, and once that it is trusted again.
func (s *sweeper) judgeClock(err error) {
	untrusted := errors.Is(err, delivery.ErrClock)
	switch {
	case untrusted && !s.untrusted:
		s.log.Warn("nothing expires for now", "error", err)
	case !untrusted && s.untrusted:
		s.log.Info("the clock is trusted again")
	}
	s.untrusted = untrusted
}

// tookBack is by how much a clock has to go back to count as wrong before. A small correction
// is less.
const tookBack = time.Hour

// judgeTime logs that a time which was believed was wrong. What sweeps have ended because of it
// stays ended.
func (s *sweeper) judgeTime(now time.Time) {
	if ahead := s.swept.Sub(now); ahead > tookBack {
		s.log.Warn("the clock was ahead and was believed; what ended because of it stays ended: Welcomes that expired have to be posted again, and devices have to publish again",
			"it_said", s.swept.UTC().Format(time.RFC3339), "it_is", now.UTC().Format(time.RFC3339))
	}
	s.swept = now
}
