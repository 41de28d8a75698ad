package store

import (
	"bytes"
	"time"
)

// The kinds of timers. A row that ends by itself has an entry in timers, with its time. When
// the row is moved, the entry stays until its time, and is found stale then. A device has one
// entry for all of its KeyPackages and recipients, and one for its tombstones.
const (
	timerDevice      = 1 + iota // device
	timerTombstones             // device
	timerHold                   // welcome: held for long
	timerEnded                  // welcome: its last recipient has ended
	timerForget                 // welcome: outcomes kept long enough
	timerIdempotency            // hash of caller and key
	timerToken                  // id of a token
	timerWebhook                // device, kind of a hint
)

// atOnce is due at any time of the clock. The current time would not do, because a clock that
// was wrong and is put right may be before it.
var atOnce = FromMillis(1)

func timerKey(kind byte, due time.Time, row []byte) []byte {
	return append(appendNumber(append(make([]byte, 0, 32), kind), Millis(due)), row...)
}

func (t *Txn) setTimer(kind byte, due time.Time, row []byte) {
	t.put(kindTimers, timerKey(kind, due, row), nil)
}

// A timer is an entry that is due.
type timer struct {
	key []byte
	due time.Time
	row []byte
}

// dueTimers returns at most most entries of a kind whose time has come.
func (t *Txn) dueTimers(kind byte, most int) []timer {
	var due []timer
	t.ahead(func(w *Wanted) { w.begins(kindTimers, []byte{kind}, most+1) })
	for k := range t.scan(kindTimers, []byte{kind}, nil) {
		at := FromMillis(readNumber(k[1:]))
		if at.After(t.sure) || len(due) == most {
			break
		}
		key := bytes.Clone(k)
		due = append(due, timer{key: key, due: at, row: key[1+numberBytes:]})
	}
	return due
}

// An alarm is the earliest time at which some rows of a device have to be
// looked at. It may be earlier than needed, never later.
type alarm struct {
	due time.Time // zero: never
	set time.Time // the due time of the entry in timers
}

// at makes the alarm ring at that time, unless it rings earlier already. Zero is never.
func (a *alarm) at(due time.Time) {
	if !due.IsZero() && (a.due.IsZero() || due.Before(a.due)) {
		a.due = due
	}
}

// ring reports whether an entry of timers is the alarm's, and switches the alarm off if it is.
func (a *alarm) ring(due time.Time) bool {
	if !a.set.Equal(due) {
		return false
	}
	*a = alarm{}
	return true
}

func (t *Txn) setAlarm(kind byte, d *device, a *alarm) {
	if a.due.Equal(a.set) {
		return
	}
	a.set = a.due
	t.setTimer(kind, a.due, numberKey(d.number))
}
