package bolt

import (
	"context"
	"errors"
	"time"

	"welcomed/delivery"
)

const (
	// These bound how long a sweep keeps the writer from the others. A Welcome
	// may have thousands of recipients.
	sweepRows     = 500
	sweepWelcomes = 10
	// seenEvery is how often an idle server notes the time in the file.
	seenEvery = time.Hour
)

// Sweep implements delivery.Store. What cannot be swept does not keep the rest
// from it; the error then says what could not.
func (s *Store) Sweep(ctx context.Context) (result delivery.SweepResult, err error) {
	if !s.guard.Look().Sweep {
		return result, delivery.ErrClock
	}
	errs := []error{s.noteTime(ctx)}
	for _, w := range sweepers {
		errs = append(errs, s.sweepAll(ctx, w, &result))
	}
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
	{timerKeyPackage, sweepRows, (*txn).fireKeyPackage},
	{timerPending, sweepRows, (*txn).fireMail},
	{timerDelivered, sweepRows, (*txn).fireMail},
	{timerHold, sweepRows, (*txn).fireHold},
	{timerSettled, sweepWelcomes, (*txn).fireSettled},
	{timerForget, sweepWelcomes, (*txn).fireForget},
	{timerIdempotency, sweepRows, (*txn).fireIdempotency},
}

// sweepAll fires the timers of a kind that are due. On a full disk it goes on
// with fewer at a time, which need fewer pages; a timer whose row cannot be read
// is dropped, so that it does not stand before the others for ever.
func (s *Store) sweepAll(ctx context.Context, w sweeper, result *delivery.SweepResult) error {
	var dropped []error
	for size := w.batch; ; {
		n, err := s.sweepBatch(ctx, w, size, result)
		switch {
		case err == nil && n < size:
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
	return ctx.Err() != nil || errors.Is(err, delivery.ErrClosed) || errors.Is(err, delivery.ErrOutcomeUnknown)
}

// sweepBatch fires at most size timers and returns how many it did.
func (s *Store) sweepBatch(ctx context.Context, w sweeper, size int, result *delivery.SweepResult) (n int, err error) {
	var swept delivery.SweepResult
	// A look outside the writer, so that a sweep with nothing to do takes
	// nobody's turn.
	err = s.view(ctx, func(t *txn) error {
		n = len(t.dueTimers(w.kind, 1))
		return nil
	})
	if err != nil || n == 0 {
		return 0, err
	}
	err = s.writer.do(ctx, 0, func(t *txn) error {
		swept = delivery.SweepResult{}
		due := t.dueTimers(w.kind, size)
		n = len(due)
		for _, timer := range due {
			t.del(bucketTimers, timer.key)
			w.fire(t, timer, &swept)
		}
		return nil
	})
	if err == nil {
		addSweep(result, swept)
	}
	return n, err
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
}

// noteTime has an idle server keep the latest time seen.
func (s *Store) noteTime(ctx context.Context) error {
	if s.guard.Look().Seen.Sub(s.state.Load().seen) < seenEvery {
		return nil
	}
	return s.writer.do(ctx, 0, func(t *txn) error {
		t.writes++ // the state row, written by flush
		return nil
	})
}

func (t *txn) fireKeyPackage(timer timer, r *delivery.SweepResult) {
	d := t.deviceByNumber(readU64(timer.row))
	if d == nil {
		return
	}
	k := t.keyPackage(d, readU64(timer.row[8:]))
	if k == nil || !k.due.Equal(timer.due) {
		return
	}
	k.due = time.Time{}
	switch state := k.rec.StateAt(t.now); {
	case state == delivery.Expired && k.rec.State != delivery.Expired:
		k.rec.End(delivery.Expired, k.rec.MatchableUntil)
		r.Expired++
	case state == delivery.Retired && k.rec.State == delivery.Available:
		k.rec.State = delivery.Retired
		r.Retired++
	case state == delivery.Reserved:
		k.rec.Abandoned = true
		r.Abandoned++
	case k.row == rowTombstone && k.payload:
		t.del(bucketKeyPackages, u64(k.number))
		k.payload = false
	case k.row == rowTombstone:
		t.forgetKeyPackage(d, k)
		r.ForgottenKeyPackage++
		return
	}
	t.saveKeyPackage(d, k)
}

// forgetKeyPackage removes a tombstone.
func (t *txn) forgetKeyPackage(d *device, k *keyPackage) {
	t.del(bucketDevices, d.key(k.row, u64(k.number)))
	t.del(bucketDevices, d.initKey(k.init))
	t.del(bucketRefs, []byte(k.rec.Ref[:refPrefix]))
	t.state.keyPackages[k.was]--
	t.purge(d)
}

func (t *txn) fireMail(timer timer, r *delivery.SweepResult) {
	d := t.deviceByNumber(readU64(timer.row))
	if d == nil {
		return
	}
	m := t.mail(d, readMailKey(timer.row[8:]))
	if m == nil || !m.due.Equal(timer.due) {
		return
	}
	m.due = time.Time{}
	switch m.rec.StateAt(t.now) {
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

func (t *txn) fireHold(timer timer, _ *delivery.SweepResult) {
	w := t.welcome(readU64(timer.row))
	if w == nil || !w.held() || w.holdCounted || !w.endedAt.IsZero() {
		return
	}
	w.holdCounted = true
	t.state.holdsOver++
	t.saveWelcome(w)
}

// fireSettled puts a Welcome's payload away once its last recipient has ended.
func (t *txn) fireSettled(timer timer, _ *delivery.SweepResult) {
	w := t.welcome(readU64(timer.row))
	if w == nil || !w.endedAt.IsZero() {
		return
	}
	open, last := false, w.postedAt
	t.eachMail(w, func(_ *device, m *mail) {
		open = open || !m.rec.State.Ended()
		if m.rec.EndedAt.After(last) {
			last = m.rec.EndedAt
		}
	})
	if open {
		return
	}
	w.endedAt = last
	t.uncountHold(w)
	t.saveWelcome(w)
	t.del(bucketPayloads, payloadKey(w.number, partGroupInfo))
	t.del(bucketPayloads, payloadKey(w.number, partTree))
	t.setTimer(timerForget, last.Add(t.limits.OutcomesKept), u64(w.number))
}

// fireForget removes a Welcome and its outcomes.
func (t *txn) fireForget(timer timer, r *delivery.SweepResult) {
	w := t.welcome(readU64(timer.row))
	if w == nil {
		return
	}
	t.eachMail(w, func(d *device, m *mail) {
		t.del(bucketDevices, d.key(rowMail, m.bytes()))
		t.state.welcomes[m.rec.State]--
		t.purge(d)
	})
	for i := range w.recipients {
		t.del(bucketRecipients, mailKey{w.number, uint32(i)}.bytes())
	}
	t.del(bucketWelcomeIDs, w.id[:welcomeIDPrefix])
	t.del(bucketWelcomes, u64(w.number))
	r.ForgottenWelcomes++
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
