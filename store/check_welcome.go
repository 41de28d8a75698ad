package store

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// timersOfWelcomes reads which Welcomes have a timer. It does not check when they are due,
// because the limits of the server decided that.
func (c *checker) timersOfWelcomes() error {
	for _, kind := range []byte{timerHold, timerEnded, timerForget} {
		for key := range c.scan(kindTimers, []byte{kind}, nil) {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			if len(key) == 1+2*numberBytes {
				c.waiting[kind] = append(c.waiting[kind], readNumber(key[1+numberBytes:]))
			}
		}
		slices.Sort(c.waiting[kind])
	}
	return nil
}

func (c *checker) waits(kind byte, number uint64) bool {
	_, ok := slices.BinarySearch(c.waiting[kind], number)
	return ok
}

// welcomeHeader checks that a Welcome is found by its id, and reports whether its header is
// there.
func (c *checker) welcomeHeader(number uint64) bool {
	w := c.header(number)
	if w == nil {
		return false
	}
	c.numbered(number)
	if c.isForgotten(number) {
		return true
	}
	if v := c.get(kindWelcomeIDs, w.id[:welcomeIDPrefix]); v == nil || readNumber(v) != number {
		if v != nil {
			if other := c.header(readNumber(v)); other != nil && other.id == w.id {
				c.wrong("Welcome %s is there twice", w.id)
				return true
			}
		}
		c.repairable(putRow(kindWelcomeIDs, w.id[:welcomeIDPrefix], numberKey(number)), "Welcome %s is not found by its id", w.id)
	}
	if c.get(kindPosted, numberKey(number)) == nil {
		c.wrong("what has become of Welcome %s is missing", w.id)
	}
	return true
}

// posted checks the state of a Welcome against its recipients.
func (c *checker) posted(number uint64) {
	c.numbered(number)
	w := c.header(number)
	if w == nil {
		c.damaged(func(t *Txn) { t.endLost(number) }, "Welcome number %d is missing or cannot be read, and what has become of it is there", number)
		return
	}
	of := c.postedState(number)
	if of == nil {
		panic(ErrCorrupt)
	}
	w.postedState = of.postedState
	if w.holdCounted {
		c.counted.holdsOver++
	}
	if c.isForgotten(number) {
		return // the next sweep removes the rest
	}
	n, open, lost, unread, claimable := 0, 0, 0, 0, false
	var lastEnd time.Time
	c.eachPostedRecipient(number, func(key recipientKey, r *postedRecipient) bool {
		if n++; r.lost {
			unread++
		}
		if r.lost || r.verdict != "" {
			return true
		}
		d := c.deviceByNumber(r.device)
		c.devices = nil
		var m *recipient
		if d != nil {
			m = c.recipient(d, key)
		}
		switch {
		case m == nil:
			lost++
		case !m.rec.State.Ended():
			open++
			claimable = claimable || d.endedAt.IsZero() // else a sweep ends it
		case m.rec.EndedAt.After(lastEnd):
			lastEnd = m.rec.EndedAt
		}
		return true
	})
	if n != w.recipients {
		c.wrong("Welcome %s has %d recipients, and %d are there", w.id, w.recipients, n)
	}
	if unread > 0 { // by the device
		c.wrong("%d recipients of Welcome %s cannot be read", unread, w.id)
		return
	}
	if lost > 0 {
		c.wrong("the state of %d recipients of Welcome %s is missing", lost, w.id)
		return
	}
	if open != w.open || (open == 0) == w.endedAt.IsZero() {
		c.repairable(func(t *Txn) { t.setPostedState(number, open, lastEnd) }, "of Welcome %s %d recipients have not ended, and it says %d", w.id, open, w.open)
		return
	}
	c.overdueHold(w)
	if open == 0 {
		if !c.waits(timerEnded, number) && !c.waits(timerForget, number) {
			c.repairable(putRow(kindTimers, timerKey(timerEnded, time.Time{}, numberKey(number)), nil), "Welcome %s has ended and no timer: it would never be forgotten", w.id)
		}
		return
	}
	if claimable {
		c.parts(w)
	}
}

