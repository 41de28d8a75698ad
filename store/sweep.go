package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"welcomed/delivery"
)

const (
	// These bound how long a sweep keeps the writer from the others. A Welcome
	// may have thousands of recipients.
	sweepTimers   = 500
	sweepWelcomes = 10
	sweepWrites   = 1000 // rows
	// sweepReads is how many rows are looked at before some are swept.
	sweepReads = 100_000
	// sweepTombstones is how many of a device are put away at a time.
	sweepTombstones = 2000
	// sweepLooks is how often a sweep looks outside the writer at what changes meanwhile.
	sweepLooks = 3
	// seenEvery is how often an idle server notes the time in the file.
	seenEvery = time.Hour
)

// Sweep implements delivery.Store. A row that cannot be swept does not keep Sweep from the
// rest. The error then names such rows.
func (s *Store) Sweep(ctx context.Context) (result delivery.SweepResult, err error) {
	if err := s.Time().Doubt(); err != nil {
		return result, err
	}
	errs := []error{s.noteTime(ctx)}
	for _, w := range sweepers {
		errs = append(errs, s.sweepAll(ctx, w, &result))
	}
	errs = append(errs, s.sweepIdle(ctx, &result), s.sweepEvents(ctx, &result), s.sweepHints(ctx, &result))
	return result, errors.Join(errs...)
}

// A sweeper acts on the timers of one kind, at most batch of them in one transaction. fire
// finds out whether a timer is stale.
//
// A device may have tens of thousands of rows of which few are due. look finds those outside
// the writer, and returns a firing for them. A sweeper whose fire reads little has no look. A
// firing that finds that the device has changed since writes nothing and returns false. What
// is too much for one transaction sets the timer again, which is deleted before it fires.
type sweeper struct {
	kind  byte
	batch int
	fire  func(*Txn, timer, *delivery.SweepResult)
	look  func(*Txn, timer) firing // nil: fire reads little
}

// A firing carries out what is due.
type firing func(*Txn, *delivery.SweepResult) (fired bool)

// The order matters: what one of them ends, a later one can remove.
var sweepers = []sweeper{
	{timerDevice, sweepTimers, (*Txn).fireDevice, (*Txn).lookAtDevice},
	{timerTombstones, sweepTimers, (*Txn).fireTombstones, (*Txn).lookAtTombstones},
	{timerHold, sweepTimers, (*Txn).fireHold, nil},
	{timerEnded, sweepWelcomes, (*Txn).fireEnded, (*Txn).lookAtEnded},
	{timerForget, sweepWelcomes, (*Txn).fireForget, nil},
	{timerIdempotency, sweepTimers, (*Txn).fireIdempotency, nil},
	{timerToken, sweepTimers, (*Txn).fireToken, nil},
}

// sweepAll fires the timers of a kind that are due. On a full disk it goes on with fewer at a
// time, which need fewer pages. It drops a timer whose row cannot be read, so that the timers
// behind it are not blocked for ever.
func (s *Store) sweepAll(ctx context.Context, w sweeper, result *delivery.SweepResult) error {
	var dropped []error
	moved := 0 // devices changed between look and fire, so often one after the other
	for size := w.batch; ; {
		before := moved
		more, passed, err := s.sweepBatch(ctx, w, size, &moved, result)
		if moved == before || moved > sweepLooks {
			moved = 0
		}
		if passed > 0 {
			dropped = append(dropped, fmt.Errorf("%w: %d rows were passed over", ErrCorrupt, passed))
		}
		switch {
		case err == nil && !more:
			return errors.Join(dropped...)
		case err == nil:
		case cannotGoOn(ctx, err), size == 1 && errors.Is(err, delivery.ErrFull):
			return errors.Join(append(dropped, err)...)
		case errors.Is(err, delivery.ErrFull):
			size /= 2
		case size > 1:
			size = 1
		default:
			dropped = append(dropped, err)
			if err := s.dropTimer(ctx, w); err != nil {
				return errors.Join(append(dropped, err)...)
			}
			size = w.batch
		}
	}
}

func cannotGoOn(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, delivery.ErrClosed) || errors.Is(err, delivery.ErrOutcomeUnknown) || errors.Is(err, delivery.ErrUnavailable)
}

