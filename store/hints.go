package store

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"welcomed/delivery"
)

// hintBatch bounds how many hints change in one transaction.
const hintBatch = 500

// A hintChannel is a way on which hints leave, as rows have it.
type hintChannel struct {
	name  delivery.HintChannel
	code  byte // in keys of hints
	timer byte
}

var channels = [...]hintChannel{
	{delivery.HintWebhook, 1, timerWebhook},
}

// channel returns the one with a name. Another name is a bug of the caller.
func channel(name delivery.HintChannel) *hintChannel {
	return &channels[slices.IndexFunc(channels[:], func(c hintChannel) bool { return c.name == name })]
}

// hintsKept is what a process keeps of a channel.
type hintsKept struct {
	on   atomic.Bool
	full atomic.Int64 // not kept since this was asked last
}

// index is the place of a channel in arrays.
func (c *hintChannel) index() int { return int(c.code) - 1 }

// A hint is the row 0x71 of a device.
type hint struct {
	kind     byte // of the event; in the key
	id       string
	at       time.Time
	due      time.Time // has an entry in timers
	attempts int
	taken    bool // until it is due
	again    bool // the same has happened since it was taken
}

func (h *hint) fields(c *coder) {
	c.flags(&h.taken, &h.again)
	c.string(&h.id)
	c.times(&h.at, &h.due)
	c.ints(&h.attempts)
}

func hintKey(device uint64, c *hintChannel, kind byte) []byte {
	return append(appendNumber(make([]byte, 0, 16), device), rowHint, c.code, kind)
}

// hintTimer is what the entry of a hint has behind its time.
func hintTimer(device uint64, kind byte) []byte { return append(numberKey(device), kind) }

// hintAt returns a hint; nil if there is none, or one that cannot be read: that is
// written anew, so that it keeps nobody from being sent a Welcome.
func (t *Txn) hintAt(device uint64, c *hintChannel, kind byte) *hint {
	row := t.get(kindDevices, hintKey(device, c, kind))
	h := &hint{kind: kind}
	if row == nil || !readable(func() { h.fields(&coder{row: row, reads: true}) }) {
		return nil
	}
	return h
}

// hint keeps hints of an event about a device that the transaction of the event writes, if
// somebody is to be told.
func (t *Txn) hint(d *device, kind byte) {
	for i := range channels {
		if t.store.hints[i].on.Load() && !t.quiet {
			t.addHint(d, &channels[i], kind)
		}
	}
}

func (t *Txn) addHint(d *device, c *hintChannel, kind byte) {
	h := t.hintAt(d.number, c, kind)
	switch {
	case h == nil:
		if t.hintsOf(c) >= int64(t.limits.HintsPerChannel) {
			t.unhinted[c.index()]++
			return
		}
		t.putHint(d.number, c, newHint(kind, t.now))
	case h.taken && !h.again:
		h.again = true
		t.putHint(d.number, c, h)
	}
}

// hintsCommitted has those be woken who send hints, and counts what was not kept.
func (s *Store) hintsCommitted(t *Txn) {
	for i := range channels {
		if t.store == s { // and not another process
			s.hints[i].full.Add(int64(t.unhinted[i]))
			t.unhinted[i] = 0
		}
		if t.hinted[i] {
			s.watches.wakeHints(channels[i].name)
		}
	}
}

func newHint(kind byte, now time.Time) *hint {
	return &hint{kind: kind, id: rand.Text(), at: now, due: now}
}

// hintsOf is how many hints of a channel there are.
func (t *Txn) hintsOf(c *hintChannel) int64 {
	sum := t.rows.Totals()
	return sum.hints[c.index()] + t.counted.hints[c.index()]
}

// putHint writes a hint that is new, or has another due time than the entry in timers, which
// was deleted.
func (t *Txn) putHint(device uint64, c *hintChannel, h *hint) {
	key := hintKey(device, c, h.kind)
	if t.get(kindDevices, key) == nil {
		t.counted.hints[c.index()]++
	}
	w := coder{row: make([]byte, 0, 64)}
	h.fields(&w)
	t.put(kindDevices, key, w.row)
	t.setTimer(c.timer, h.due, hintTimer(device, h.kind))
	if !h.taken {
		t.hinted[c.index()] = true
	}
}

// moveHint has a hint be due at another time.
func (t *Txn) moveHint(device uint64, c *hintChannel, h *hint, due time.Time) {
	t.del(kindTimers, timerKey(c.timer, h.due, hintTimer(device, h.kind)))
	h.due = due
	t.putHint(device, c, h)
}

