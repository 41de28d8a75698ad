package storetest

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

// putRight sets the clock to the time that NewClock shows.
func (w *world) putRight() {
	w.clock.Jump(NewClock().Now().Sub(w.clock.Now()))
}

// firstStartPromises are about a machine without a clock chip whose first start
// is before the clock was put right.
var firstStartPromises = []promise{
	{"1970-01-01: a first start is not ready and takes nothing", func(w *world) {
		for range 2 {
			w.notReady()
			_, err := w.store.Publish(w.ctx, self(phone), phone, keyPackages(1))
			w.refused(err, delivery.ErrClock)
			_, err = w.store.Replace(w.ctx, self(phone), phone, 0, keyPackages(1))
			w.refused(err, delivery.ErrClock)
			same(w, "devices", w.devices("alice"), nil)
			w.nothing(phone)
			w.reopen()
			w.clock.Advance(time.Hour)
		}
	}},
	{"2024-09-15: a first start at the time when the system was built takes nothing either", func(w *world) {
		w.notReady()
		_, err := w.store.Publish(w.ctx, self(phone), phone, keyPackages(1))
		w.refused(err, delivery.ErrClock)
	}},
	{"1970-01-01: what comes after the clock was put right is kept", func(w *world) {
		w.notReady()
		w.putRight()
		w.must(w.store.Ready(w.ctx))
		k, last := w.one(phone), w.one(phone, mlstest.LastResort())
		a, b := w.send(bob, k), w.send(bob, last)
		w.servesButDoesNotSweep()
		w.clock.Advance(61 * time.Minute)
		w.sweep()
		w.clock.Advance(29 * day)
		w.sweep()
		w.first(phone, a, b)
	}},
	{"1970-01-01: a restart before the clock has held begins anew and loses nothing", func(w *world) {
		w.putRight()
		k, other := w.one(phone), w.one(phone)
		given, waiting := w.consumeHolding(phone, k), w.send(bob, other)
		w.must(w.store.Close())
		w.clock.Jump(-50 * 365 * day)
		w.store.Store = w.fixture.Open(w.t, w.clock, w.limits)
		w.notReady()
		_, err := w.store.Claim(w.ctx, self(phone), phone, claimOptions())
		w.refused(err, delivery.ErrClock)
		w.refused(w.store.Acknowledge(w.ctx, self(phone), phone, given, ""), delivery.ErrClock)
		w.again2(holding(k), given)
		w.clock.Jump(50 * 365 * day)
		w.must(w.store.Ready(w.ctx))
		w.clock.Advance(61 * time.Minute)
		w.sweep()
		w.first2(phone, []welcomeID{waiting}, given)
		w.ack(phone, given)
	}},
}

// again2 expects that the phone's claim, narrowed by an option, returns a Welcome
// that it was given before.
func (w *world) again2(option claimOption, want welcomeID) {
	w.t.Helper()
	same(w, "redelivered", w.given(w.claim(phone, option), want)[0].Redelivered, true)
}

const year9999 = 253402300799