// sweepBatch fires at most size timers, fewer if they have much to do. It reports whether there
// may be more: what it has ended may be due for something else at once. It counts rows that it
// has skipped because they cannot be read, and counts in moved how often something has changed
// since it looked. After a few of those it looks in the writer.
func (s *Store) sweepBatch(ctx context.Context, w sweeper, size int, moved *int, result *delivery.SweepResult) (more bool, passed int, err error) {
	var swept delivery.SweepResult
	// A look outside the writer, so that a sweep with nothing to do takes
	// nobody's turn.
	var due []timer
	var firings []firing
	looked := 0 // rows that looking has passed over
	err = s.engine.View(ctx, func(t *Txn) error {
		if w.look == nil || *moved >= sweepLooks {
			more = len(t.dueTimers(w.kind, 1)) > 0
			return nil
		}
		due = t.dueTimers(w.kind, size)
		more = len(due) > 0
		t.aheadOfTimers(w.kind, due)
		before, unread := t.reads, t.passed
		for _, timer := range due {
			if t.reads-before > sweepReads {
				break
			}
			firings = append(firings, w.look(t, timer))
		}
		looked = t.passed - unread
		return nil
	})
	if err != nil || !more {
		return false, 0, err
	}
	changed := false
	err = s.run(ctx, func(t *Txn) error {
		swept, changed = delivery.SweepResult{}, false
		if len(firings) > 0 {
			t.aheadOfTimers(w.kind, due[:len(firings)])
		}
		before, unread := t.writes, t.passed
		for i, fire := range firings {
			if t.writes-before > sweepWrites {
				break
			}
			t.del(kindTimers, due[i].key)
			if !fire(t, &swept) {
				t.put(kindTimers, due[i].key, nil)
				changed = true
			}
		}
		if firings != nil {
			passed = looked + t.passed - unread
			return nil
		}
		due := t.dueTimers(w.kind, size)
		t.aheadOfTimers(w.kind, due)
		for _, timer := range due {
			if t.writes-before > sweepWrites {
				break
			}
			t.del(kindTimers, timer.key)
			w.fire(t, timer, &swept)
		}
		passed = t.passed - unread
		return nil
	})
	if err != nil {
		return more, 0, err
	}
	if changed {
		*moved++
	}
	result.Add(swept)
	return more, passed, nil
}

// dropTimer removes the first due timer of a kind.
func (s *Store) dropTimer(ctx context.Context, w sweeper) error {
	return s.run(ctx, func(t *Txn) error {
		for _, timer := range t.dueTimers(w.kind, 1) {
			t.del(kindTimers, timer.key)
		}
		return nil
	})
}

// noteTime makes an idle server store the time that has come, and soon after the clock was set
// back also that.
func (s *Store) noteTime(ctx context.Context) error {
	due := false
	err := s.engine.Peek(ctx, func(t *Txn) error {
		due = t.clock.Sure.Sub(t.seen) >= seenEvery || t.setBack()
		return nil
	})
	if err != nil || !due {
		return err
	}
	return s.run(ctx, func(t *Txn) error {
		t.writes++ // every commit writes the time
		return nil
	})
}

// fireDevice ends those KeyPackages and recipients of a device whose time has come.
func (t *Txn) fireDevice(timer timer, r *delivery.SweepResult) { t.lookAtDevice(timer)(t, r) }

// stillFires returns the firing for a timer of a device, which does nothing if the timer is
// stale or the device has changed.
func (t *Txn) stillFires(timer timer, d *device, of func(*device) *alarm, fire func(*Txn, *device, *delivery.SweepResult)) firing {
	looked := t.sure
	return func(t *Txn, r *delivery.SweepResult) bool {
		now := t.deviceByNumber(readNumber(timer.row))
		if now == nil || !of(now).set.Equal(timer.due) {
			return true // stale
		}
		if d == nil || fire == nil || now.changes != d.changes || !now.endedAt.Equal(d.endedAt) || t.sure.Before(looked) {
			return false
		}
		of(now).ring(timer.due)
		t.changed(now) // the alarm is set anew
		fire(t, now, r)
		return true
	}
}

func (d *device) liveAlarm() *alarm      { return &d.live }
func (d *device) tombstoneAlarm() *alarm { return &d.tombstones }

