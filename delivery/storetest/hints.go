package storetest

import (
	"fmt"
	"strings"
	"time"

	"welcomed/delivery"
)

// lease is for how long hints are taken.
const lease = time.Minute

// spare publishes two KeyPackages and returns one of them, so that the shelf does not
// become empty when it is used.
func (w *world) spare(d deviceID) kp {
	w.t.Helper()
	return w.shelf(d, 2)[0]
}

// keepHints has hints be kept from now on.
func (w *world) keepHints() { w.store.KeepHints(delivery.HintWebhook, true) }

// take takes all hints that are due.
func (w *world) take() delivery.TakenHints {
	w.t.Helper()
	taken, err := w.store.TakeHints(w.ctx, delivery.HintWebhook, 1000, lease)
	w.must(err)
	return taken
}

// hinted takes the hints that are due, which are these, as in "alice/phone welcome".
func (w *world) hinted(want ...string) []delivery.Hint {
	w.t.Helper()
	taken := w.take()
	same(w, "hints", hintTexts(taken.Hints), strings.Join(want, ", "))
	return taken.Hints
}

func (w *world) waitingHints() []delivery.Hint {
	w.t.Helper()
	all, err := w.store.WaitingHints(w.ctx, delivery.HintWebhook, 1000)
	w.must(err)
	return all
}

func hintTexts(hints []delivery.Hint) string {
	var texts []string
	for _, h := range hints {
		texts = append(texts, fmt.Sprintf("%s/%s %s", h.Device.User, h.Device.Name, h.Kind))
	}
	return strings.Join(texts, ", ")
}

func (w *world) settle(h delivery.Hint, again time.Duration) {
	w.t.Helper()
	w.must(w.store.SettleHint(w.ctx, delivery.SettledHint{Hint: h, Again: again}))
}