// lifetimePromises are about the edges of uint64 (RFC 9420 §7.2).
var lifetimePromises = []promise{
	{"a lifetime may end anywhere up to 2^64-1 and is told as it was published", func(w *world) {
		for _, end := range []uint64{year9999 - 1, year9999, year9999 + 1, math.MaxInt64/1000 + 1, math.MaxInt64 - 1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64 - 1, math.MaxUint64} {
			k := keyPackage(mlstest.WithLifetime(0, end))
			p := w.publish(phone, k)
			at(w, "off the shelf", p.Items[0].ExpiresAt, w.clock.Now().Add(w.limits.ShelfAge))
			w.reopen()
			same(w, "listed", w.listed("alice"), refsOf(k))
			s, err := w.store.KeyPackage(w.ctx, nobody, k.Ref)
			w.must(err)
			same(w, "not_after", s.Lifetime.NotAfter, end)
			w.reserveOne(bob, phone, k)
			w.join(phone, k)
		}
	}},
	{"a KeyPackage whose lifetime is over is refused, however early it was", func(w *world) {
		now := uint64(w.clock.Now().Unix())
		for _, end := range []uint64{0, 1, now - 1, now} {
			_, err := w.store.Publish(w.ctx, self(phone), phone, []kp{keyPackage(mlstest.WithLifetime(0, end))})
			w.publishRefused(err, delivery.ErrInvalidKeyPackage, map[int]delivery.ItemCode{0: delivery.ItemExpired})
		}
		k := w.one(phone, mlstest.WithLifetime(0, now+1))
		w.sweep()
		w.states(delivery.Expired, k) // a second has passed
	}},
	{"a KeyPackage whose lifetime has not begun is refused, however late it does", func(w *world) {
		tomorrow := uint64(w.clock.Now().Add(w.limits.ClockSkew).Unix())
		for _, begin := range []uint64{tomorrow + 1, year9999, year9999 + 1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64} {
			_, err := w.store.Publish(w.ctx, self(phone), phone, []kp{keyPackage(mlstest.WithLifetime(begin, math.MaxUint64))})
			w.publishRefused(err, delivery.ErrInvalidKeyPackage, map[int]delivery.ItemCode{0: delivery.ItemNotYetValid})
		}
		k := keyPackage(mlstest.WithLifetime(tomorrow, math.MaxUint64))
		w.publish(phone, k)
		w.clock.Advance(w.limits.ClockSkew - time.Millisecond)
		same(w, "listed", w.listed("alice"), []ref{})
		w.clock.Advance(time.Millisecond)
		w.reserveOne(bob, phone, k)
	}},
	{"a longest lifetime refuses longer ones up to 2^64-1", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.MaxLifetime = 90 * day })
		begin, longest := uint64(w.clock.Now().Unix()), uint64(90*24*60*60)
		for _, end := range []uint64{begin + longest + 1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64} {
			_, err := w.store.Publish(w.ctx, self(phone), phone, []kp{keyPackage(mlstest.WithLifetime(begin, end))})
			w.publishRefused(err, delivery.ErrInvalidKeyPackage, map[int]delivery.ItemCode{0: delivery.ItemLifetimeTooLong})
		}
		w.publish(phone, keyPackage(mlstest.WithLifetime(begin, begin+longest)))
	}},
	{"what can be matched until 2^64-1 is forgotten all the same", func(w *world) {
		k := w.one(phone, mlstest.WithLifetime(math.MaxUint64-1, math.MaxUint64-1), mlstest.WithLifetime(0, math.MaxUint64-1))
		w.withdraw(phone, k)
		w.clock.Advance(402 * day)
		same(w, "forgotten", w.sweep().ForgottenKeyPackage, 1)
	}},
}

// calendarPromises are about days that the calendar has or has not: what is kept
// for n days is kept for n times 24 hours, also after a restart.
var calendarPromises = []promise{
	{"2028-02-29: what is kept for days is kept for that many times 24 hours", keptToTheMinute},
	{"2028-02-28: the day before a leap day is none", keptToTheMinute},
	{"2100-02-28: a year without a leap day has none", keptToTheMinute},
	{"2038-01-19: seconds do not fit into 31 bits any more", keptToTheMinute},
	{"2106-02-07: seconds do not fit into 32 bits any more", keptToTheMinute},
}

func keptToTheMinute(w *world) {
	start := w.clock.Now()
	items := w.shelf(phone, 4)
	waiting, given := w.send(bob, items[0]), w.consumeHolding(phone, items[1])
	w.reserveOne(carol, phone, items[2])
	w.reopen()
	until := func(d time.Duration) { w.clock.Advance(start.Add(d).Sub(w.clock.Now())) }

	until(w.limits.Redelivery)
	w.again2(holding(items[1]), given)
	until(w.limits.Redelivery + time.Minute)
	w.sweep()
	w.became(bob, given, delivery.StatusLapsed)
	until(w.limits.WelcomeKept)
	w.sweep()
	w.became(bob, waiting, delivery.StatusPending)
	w.states(delivery.Reserved, items[2])
	until(w.limits.WelcomeKept + time.Minute)
	w.sweep()
	w.became(bob, waiting, delivery.StatusExpired)
	w.states(delivery.Expired, items[2])
	until(w.limits.ShelfAge)
	same(w, "listed", w.listed("alice"), refsOf(items[3]))
	until(w.limits.ShelfAge + time.Minute)
	same(w, "listed", w.listed("alice"), []ref{})
	w.states(delivery.Retired, items[3])
	w.sweep()
	w.states(delivery.Retired, items[3])
}

