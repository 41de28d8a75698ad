package cli

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"welcomed/delivery"
)

// A swept store answers each sweep with the next error.
type swept struct {
	delivery.Store
	errs  []error
	times []time.Time
	sure  time.Time
}

func (s *swept) Time() delivery.ClockReading { return delivery.ClockReading{Sure: s.sure} }

func (s *swept) Sweep(context.Context) (delivery.SweepResult, error) {
	s.times = append(s.times, time.Now())
	if len(s.errs) == 0 {
		return delivery.SweepResult{}, nil
	}
	err := s.errs[0]
	s.errs = s.errs[1:]
	return delivery.SweepResult{}, err
}

func TestTheSweeperSweepsAtOnceAndThenRegularly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store := &swept{}
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		s := &sweeper{store: store, every: time.Minute, log: slog.New(slog.DiscardHandler)}
		s.run(ctx)
		want := []time.Duration{0, time.Minute, 2 * time.Minute}
		for i, at := range store.times {
			if i >= len(want) || at.Sub(start) != want[i] {
				t.Errorf("swept at %v, want %v", store.times, want)
			}
		}
		if len(store.times) != len(want) {
			t.Errorf("swept %d times, want %d", len(store.times), len(want))
		}
	})
}

func TestTheSweeperSaysOnceThatTheClockIsNotTrusted(t *testing.T) {
	for _, test := range []struct {
		name string
		errs []error
		want []string // levels
	}{
		{"a clock that is right is not worth a line", []error{nil, nil}, nil},
		{"one that is not is worth one", []error{delivery.ErrClock, delivery.ErrClock}, []string{"WARN"}},
		{"one that is corrected another", []error{delivery.ErrClock, nil, nil}, []string{"WARN", "INFO"}},
		{"and it can happen again", []error{delivery.ErrClock, nil, delivery.ErrClock}, []string{"WARN", "INFO", "WARN"}},
		{"other failures are said each time", []error{errors.New("a"), errors.New("b")}, []string{"ERROR", "ERROR"}},
		{"a store that closes is no failure", []error{delivery.ErrClosed}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log bytes.Buffer
			s := &sweeper{store: &swept{errs: test.errs}, log: slog.New(slog.NewTextHandler(&log, nil))}
			for range test.errs {
				s.sweep(t.Context())
			}
			lines := strings.FieldsFunc(log.String(), func(r rune) bool { return r == '\n' })
			if len(lines) != len(test.want) {
				t.Fatalf("%d lines, want %d:\n%s", len(lines), len(test.want), log.String())
			}
			for i, level := range test.want {
				if !strings.Contains(lines[i], "level="+level+" ") {
					t.Errorf("line %d is not %s: %s", i, level, lines[i])
				}
			}
		})
	}
}

// What a wrong clock has ended cannot be taken back, so whoever runs the server is
// told that it may have.
func TestTheSweeperSaysThatTheClockWasAhead(t *testing.T) {
	var log bytes.Buffer
	store := &swept{sure: time.Date(2030, time.March, 5, 5, 0, 0, 0, time.UTC)}
	s := &sweeper{store: store, log: slog.New(slog.NewTextHandler(&log, nil))}
	for _, by := range []time.Duration{0, time.Minute, -time.Hour, -20 * time.Hour, time.Minute} {
		store.sure = store.sure.Add(by)
		s.sweep(t.Context())
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "it_said=2030-03-05T04:01:00Z it_is=2030-03-04T08:01:00Z") {
		t.Errorf("it said:\n%s", got)
	}
}
