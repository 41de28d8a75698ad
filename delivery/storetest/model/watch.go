package model

import (
	"time"

	"welcomed/delivery/storetest"
)

// A watch is the reference of delivery.ClockGuard and of the latest time that a
// store keeps.
type watch struct {
	clock *storetest.Clock
	trust bool

	disk    time.Time // kept by the store
	seen    time.Time // the latest time that is certain
	wall    time.Time // at the last look
	ran     time.Duration
	doubted bool // the clock has jumped ahead, and the time has not held yet
	since   time.Duration
}

func (w *watch) open() {
	w.seen, w.wall, w.ran, w.doubted = w.disk, w.disk, w.clock.Elapsed(), false
}

func (w *watch) look() {
	now, ran := w.clock.Now(), w.clock.Elapsed()
	due := w.wall.Add(ran - w.ran)
	if due.Before(w.seen) {
		due = w.seen
	}
	w.wall, w.ran = now, ran
	switch {
	case now.Sub(w.seen) <= day:
		w.doubted = false
	case now.Sub(due) > day:
		w.doubted, w.since = true, ran
	}
	if w.doubted && (w.trust || ran-w.since >= time.Hour) {
		w.doubted = false
	}
	if !w.doubted && now.After(w.seen) {
		w.seen = now
	}
}

// tooEarly reports whether what happens now would be dated by a time that cannot
// be.
func (w *watch) tooEarly() bool { return !w.trust && w.now().Year() < 2026 }

// now is what is answered by: time does not go back.
func (w *watch) now() time.Time {
	if w.wall.Before(w.seen) {
		return w.seen
	}
	return w.wall
}

func (w *watch) behind() bool { return w.tooEarly() || w.seen.Sub(w.wall) > time.Hour }

func (w *watch) sweeps() bool { return !w.behind() && !w.doubted }