// sweepingPromises are about sweeps in the middle of everything else.
var sweepingPromises = []promise{
	{"a sweep in the middle of claims loses nothing and delivers nothing twice", func(w *world) {
		const welcomes = 120
		items := w.shelf(phone, welcomes)
		ids := map[welcomeID]bool{}
		for i, k := range items {
			ids[w.post(bob, welcome(k), func(p *delivery.Posting) { p.Hold = i%3 == 0 }).ID] = true
			w.clock.Advance(time.Minute)
		}
		w.clock.Advance(w.limits.WelcomeKept - (welcomes-5)*time.Minute) // the first are due
		early := w.sweep()
		first, swept := w.claimWhileSwept(4, welcomes)
		swept.ExpiredUnclaimed += early.ExpiredUnclaimed
		same(w, "given", first.once(w, "given for the first time")+swept.ExpiredUnclaimed, welcomes)
		same(w, "both happened", len(first.m) > 0 && swept.ExpiredUnclaimed > welcomes/3, true)
		w.endedOnce(ids, first)
	}},
	{"a sweep in the middle of settlements ends each Welcome once", func(w *world) {
		const welcomes = 60
		ids := []welcomeID{}
		for _, k := range w.shelf(phone, welcomes) {
			ids = append(ids, w.consumeHolding(phone, k))
			w.clock.Advance(time.Minute)
		}
		w.clock.Advance(w.limits.Redelivery - (welcomes-5)*time.Minute) // the first are due
		lapsed := w.sweep().Lapsed
		var left atomic.Int64
		left.Store(welcomes)
		var rejected, outcomes tally
		lapsed += w.sweepWhile(func() {
			together(4, func(int) {
				for i := left.Add(-1); i >= 0; i = left.Add(-1) {
					w.clock.Advance(time.Minute)
					n, err := w.store.Reject(w.ctx, self(phone), phone, ids[i], "", delivery.ReasonOther, "")
					if err != nil {
						w.t.Error(err)
					}
					rejected.add(fmt.Sprint(n))
				}
			})
		}).Lapsed
		for _, id := range ids {
			outcomes.add(string(w.outcome(bob, id).Recipients[0].Status))
		}
		same(w, "outcomes", outcomes.m, map[string]int{"rejected": rejected.m["1"], "lapsed": lapsed})
		same(w, "both happened", rejected.m["1"] > 0 && lapsed > 0, true)
	}},
}

// claimWhileSwept has the phone claim, one Welcome at a time, while minutes pass
// and sweeps run. It counts what was given for the first time, and what expired
// then and in the two days after.
func (w *world) claimWhileSwept(claimers, minutes int) (*tally, delivery.SweepResult) {
	first := &tally{}
	swept := w.sweepWhile(func() {
		together(claimers, func(int) {
			for range minutes / claimers {
				w.clock.Advance(time.Minute)
				r, err := w.store.Claim(w.ctx, self(phone), phone, delivery.ClaimOptions{Max: 1})
				if err != nil {
					w.t.Error(err)
				}
				for _, d := range r.Deliveries {
					if !d.Redelivered {
						first.add(d.ID.String())
					}
				}
			}
		})
	})
	w.clock.Advance(2 * day)
	rest := w.sweep()
	swept.ExpiredUnclaimed += rest.ExpiredUnclaimed
	return first, swept
}

// sweepWhile sweeps until f returns, and once more.
func (w *world) sweepWhile(f func()) (sum delivery.SweepResult) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for last := false; !last; {
		select {
		case <-done:
			last = true
		default:
		}
		r, err := w.store.Sweep(w.ctx)
		if err != nil {
			w.t.Error(err)
		}
		sum.ExpiredUnclaimed += r.ExpiredUnclaimed
		sum.Lapsed += r.Lapsed
	}
	return sum
}

// endedOnce expects that of all Welcomes those that were given are delivered and
// the others have expired.
func (w *world) endedOnce(ids map[welcomeID]bool, given *tally) {
	w.t.Helper()
	for id := range ids {
		want := delivery.StatusExpired
		if given.m[id.String()] > 0 {
			want = delivery.StatusDelivered
		}
		w.became(bob, id, want)
	}
}