func (t *Txn) lookAtDevice(timer timer) firing {
	d := t.deviceByNumber(readNumber(timer.row))
	if d == nil || !d.live.set.Equal(timer.due) {
		return t.stillFires(timer, d, (*device).liveAlarm, nil)
	}
	if !d.endedAt.IsZero() {
		return t.stillFires(timer, d, (*device).liveAlarm, (*Txn).sweepGone)
	}
	var keyPackages []keyPackage
	var recipients []recipient
	var next alarm
	// most bounds what is due; the rest is swept in another transaction.
	most := func(due time.Time) bool {
		if due.IsZero() || due.After(t.sure) {
			next.at(due)
			return false
		}
		if len(keyPackages)+len(recipients) >= sweepWrites {
			next.at(t.sure)
			return false
		}
		return true
	}
	for _, k := range t.liveKeyPackages(d) {
		if most(k.nextDue(t.limits)) {
			keyPackages = append(keyPackages, *k)
		}
	}
	for _, kind := range openKinds {
		for _, m := range t.recipients(d, kind) {
			if most(m.nextDue()) {
				recipients = append(recipients, *m)
			}
		}
	}
	return t.stillFires(timer, d, (*device).liveAlarm, func(t *Txn, d *device, r *delivery.SweepResult) {
		d.live.at(next.due)
		for _, k := range keyPackages {
			t.ageKeyPackage(d, &k, r)
		}
		for _, m := range recipients {
			t.ageRecipient(d, &m, r)
		}
	})
}

// sweepGone writes what has ended because its device was removed: first Welcomes, then
// KeyPackages. It writes rows under other keys, so the next sweep begins with the rest.
func (t *Txn) sweepGone(d *device, r *delivery.SweepResult) {
	before := t.writes
	enough := func() bool {
		if t.writes-before > sweepWrites {
			d.live.at(atOnce)
			return true
		}
		return false
	}
	for _, kind := range openKinds {
		for _, key := range t.keys(kindDevices, d.key(kind), sweepWrites) {
			if enough() {
				return
			}
			t.sweepRecipient(d, decodeRecipient(readRecipientKey(key[numberBytes+1:]), t.get(kindDevices, key)), r)
		}
	}
	live := t.keys(kindDevices, d.key(rowKeyPackage), sweepWrites)
	for key := range t.scan(kindDevices, numberKey(d.number), d.key(rowShelf)) {
		if len(live) >= sweepWrites || key[numberBytes]&^byte(lastShelf) != rowShelf {
			break
		}
		live = append(live, cloneBytes(key))
	}
	for _, key := range live {
		if enough() {
			return
		}
		k := keyPackageAt(key, t.get(kindDevices, key))
		if d.end(k); !k.rec.State.Ended() {
			k.rec.End(delivery.Expired, k.rec.MatchableUntil)
			r.Expired++
		}
		t.saveKeyPackage(d, k)
	}
	if len(live) >= sweepWrites {
		d.live.at(atOnce)
		return
	}
	t.dropHints(d)
	t.purge(d)
}

func (t *Txn) sweepRecipient(d *device, m *recipient, r *delivery.SweepResult) {
	if d.endRecipient(m); m.rec.State == delivery.WelcomeExpired {
		r.ExpiredUnclaimed++
	}
	t.saveRecipient(d, m)
	t.settled(m)
	k := t.written(d, m.kp)
	if k == nil {
		panic(ErrCorrupt)
	}
	if k.rec.Open--; k.rec.State == delivery.Matched {
		k.rec.End(delivery.Withdrawn, d.endedAt)
	}
	if k.rec.State.Ended() && k.rec.Open == 0 {
		k.closed = d.endedAt
	}
	t.saveKeyPackage(d, k)
}

// written returns a KeyPackage of a removed device in the state that its row has.
func (t *Txn) written(d *device, key keyPackageKey) *keyPackage {
	raw := t.raw
	t.raw = true
	defer func() { t.raw = raw }()
	return t.keyPackage(d, key)
}

func (t *Txn) ageKeyPackage(d *device, k *keyPackage, r *delivery.SweepResult) {
	switch state := k.rec.StateAt(t.sure); {
	case state == delivery.Expired && k.rec.State != delivery.Expired:
		k.rec.End(delivery.Expired, k.rec.MatchableUntil)
		r.Expired++
	case state == delivery.Retired && k.rec.State == delivery.Available:
		k.rec.State = delivery.Retired
		r.Retired++
	case state == delivery.Available:
		k.rec.Early = false // its lifetime has begun
	case state == delivery.Reserved:
		k.rec.Abandoned = true
		r.Abandoned++
	}
	t.saveKeyPackage(d, k)
}