// dropHint removes a hint. One that cannot be read has an entry in timers that is stale.
func (t *Txn) dropHint(device uint64, c *hintChannel, kind byte) {
	key := hintKey(device, c, kind)
	if t.get(kindDevices, key) == nil {
		return
	}
	if h := t.hintAt(device, c, kind); h != nil {
		t.del(kindTimers, timerKey(c.timer, h.due, hintTimer(device, kind)))
	}
	t.del(kindDevices, key)
	t.counted.hints[c.index()]--
}

// dropHints removes all that a device has.
func (t *Txn) dropHints(d *device) {
	for _, key := range t.keys(kindDevices, d.key(rowHint), 0) {
		if i := int(key[numberBytes+1]) - 1; len(key) == numberBytes+3 && i >= 0 && i < len(channels) {
			t.dropHint(d.number, &channels[i], key[numberBytes+2])
		}
	}
}

// hintOver reports whether there is nothing to be told of any more. It goes by what the
// device counts, so that it reads nothing else.
func (t *Txn) hintOver(d *device, kind byte) bool {
	switch {
	case d == nil || d.removed:
		return true
	case kind == eventWelcome:
		return d.pending == 0
	case kind == eventStock:
		level := d.stockLevel(t.limits)
		return level != stockLow && level != stockEmpty
	}
	return false
}

// told is a hint as others see it.
func (h *hint) told(d *device, c *hintChannel) delivery.Hint {
	return delivery.Hint{
		Channel: c.name, Device: d.id, Kind: eventKinds[h.kind], ID: h.id,
		At: h.at, Attempt: h.attempts, Due: h.due, Taken: h.taken,
	}
}

// eventKind is a kind of events as rows have it.
func eventKind(kind delivery.EventKind) byte { return byte(slices.Index(eventKinds[:], kind)) }

// readHintTimer reads what hintTimer has written.
func readHintTimer(row []byte) (device uint64, kind byte) {
	if len(row) != numberBytes+1 {
		panic(ErrCorrupt)
	}
	return readNumber(row), row[numberBytes]
}

// KeepHints implements delivery.Store.
func (s *Store) KeepHints(name delivery.HintChannel, keep bool) {
	s.hints[channel(name).index()].on.Store(keep)
}

// TakeHints implements delivery.Store.
func (s *Store) TakeHints(ctx context.Context, name delivery.HintChannel, most int, lease time.Duration) (taken delivery.TakenHints, err error) {
	c := channel(name)
	err = s.engine.Do(ctx, &Event{Look: func(t *Txn) (changes bool, err error) {
		taken = delivery.TakenHints{Next: t.nextHint(c)}
		return most > 0 && len(t.dueTimers(c.timer, 1)) > 0, nil
	}, Run: func(t *Txn) error {
		taken = delivery.TakenHints{}
		for _, timer := range t.dueTimers(c.timer, min(most, hintBatch)) {
			t.takeHint(c, timer, lease, &taken)
		}
		taken.Next = t.nextHint(c)
		return nil
	}})
	if err != nil {
		return delivery.TakenHints{}, err
	}
	taken.Full = int(s.hints[c.index()].full.Swap(0))
	return taken, nil
}

// nextHint is when the next hint is due.
func (t *Txn) nextHint(c *hintChannel) time.Time {
	for key := range t.scan(kindTimers, []byte{c.timer}, nil) {
		return FromMillis(readNumber(key[1:]))
	}
	return time.Time{}
}

func (t *Txn) takeHint(c *hintChannel, timer timer, lease time.Duration, taken *delivery.TakenHints) {
	t.del(kindTimers, timer.key)
	device, kind := readHintTimer(timer.row)
	h := t.hintAt(device, c, kind)
	if h != nil && !h.due.Equal(timer.due) {
		return // stale
	}
	d := t.readDevice(device)
	if h == nil || t.hintOver(d, kind) {
		t.dropHint(device, c, kind)
		taken.Over++
		return
	}
	h.taken, h.again = true, false
	h.attempts++
	h.due = t.now.Add(lease)
	t.putHint(device, c, h)
	taken.Hints = append(taken.Hints, h.told(d, c))
}

