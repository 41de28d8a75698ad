package bolt

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
	// sweepTombstones is how many of a device are put away at a time.
	sweepTombstones = 2000
	// seenEvery is how often an idle server notes the time in the file.
	seenEvery = time.Hour
)

// Sweep implements delivery.Store. What cannot be swept does not keep the rest
// from it; the error then says what could not.
func (s *Store) Sweep(ctx context.Context) (result delivery.SweepResult, err error) {
	if err := s.checkPlace(); err != nil {
		return result, err
	}
	if err := s.guard.Look().Doubt(); err != nil {
		return result, err
	}
	errs := []error{s.noteTime(ctx)}
	for _, w := range sweepers {
		errs = append(errs, s.sweepAll(ctx, w, &result))
	}
	errs = append(errs, s.sweepIdle(ctx, &result))
	errs = append(errs, s.revoked.shorten(s.guard.Look().Sure))
	return result, errors.Join(errs...)
}

// A sweeper acts on the timers of one kind, at most batch of them in one
// transaction. fire finds out by itself whether a timer is stale.
type sweeper struct {
	kind  byte
	batch int
	fire  func(*txn, timer, *delivery.SweepResult)
}

// In this order, so that what one of them ends the next can put away.
var sweepers = []sweeper{
	{timerDevice, sweepTimers, (*txn).fireDevice},
	{timerTombstones, sweepTimers, (*txn).fireTombstones},
	{timerHold, sweepTimers, (*txn).fireHold},
	{timerEnded, sweepWelcomes, (*txn).fireEnded},
	{timerForget, sweepWelcomes, (*txn).fireForget},
	{timerIdempotency, sweepTimers, (*txn).fireIdempotency},
	{timerToken, sweepTimers, (*txn).fireToken},
}