func (t *Txn) ageRecipient(d *device, m *recipient, r *delivery.SweepResult) {
	switch m.rec.StateAt(t.sure) {
	case delivery.WelcomeExpired:
		m.rec.End(delivery.WelcomeExpired, m.rec.Until)
		r.ExpiredUnclaimed++
	case delivery.Lapsed:
		m.rec.End(delivery.Lapsed, m.rec.Until)
		r.Lapsed++
	default:
		d.live.at(m.nextDue())
		return
	}
	t.closeRecipient(d, m)
}

// fireTombstones drops the bytes of a device's tombstones, and then the tombstones.
func (t *Txn) fireTombstones(timer timer, r *delivery.SweepResult) { t.lookAtTombstones(timer)(t, r) }

func (t *Txn) lookAtTombstones(timer timer) firing {
	d := t.deviceByNumber(readNumber(timer.row))
	if d == nil || !d.tombstones.set.Equal(timer.due) {
		return t.stillFires(timer, d, (*device).tombstoneAlarm, nil)
	}
	var due []keyPackage
	var next alarm
	for key, row := range t.scan(kindDevices, d.key(rowTombstone), nil) {
		k := decodeKeyPackage(rowTombstone, readNumber(key[numberBytes+1:]), row)
		if at := k.nextDue(t.limits); at.After(t.sure) {
			next.at(at)
			continue
		}
		if len(due) == sweepTombstones {
			next.at(t.sure) // the rest in another transaction
			break
		}
		due = append(due, *k)
	}
	return t.stillFires(timer, d, (*device).tombstoneAlarm, func(t *Txn, d *device, r *delivery.SweepResult) {
		d.tombstones.at(next.due)
		t.endTombstones(d, due, r)
	})
}

func (t *Txn) endTombstones(d *device, due []keyPackage, r *delivery.SweepResult) {
	var forgotten []uint64
	for _, k := range due {
		if k.payload {
			t.del(kindKeyPackages, numberKey(k.number))
			k.payload = false
			t.saveKeyPackage(d, &k)
			continue
		}
		t.forgetKeyPackage(d, &k)
		forgotten = append(forgotten, k.number)
	}
	if len(forgotten) > 0 {
		t.forgetInitKeys(d, forgotten)
		r.ForgottenKeyPackage += len(forgotten)
	}
	t.purge(d)
}

// forgetKeyPackage removes a tombstone.
func (t *Txn) forgetKeyPackage(d *device, k *keyPackage) {
	t.findByReservation(d, k, [2]delivery.ReservationID{})
	t.del(kindDevices, d.rowOf(k))
	t.del(kindRefs, []byte(k.rec.Ref[:refPrefix]))
	t.counted.keyPackages[k.was]--
}

func (t *Txn) fireHold(timer timer, _ *delivery.SweepResult) {
	w := t.welcome(readNumber(timer.row))
	if w == nil || !w.held() || w.holdCounted || !w.endedAt.IsZero() {
		return
	}
	w.holdCounted = true
	t.counted.holdsOver++
	t.saveWelcome(w)
}

// fireEnded removes a Welcome's payload when its last recipient has ended. It keeps the header
// and the refs for the poster.
func (t *Txn) fireEnded(timer timer, r *delivery.SweepResult) { t.lookAtEnded(timer)(t, r) }

func (t *Txn) lookAtEnded(timer timer) firing {
	number := readNumber(timer.row)
	var secrets []recipientKey
	t.eachPostedRecipient(number, func(key recipientKey, r *postedRecipient) bool {
		if len(r.secret) > 0 || r.damaged {
			secrets = append(secrets, key)
		}
		return len(secrets) < sweepWrites
	})
	pieces := append(t.keys(kindWelcomes, partKey(number, partGroupInfo), sweepWrites), t.keys(kindWelcomes, partKey(number, partTree), sweepWrites)...)
	pieces = pieces[:min(len(pieces), sweepWrites-len(secrets))]
	return func(t *Txn, _ *delivery.SweepResult) bool {
		w := t.welcome(number)
		switch {
		case w == nil:
			t.forgetLost(number)
			return true
		case w.endedAt.IsZero():
			return true
		}
		w.groupInfo, w.apart, w.infoSize, w.noContext = nil, false, 0, w.noContext || w.damaged
		t.putHeader(w)
		for _, key := range secrets {
			if r := t.postedRecipient(key); !r.lost {
				r.secret, r.damaged = nil, false
				t.putPostedRecipient(key, r)
			}
		}
		for _, key := range pieces {
			t.del(kindWelcomes, key)
		}
		if len(secrets)+len(pieces) == sweepWrites { // there may be more
			t.put(kindTimers, timer.key, nil)
		} else {
			t.setTimer(timerForget, w.endedAt.Add(t.limits.OutcomesKept), numberKey(number))
		}
		return true
	}
}