// SettleHint implements delivery.Store.
func (s *Store) SettleHint(ctx context.Context, settled delivery.SettledHint) error {
	c, kind := channel(settled.Channel), eventKind(settled.Kind)
	find := func(t *Txn) (*device, *hint) {
		d := t.device(settled.Device)
		if d == nil {
			return nil, nil
		}
		if h := t.hintAt(d.number, c, kind); h != nil && h.id == settled.ID && h.taken {
			return d, h
		}
		return nil, nil
	}
	return s.engine.Do(ctx, &Event{Look: func(t *Txn) (changes bool, err error) {
		_, h := find(t)
		return h != nil, nil
	}, Run: func(t *Txn) error {
		d, h := find(t)
		if h == nil {
			return ErrMoved
		}
		switch {
		case settled.Again > 0:
			h.taken, h.again = false, false // what has happened since is told then
			t.moveHint(d.number, c, h, t.now.Add(settled.Again))
		case h.again:
			t.del(kindTimers, timerKey(c.timer, h.due, hintTimer(d.number, kind)))
			t.putHint(d.number, c, newHint(kind, t.now))
		default:
			t.dropHint(d.number, c, kind)
		}
		return nil
	}})
}

// WaitingHints implements delivery.Store.
func (s *Store) WaitingHints(ctx context.Context, name delivery.HintChannel, most int) (waiting []delivery.Hint, err error) {
	c := channel(name)
	err = s.engine.View(ctx, func(t *Txn) error {
		waiting = nil
		for _, timer := range t.hintTimers(c, most) {
			device, kind := readHintTimer(timer.row)
			d, h := t.readDevice(device), t.hintAt(device, c, kind)
			if d != nil && h != nil && h.due.Equal(timer.due) && !t.hintOver(d, kind) {
				waiting = append(waiting, h.told(d, c))
			}
		}
		return nil
	})
	return waiting, err
}

// hintTimers returns at most most entries of a channel, whether or not they are due.
func (t *Txn) hintTimers(c *hintChannel, most int) (timers []timer) {
	for _, key := range t.keys(kindTimers, []byte{c.timer}, most) {
		timers = append(timers, timer{key: key, due: FromMillis(readNumber(key[1:])), row: key[1+numberBytes:]})
	}
	return timers
}

// RetryHints implements delivery.Store. What comes while it is under way is due anyway.
func (s *Store) RetryHints(ctx context.Context, name delivery.HintChannel) (n int, err error) {
	c := channel(name)
	var timers []timer
	err = s.engine.View(ctx, func(t *Txn) error {
		timers = t.hintTimers(c, 0)
		return nil
	})
	for batch := range slices.Chunk(timers, hintBatch) {
		if err != nil {
			break
		}
		retried := 0
		err = s.run(ctx, func(t *Txn) error {
			retried = 0
			for _, timer := range batch {
				device, kind := readHintTimer(timer.row)
				if h := t.hintAt(device, c, kind); h != nil && h.due.Equal(timer.due) && !h.taken {
					h.attempts = 0
					t.moveHint(device, c, h, t.now)
					retried++
				}
			}
			return nil
		})
		n += retried
	}
	return n, err
}

// sweepHints drops hints that nobody has taken for long: whoever sent them does not any
// more.
func (s *Store) sweepHints(ctx context.Context, result *delivery.SweepResult) error {
	abandoned := func(t *Txn, c *hintChannel) []timer {
		timers := t.dueTimers(c.timer, hintBatch)
		n := slices.IndexFunc(timers, func(timer timer) bool { return timer.due.After(t.sure.Add(-delivery.HintAbandoned)) })
		if n < 0 {
			n = len(timers)
		}
		return timers[:n]
	}
	var errs []error
	for i := range channels {
		c := &channels[i]
		for more := true; more; {
			dropped := 0
			err := s.engine.Do(ctx, &Event{Look: func(t *Txn) (changes bool, err error) {
				more = t.hintsOf(c) > 0 && len(abandoned(t, c)) > 0
				return more, nil
			}, Run: func(t *Txn) error {
				dropped = 0
				for _, timer := range abandoned(t, c) {
					device, kind := readHintTimer(timer.row)
					t.del(kindTimers, timer.key)
					if h := t.hintAt(device, c, kind); h == nil || h.due.Equal(timer.due) {
						t.dropHint(device, c, kind)
						dropped++
					}
				}
				return nil
			}})
			result.AbandonedHints += dropped
			if err != nil {
				errs, more = append(errs, err), false
			}
		}
	}
	return errors.Join(errs...)
}