var hintPromises = []promise{
	{"none is kept before somebody wants it, and when nobody wants it any more", func(w *world) {
		w.send(bob, w.spare(phone))
		same(w, "waiting", len(w.waitingHints()), 0)
		w.keepHints()
		w.store.KeepHints(delivery.HintWebhook, false)
		w.send(bob, w.spare(phone))
		same(w, "waiting", len(w.waitingHints()), 0)
		w.hinted()
	}},
	{"a Welcome that can be claimed is hinted at, and one that is held is not before its release", func(w *world) {
		w.keepHints()
		k, held := w.spare(phone), w.spare(tablet)
		id := w.post(bob, welcome(held), hold).ID
		postedAt := w.clock.Now()
		w.send(bob, k)
		h := w.hinted("alice/phone welcome")[0]
		at(w, "the event", h.At, postedAt)
		same(w, "attempt", h.Attempt, 1)
		same(w, "taken", h.Taken, true)
		at(w, "due again", h.Due, w.clock.Now().Add(lease))
		w.release(bob, id)
		w.hinted("alice/tablet welcome")
	}},
	{"a shelf that becomes low or empty is hinted at, once each time", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.LowWatermark = 2 })
		w.keepHints()
		items := w.shelf(phone, 3)
		w.reserveOne(bob, phone, items[0])
		w.hinted()
		w.reserveOne(bob, phone, items[1])
		h := w.hinted("alice/phone stock")[0]
		w.settle(h, 0)
		w.reserveOne(bob, phone, items[2])
		w.settle(w.hinted("alice/phone stock")[0], 0)
		w.hinted()
	}},
	{"of one kind a device has one that waits, however much happens", func(w *world) {
		w.keepHints()
		for range 20 {
			w.send(bob, w.spare(phone))
		}
		w.send(bob, w.spare(tablet))
		first := w.waitingHints()
		same(w, "waiting", hintTexts(first), "alice/phone welcome, alice/tablet welcome")
		same(w, "taken", w.hinted("alice/phone welcome", "alice/tablet welcome")[0].ID, first[0].ID)
	}},
	{"one that was taken is nobody else's until its lease ends, and then it is due again", func(w *world) {
		w.keepHints()
		w.send(bob, w.spare(phone))
		h := w.hinted("alice/phone welcome")[0]
		taken := w.take()
		same(w, "hints", len(taken.Hints), 0)
		at(w, "next", taken.Next, h.Due)
		same(w, "waiting", w.waitingHints()[0].Taken, true)
		w.clock.Advance(lease - time.Second)
		w.hinted()
		w.clock.Advance(time.Second)
		again := w.hinted("alice/phone welcome")[0]
		same(w, "id", again.ID, h.ID)
		same(w, "attempt", again.Attempt, 2)
	}},
	{"one that was sent is over, and settling it again changes nothing", func(w *world) {
		w.keepHints()
		w.send(bob, w.spare(phone))
		h := w.hinted("alice/phone welcome")[0]
		w.settle(h, 0)
		w.idle("another settlement", func() { w.settle(h, 0); w.settle(h, time.Hour) })
		taken := w.take()
		same(w, "hints and next", []any{len(taken.Hints), taken.Next.IsZero()}, []any{0, true})
	}},
	{"one that could not be sent is due again when it was said, with the same id", func(w *world) {
		w.keepHints()
		w.send(bob, w.spare(phone))
		h := w.hinted("alice/phone welcome")[0]
		w.settle(h, time.Hour)
		waits := w.waitingHints()[0]
		at(w, "due", waits.Due, w.clock.Now().Add(time.Hour))
		same(w, "taken", waits.Taken, false)
		w.clock.Advance(time.Hour - time.Millisecond)
		w.hinted()
		w.clock.Advance(time.Millisecond)
		again := w.hinted("alice/phone welcome")[0]
		same(w, "id", again.ID, h.ID)
		same(w, "attempt", again.Attempt, 2)
		at(w, "the event", again.At, h.At)
	}},
	{"what happens while one is sent is told by another", func(w *world) {
		w.keepHints()
		w.send(bob, w.spare(phone))
		h := w.hinted("alice/phone welcome")[0]
		w.send(bob, w.spare(phone))
		w.send(bob, w.spare(phone))
		w.hinted()
		w.settle(h, 0)
		next := w.hinted("alice/phone welcome")[0]
		same(w, "the same id", next.ID == h.ID, false)
		same(w, "attempt", next.Attempt, 1)
		w.settle(next, 0)
		w.hinted()
	}},
	{"what happens while one fails is told by the next attempt", func(w *world) {
		w.keepHints()
		w.send(bob, w.spare(phone))
		h := w.hinted("alice/phone welcome")[0]
		w.send(bob, w.spare(phone))
		w.settle(h, time.Hour)
		w.clock.Advance(time.Hour)
		w.settle(w.hinted("alice/phone welcome")[0], 0)
		w.hinted()
	}},
	{"a device that has claimed, has published or is gone is not hinted at", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.LowWatermark = 2 })
		w.keepHints()
		w.first(phone, w.send(bob, w.shelf(phone, 3)[0]))
		taken := w.take()
		same(w, "hints, over", []int{len(taken.Hints), taken.Over}, []int{0, 1})

		items := w.shelf(tablet, 2)
		w.reserveOne(bob, tablet, items[0])
		w.shelf(tablet, 2)
		w.hinted()

		w.send(bob, w.shelf(laptop, 3)[0])
		same(w, "waiting", len(w.waitingHints()), 1)
		w.must(w.store.RemoveDevice(w.ctx, self(laptop), laptop))
		same(w, "waiting", len(w.waitingHints()), 0)
		w.one(laptop)
		w.hinted()
	}},
	{"a device that was removed and made again has nothing of before", func(w *world) {
		w.keepHints()
		w.send(bob, w.spare(phone))
		h := w.hinted("alice/phone welcome")[0]
		w.must(w.store.RemoveUser(w.ctx, delivery.Caller{User: "alice"}, "alice"))
		w.spare(phone)
		w.idle("a settlement", func() { w.settle(h, time.Hour) })
		w.sweep()
		w.clock.Advance(time.Hour)
		w.hinted()
	}},
	{"they survive that the store is opened again", func(w *world) {
		w.keepHints()
		w.send(bob, w.spare(phone))
		w.send(bob, w.spare(tablet))
		h := w.hinted("alice/phone welcome", "alice/tablet welcome")[0]
		w.settle(h, time.Hour)
		w.reopen()
		same(w, "waiting", hintTexts(w.waitingHints()), "alice/tablet welcome, alice/phone welcome")
		w.clock.Advance(time.Hour)
		w.hinted("alice/tablet welcome", "alice/phone welcome")
	}},
	{"not more are kept than are allowed, and those that are not are counted", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.HintsPerChannel = 2 })
		w.keepHints()
		for _, d := range []deviceID{phone, tablet, laptop, dave} {
			w.send(bob, w.spare(d))
		}
		same(w, "kept", w.stats().Hints[delivery.HintWebhook], 2)
		taken := w.take()
		same(w, "taken, not kept", []any{hintTexts(taken.Hints), taken.Full}, []any{"alice/phone welcome, alice/tablet welcome", 2})
		same(w, "not kept since", w.take().Full, 0)
		w.settle(taken.Hints[0], 0)
		w.send(bob, w.spare(laptop))
		w.hinted("alice/laptop welcome")
	}},
	{"all that wait are due at once when somebody says so", func(w *world) {
		w.keepHints()
		for _, d := range []deviceID{phone, tablet, laptop} {
			w.send(bob, w.spare(d))
		}
		hints := w.hinted("alice/phone welcome", "alice/tablet welcome", "alice/laptop welcome")
		w.settle(hints[0], time.Hour)
		w.settle(hints[1], 20*time.Hour)
		n, err := w.store.RetryHints(w.ctx, delivery.HintWebhook)
		w.must(err)
		same(w, "retried", n, 2) // the third is being sent
		same(w, "attempt", w.hinted("alice/phone welcome", "alice/tablet welcome")[0].Attempt, 1)
	}},
	{"those that nobody takes are dropped after days", func(w *world) {
		w.keepHints()
		w.send(bob, w.spare(phone))
		w.clock.Advance(delivery.HintAbandoned - time.Minute)
		w.send(bob, w.spare(tablet))
		same(w, "dropped", w.sweep().AbandonedHints, 0)
		w.clock.Advance(time.Minute)
		same(w, "dropped", w.sweep().AbandonedHints, 1)
		w.hinted("alice/tablet welcome")
	}},
	{"who sends them is woken by what is due, and by nothing else", func(w *world) {
		wake, stop := w.store.WatchHints(delivery.HintWebhook)
		defer stop()
		w.send(bob, w.spare(phone))
		select {
		case <-wake:
			w.t.Error("woken although none is kept")
		default:
		}
		w.keepHints()
		w.send(bob, w.spare(phone))
		select {
		case <-wake:
		case <-time.After(patience):
			w.t.Fatal("not woken")
		}
		w.hinted("alice/phone welcome")
	}},
	{"of many who take at the same time each is given others", func(w *world) {
		w.keepHints()
		const n = 16
		for i := range n {
			w.send(bob, w.spare(deviceID{User: "alice", Name: fmt.Sprint("phone-", i)}))
		}
		given := make(chan []delivery.Hint, n)
		for range n {
			go func() {
				taken, err := w.store.TakeHints(w.ctx, delivery.HintWebhook, 3, lease)
				if err != nil {
					w.t.Error(err)
				}
				given <- taken.Hints
			}()
		}
		seen := map[string]bool{}
		for range n {
			for _, h := range <-given {
				same(w, "given twice", seen[h.ID], false)
				seen[h.ID] = true
			}
		}
		same(w, "given", len(seen), n)
	}},
}