// fireForget removes a Welcome and its outcomes.
func (t *Txn) fireForget(timer timer, r *delivery.SweepResult) {
	number := readNumber(timer.row)
	w := t.header(number)
	if w == nil {
		t.forgetLost(number)
		return
	}
	t.forgetID(w.id[:welcomeIDPrefix], number)
	if t.forgetSome(number) {
		r.ForgottenWelcomes++
	}
}

// forgetID has a Welcome not be found any more. Another one may have its id since.
func (t *Txn) forgetID(prefix []byte, number uint64) {
	if v := t.get(kindWelcomeIDs, prefix); v != nil && readNumber(v) == number {
		t.del(kindWelcomeIDs, prefix)
	}
}

// forgetLost removes a Welcome that cannot be read when it has ended. Its poster could not read
// it either.
func (t *Txn) forgetLost(number uint64) {
	if w := t.postedState(number); w == nil || w.open > 0 {
		return
	}
	// The start of its row may be its id, by which it is found.
	if row := t.get(kindWelcomes, partKey(number, partHeader)); len(row) > welcomeIDPrefix {
		t.forgetID(cloneBytes(row[1:1+welcomeIDPrefix]), number)
	}
	t.forgetSome(number)
}

// forgetSome removes rows of a Welcome that is not found by its id any more, and reports
// whether these were the last. The rest is due at once, by which isForgotten knows the Welcome.
func (t *Txn) forgetSome(number uint64) (all bool) {
	if all = t.forgetWelcome(number, sweepWrites/2); !all {
		t.setTimer(timerForget, atOnce, numberKey(number))
	}
	return all
}

// isForgotten reports whether a Welcome has lost rows because it is being forgotten.
func (t *Txn) isForgotten(number uint64) bool {
	return t.get(kindTimers, timerKey(timerForget, atOnce, numberKey(number))) != nil
}

// forgetWelcome removes rows of a Welcome, and at last its header, but not the row of its id. It
// returns false after most recipients or pieces.
func (t *Txn) forgetWelcome(number uint64, most int) (all bool) {
	for _, part := range []byte{partRecipient, partTree, partGroupInfo} {
		keys := t.keys(kindWelcomes, partKey(number, part), most)
		for _, key := range keys {
			if part == partRecipient {
				t.forgetRecipient(number, key)
			}
			t.del(kindWelcomes, key)
		}
		if len(keys) == most {
			return false
		}
	}
	for _, key := range t.keys(kindWelcomes, numberKey(number), 0) {
		t.del(kindWelcomes, key)
	}
	t.del(kindPosted, numberKey(number))
	return true
}

// forgetRecipient removes what a device has of the recipient whose row in the Welcome has that
// key, if either can be read.
func (t *Txn) forgetRecipient(number uint64, key []byte) {
	if len(key) != numberBytes+1+indexBytes {
		return
	}
	r := readPostedRecipient(key, t.get(kindWelcomes, key), t.summed(number))
	if r.lost || r.verdict != "" {
		return
	}
	at := recipientPlace{r.device, readRecipientKey(append(numberKey(number), key[numberBytes+1:]...))}
	if d, m := t.recipientAt(at); m != nil {
		t.del(kindDevices, d.recipientRow(recipientKind(m.was), m.recipientKey))
		t.counted.welcomes[m.was]--
		t.purge(d)
	}
}

func (t *Txn) fireIdempotency(timer timer, _ *delivery.SweepResult) {
	row := t.get(kindIdempotency, timer.row)
	if row == nil {
		return
	}
	if d := decoder(row); d.time().Equal(timer.due) {
		t.del(kindIdempotency, timer.row)
	}
}