// sweepAll fires the timers of a kind that are due. On a full disk it goes on
// with fewer at a time, which need fewer pages; a timer whose row cannot be read
// is dropped, so that it does not stand before the others for ever.
func (s *Store) sweepAll(ctx context.Context, w sweeper, result *delivery.SweepResult) error {
	var dropped []error
	for size := w.batch; ; {
		more, passed, err := s.sweepBatch(ctx, w, size, result)
		if passed > 0 {
			dropped = append(dropped, fmt.Errorf("%w: %d rows were passed over", errCorrupt, passed))
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

// sweepBatch fires at most size timers, fewer if they have much to do, and
// reports whether there may be more: what one has ended may be due again. It counts the
// rows that it has passed over because they cannot be read.
func (s *Store) sweepBatch(ctx context.Context, w sweeper, size int, result *delivery.SweepResult) (more bool, passed int, err error) {
	var swept delivery.SweepResult
	// A look outside the writer, so that a sweep with nothing to do takes
	// nobody's turn.
	err = s.view(ctx, func(t *txn) error {
		more = len(t.dueTimers(w.kind, 1)) > 0
		return nil
	})
	if err != nil || !more {
		return false, 0, err
	}
	err = s.writer.do(ctx, 0, func(t *txn) error {
		swept = delivery.SweepResult{}
		before, unread := t.writes, t.passed
		for _, timer := range t.dueTimers(w.kind, size) {
			if t.writes-before > sweepWrites {
				break
			}
			t.del(bucketTimers, timer.key)
			w.fire(t, timer, &swept)
		}
		passed = t.passed - unread
		return nil
	})
	if err != nil {
		return more, 0, err
	}
	addSweep(result, swept)
	return more, passed, nil
}

// dropTimer removes the first timer of a kind that is due.
func (s *Store) dropTimer(ctx context.Context, w sweeper) error {
	return s.writer.do(ctx, 0, func(t *txn) error {
		for _, timer := range t.dueTimers(w.kind, 1) {
			t.del(bucketTimers, timer.key)
		}
		return nil
	})
}

func addSweep(sum *delivery.SweepResult, r delivery.SweepResult) {
	sum.Retired += r.Retired
	sum.Expired += r.Expired
	sum.Abandoned += r.Abandoned
	sum.ExpiredUnclaimed += r.ExpiredUnclaimed
	sum.Lapsed += r.Lapsed
	sum.ForgottenWelcomes += r.ForgottenWelcomes
	sum.ForgottenKeyPackage += r.ForgottenKeyPackage
	sum.ForgottenDevices += r.ForgottenDevices
}

// noteTime has an idle server keep the time that has come, and soon if it was set back.
func (s *Store) noteTime(ctx context.Context) error {
	due := s.guard.Look().Sure.Sub(s.state.Load().seen) >= seenEvery
	_, err := s.read(ctx, func(t *txn) error { due = due || t.setBack(); return nil })
	if err != nil || !due {
		return err
	}
	return s.writer.do(ctx, 0, func(t *txn) error {
		t.writes++ // the state row, written by flush
		return nil
	})
}

// fireDevice ends what a device has on the shelf, in use and in the mail and
// whose time has come.
func (t *txn) fireDevice(timer timer, r *delivery.SweepResult) {
	d := t.deviceByNumber(readNumber(timer.row))
	if d == nil || !d.live.ring(timer.due) {
		return
	}
	t.changed(d) // the alarm is set anew
	if !d.endedAt.IsZero() {
		t.sweepGone(d, r)
		return
	}
	before := t.writes
	for _, k := range t.liveKeyPackages(d) {
		if t.writes-before > sweepWrites {
			d.live.at(t.sure) // the rest in another transaction
			return
		}
		if due := k.nextDue(t.limits); due.IsZero() || due.After(t.sure) {
			d.live.at(due)
			continue
		}
		t.ageKeyPackage(d, k, r)
	}
	for _, kind := range openKinds {
		for _, m := range t.mails(d, kind) {
			if t.writes-before > sweepWrites {
				d.live.at(t.sure)
				return
			}
			if due := m.nextDue(); due.IsZero() || due.After(t.sure) {
				d.live.at(due)
				continue
			}
			t.ageMail(d, m, r)
		}
	}
}

// sweepGone writes what has ended with a device that was removed: its Welcomes, and then
// its KeyPackages. What is written lies elsewhere, so that the next sweep begins with
// the rest.
func (t *txn) sweepGone(d *device, r *delivery.SweepResult) {
	before := t.writes
	enough := func() bool {
		if t.writes-before > sweepWrites {
			d.live.at(atOnce)
			return true
		}
		return false
	}
	for _, kind := range openKinds {
		for _, key := range t.keys(bucketDevices, d.key(kind), sweepWrites) {
			if enough() {
				return
			}
			t.endMailOf(d, decodeMail(readMailKey(key[numberBytes+1:]), t.get(bucketDevices, key)), r)
		}
	}
	live := t.keys(bucketDevices, d.key(rowKeyPackage), sweepWrites)
	for key := range t.scan(bucketDevices, numberKey(d.number), d.key(rowShelf)) {
		if len(live) >= sweepWrites || key[numberBytes]&^byte(lastShelf) != rowShelf {
			break
		}
		live = append(live, cloneBytes(key))
	}
	for _, key := range live {
		if enough() {
			return
		}
		k := keyPackageAt(key, t.get(bucketDevices, key))
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
	t.purge(d)
}

func (t *txn) endMailOf(d *device, m *mail, r *delivery.SweepResult) {
	if d.endMail(m); m.rec.State == delivery.WelcomeExpired {
		r.ExpiredUnclaimed++
	}
	t.saveMail(d, m)
	t.settled(m)
	k := t.written(d, m.kp)
	if k == nil {
		panic(errCorrupt)
	}
	if k.rec.Open--; k.rec.State == delivery.Matched {
		k.rec.End(delivery.Withdrawn, d.endedAt)
	}
	if k.rec.State.Ended() && k.rec.Open == 0 {
		k.closed = d.endedAt
	}
	t.saveKeyPackage(d, k)
}

// written is a KeyPackage of a device that was removed, as its row says.
func (t *txn) written(d *device, key keyPackageKey) *keyPackage {
	raw := t.raw
	t.raw = true
	defer func() { t.raw = raw }()
	return t.keyPackage(d, key)
}

func (t *txn) ageKeyPackage(d *device, k *keyPackage, r *delivery.SweepResult) {
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

func (t *txn) ageMail(d *device, m *mail, r *delivery.SweepResult) {
	switch m.rec.StateAt(t.sure) {
	case delivery.WelcomeExpired:
		m.rec.End(delivery.WelcomeExpired, m.rec.Until)
		r.ExpiredUnclaimed++
	case delivery.Lapsed:
		m.rec.End(delivery.Lapsed, m.rec.Until)
		r.Lapsed++
	default:
		return
	}
	t.closeMail(d, m)
}

// fireTombstones drops the bytes of a device's tombstones, and then those.
func (t *txn) fireTombstones(timer timer, r *delivery.SweepResult) {
	d := t.deviceByNumber(readNumber(timer.row))
	if d == nil || !d.tombstones.ring(timer.due) {
		return
	}
	t.changed(d)
	var due []*keyPackage
	for key, row := range t.scan(bucketDevices, d.key(rowTombstone), nil) {
		k := decodeKeyPackage(rowTombstone, readNumber(key[numberBytes+1:]), row)
		if at := k.nextDue(t.limits); at.After(t.sure) {
			d.tombstones.at(at)
			continue
		}
		if len(due) == sweepTombstones {
			d.tombstones.at(t.sure) // the rest in another transaction
			break
		}
		due = append(due, k)
	}
	var forgotten []uint64
	for _, k := range due {
		if k.payload {
			t.del(bucketKeyPackages, numberKey(k.number))
			k.payload = false
			t.saveKeyPackage(d, k)
			continue
		}
		t.forgetKeyPackage(d, k)
		forgotten = append(forgotten, k.number)
	}
	if len(forgotten) > 0 {
		t.forgetInitKeys(d, forgotten)
		r.ForgottenKeyPackage += len(forgotten)
	}
	t.purge(d)
}

// forgetKeyPackage removes a tombstone.
func (t *txn) forgetKeyPackage(d *device, k *keyPackage) {
	t.findByReservation(d, k, [2]delivery.ReservationID{})
	t.del(bucketDevices, d.rowOf(k))
	t.del(bucketRefs, []byte(k.rec.Ref[:refPrefix]))
	t.state.keyPackages[k.was]--
}

func (t *txn) fireHold(timer timer, _ *delivery.SweepResult) {
	w := t.welcome(readNumber(timer.row))
	if w == nil || !w.held() || w.holdCounted || !w.endedAt.IsZero() {
		return
	}
	w.holdCounted = true
	t.state.holdsOver++
	t.saveWelcome(w)
}

// fireEnded puts a Welcome's payload away once its last recipient has ended:
// the header and the refs are kept for its poster.
func (t *txn) fireEnded(timer timer, _ *delivery.SweepResult) {
	number := readNumber(timer.row)
	w := t.welcome(number)
	if w == nil {
		t.forgetLost(number)
		return
	}
	if w.endedAt.IsZero() {
		return
	}
	w.groupInfo, w.apart, w.infoSize = nil, false, 0
	t.putHeader(w)
	t.delPayload(w.number, partGroupInfo)
	t.delPayload(w.number, partTree)
	matched := make(map[mailKey]*recipient)
	t.eachRecipient(number, func(key mailKey, r *recipient) bool {
		if len(r.secret) > 0 || r.damaged {
			r.secret, r.damaged, matched[key] = nil, false, r
		}
		return true
	})
	for key, r := range matched {
		t.putRecipient(key, r)
	}
	t.setTimer(timerForget, w.endedAt.Add(t.limits.OutcomesKept), numberKey(w.number))
}

// fireForget removes a Welcome and its outcomes.
func (t *txn) fireForget(timer timer, r *delivery.SweepResult) {
	number := readNumber(timer.row)
	w := t.header(number)
	if w == nil {
		t.forgetLost(number)
		return
	}
	t.del(bucketWelcomeIDs, w.id[:welcomeIDPrefix])
	t.forgetWelcome(number)
	r.ForgottenWelcomes++
}

// forgetLost forgets a Welcome that cannot be read, once it has ended: its poster cannot
// ask for it.
func (t *txn) forgetLost(number uint64) {
	if w := t.fate(number); w == nil || w.open > 0 {
		return
	}
	// The start of its row may be its id, by which it is found.
	if row := t.get(bucketWelcomes, partKey(number, partHeader)); len(row) > welcomeIDPrefix {
		id := cloneBytes(row[1 : 1+welcomeIDPrefix])
		if v := t.get(bucketWelcomeIDs, id); v != nil && readNumber(v) == number {
			t.del(bucketWelcomeIDs, id)
		}
	}
	t.forgetWelcome(number)
}

// forgetWelcome removes all of a Welcome but its id.
func (t *txn) forgetWelcome(number uint64) {
	t.eachMail(number, func(d *device, m *mail) {
		t.del(bucketDevices, d.mailRow(mailKind(m.was), m.mailKey))
		t.state.welcomes[m.was]--
		t.purge(d)
	})
	for _, key := range t.keys(bucketWelcomes, numberKey(number), 0) {
		t.del(bucketWelcomes, key)
	}
	t.del(bucketPosted, numberKey(number))
}

func (t *txn) fireIdempotency(timer timer, _ *delivery.SweepResult) {
	row := t.get(bucketIdempotency, timer.row)
	if row == nil {
		return
	}
	if d := decoder(row); d.time().Equal(timer.due) {
		t.del(bucketIdempotency, timer.row)
	}
}
