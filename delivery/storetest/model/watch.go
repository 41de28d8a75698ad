package model

import (
	"time"

	"welcomed/delivery/storetest"
)

// A watch is the reference of delivery.ClockGuard and of the time that a store
// keeps.
type watch struct {
	clock *storetest.Clock
	trust bool // the operator says that the clock is right

	disk  time.Time // kept by the store
	known time.Time // when the store was opened; zero: it was new
	since time.Duration
	sure  time.Time // has come for certain
	wall  time.Time // at the last look
	ran   time.Duration

	doubted bool // the clock has jumped ahead, and the time has not held yet
	late    bool // it is a little behind, and has not held yet
	from    time.Duration
}

func (w *watch) open(isNew bool) {
	*w = watch{clock: w.clock, trust: w.trust, disk: w.disk, known: w.disk, sure: w.disk, wall: w.disk, ran: w.clock.Elapsed(), since: w.clock.Elapsed()}
	if isNew {
		w.known = time.Time{}
	}
}

func (w *watch) look() {
	now, ran := w.clock.Now(), w.clock.Elapsed()
	passed := ran - w.ran
	if w.doubted {
		w.sure = w.sure.Add(passed)
	}
	jumped := now.Sub(latest(w.sure, w.wall.Add(passed))) > day
	w.wall, w.ran = now, ran
	ahead, cannotBe := now.Sub(w.sure), now.Year() < 2026
	believed, doubted, late := false, false, false
	switch {
	case w.trust:
		believed = !cannotBe || w.sure.Year() < 2026 && now.Unix() > 0
	case ahead > day:
		doubted = jumped || w.doubted && ran-w.from < time.Hour
		believed = !doubted
	case ahead > 0:
		believed = true
	case cannotBe:
	case ahead >= -time.Hour:
		believed = ahead < -time.Minute && !now.Before(w.known.Add(ran-w.since-time.Minute))
	case !now.Before(w.known.Add(ran - w.since - time.Hour)):
		believed = true
	case ahead >= -day:
		late = !w.late || ran-w.from < time.Hour
		believed = !late
		if believed {
			w.known, w.since = now, ran
		}
	}
	if jumped && doubted || late && !w.late {
		w.from = ran
	}
	w.doubted, w.late = doubted, late
	if believed {
		w.sure = now
	}
}

// tooEarly reports whether what happens now would be dated by a time that cannot
// be.
func (w *watch) tooEarly() bool {
	return !w.trust && w.sure.Year() < 2026 && w.wall.Year() < 2026
}

// now is what happens is dated by.
func (w *watch) now() time.Time {
	if w.doubted {
		return w.wall
	}
	return w.sure
}

func (w *watch) behind() bool { return w.tooEarly() || w.sure.Sub(w.wall) > time.Hour }

func (w *watch) sweeps() bool { return !w.behind() && !w.doubted }