func (c *checker) overdueHold(w *welcome) {
	number := w.number
	if w.holdCounted && (!w.held() || w.open == 0) {
		c.repairable(func(t *Txn) {
			w := t.postedState(number)
			w.holdCounted = false
			t.saveWelcome(w)
		}, "Welcome %s is counted as an overdue hold, and is not held", w.id)
	}
	if w.held() && w.open > 0 && !w.holdCounted && !c.waits(timerHold, number) {
		due := w.postedAt.Add(c.limits.HoldOverdue)
		c.repairable(putRow(kindTimers, timerKey(timerHold, due, numberKey(number)), nil), "Welcome %s is held and has no timer: it would never be overdue", w.id)
	}
}

// parts checks that a Welcome that a device may still claim is complete and is what was posted.
// A repair ends a damaged one, as a claim does.
func (c *checker) parts(w *welcome) {
	number := w.number
	for _, f := range c.faultsOf(w) {
		c.damaged(func(t *Txn) {
			for _, p := range t.matchedPlaces(number) {
				if f.shared || p.key == f.of {
					t.repairRecipient(p)
				}
			}
		}, "%v", f.error)
	}
}

// A fault is a damaged part of a Welcome.
type fault struct {
	error
	shared bool         // all recipients have it in common
	of     recipientKey // else
}

// faultsOf compares the parts of a Welcome with their checksums, and the whole with its id,
// which is a hash of it. The id can only be compared while all secrets are kept: those of
// recipients that did not match, or that have ended, are not.
func (t *Txn) faultsOf(w *welcome) (faults []fault) {
	secrets, whole := []byte(nil), true
	t.eachPostedRecipient(w.number, func(key recipientKey, r *postedRecipient) bool {
		if _, m := t.recipientAt(recipientPlace{r.device, key}); r.damaged && (m == nil || !m.rec.State.Ended()) {
			faults = append(faults, fault{fmt.Errorf("the secret of recipient %s of Welcome %s is damaged", r.ref, w.id), false, key})
		}
		secrets, whole = append(secrets, r.encoded()...), whole && len(r.secret) > 0
		return true
	})
	shared := func(format string, args ...any) {
		faults = append(faults, fault{fmt.Errorf(format, args...), true, recipientKey{}})
	}
	loaded := t.loadGroupInfo(w)
	switch {
	case !loaded && (len(w.groupInfo) > 0 || w.damaged):
		shared("the encrypted_group_info of Welcome %s is damaged", w.id)
	case !loaded:
		shared("the encrypted_group_info of Welcome %s is missing", w.id)
	case whole && w.idOf(mls.SliceWelcome(w.suite, secrets, w.groupInfo)) != w.id:
		shared("the bytes of Welcome %s are others", w.id)
	}
	if tree, sound := t.payload(w.number, partTree); !sound || len(tree) != w.treeSize || w.treeSize > 0 && !bytes.Equal(treeHash(tree), w.treeHash) {
		shared("the ratchet tree of Welcome %s is damaged", w.id)
	}
	return faults
}

// endLost ends a Welcome that cannot be read, and forgets it.
func (t *Txn) endLost(number uint64) {
	for _, p := range t.matchedPlaces(number) {
		t.repairRecipient(p)
	}
	t.forgetWelcome(number, math.MaxInt)
}

// idOf is delivery.IDOf for the poster of the Welcome.
func (w *welcome) idOf(bare []byte) delivery.WelcomeID {
	h := sha256.New()
	h.Write([]byte(w.poster))
	h.Write([]byte{0})
	h.Write(bare)
	return delivery.WelcomeID(h.Sum(nil))
}

// setPostedState corrects what the row of a Welcome says of its recipients.
func (t *Txn) setPostedState(number uint64, open int, lastEnd time.Time) {
	w := t.postedState(number)
	w.open, w.endedAt = open, time.Time{}
	if open == 0 {
		w.lastEnd, w.endedAt = lastEnd, lastEnd
		if lastEnd.IsZero() {
			w.lastEnd, w.endedAt = t.now, t.now
		}
		w.holdCounted = false
		t.setTimer(timerEnded, time.Time{}, numberKey(number))
	}
	t.saveWelcome(w)
}
