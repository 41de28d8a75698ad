package store

import "time"

// What a clock dated that was ahead, and was put right, is dated in the future. Most of
// that is only kept for too long. What is compared with times that others tell, as a
// removal with when credentials were issued, is put right: it happened before the first
// commit that was dated earlier than one before it.
var (
	// keySetBack has for each such commit the number that the sequence had, and its
	// time. Both rise: one that has a later time than one behind it says nothing.
	keySetBack = []byte("set_back")
	// keyAhead is the latest time that a commit was dated by while a jump of the clock
	// was not believed. It is gone when the time has come, or was set back.
	keyAhead = []byte("ahead")
)

// setBackLeast is by how much a clock goes back that was wrong. Clocks that are right
// are adjusted by less.
const setBackLeast = time.Second

const (
	setBackBytes = 2 * numberBytes
	// setBacksKept are more than a clock has that is put right now and then. Of one that
	// is set back again and again the last ones stay, which date all before them.
	setBacksKept = 64
)

// setBack reports whether something is dated later than now.
func (t *Txn) setBack() bool {
	latest := t.seen
	if at := t.noted(keyAhead); at.After(latest) {
		latest = at
	}
	return latest.Sub(t.now) >= setBackLeast
}

// noteSetBack notes before a commit what there is to note of its time.
func (t *Txn) noteSetBack() {
	if t.setBack() {
		all := cloneBytes(t.get(KindMeta, keySetBack))
		for last := len(all) - setBackBytes; last >= 0 && readNumber(all[last+numberBytes:]) >= Millis(t.now); last -= setBackBytes {
			all = all[:last]
		}
		all = all[max(0, len(all)-(setBacksKept-1)*setBackBytes):]
		t.put(KindMeta, keySetBack, appendNumber(appendNumber(all, t.given), Millis(t.now)))
	}
	if t.now.After(t.sure) {
		t.put(KindMeta, keyAhead, numberKey(Millis(t.now)))
	} else if t.get(KindMeta, keyAhead) != nil {
		t.del(KindMeta, keyAhead)
	}
}

// restoredAt is when the file was restored the last time; zero if it never was.
func (t *Txn) restoredAt() time.Time {
	return t.putRight(t.noted(keyRestoredAt), t.restoredOrder())
}

// putRight is when something happened at the latest that a row dates at, when the
// sequence had that number.
func (t *Txn) putRight(at time.Time, number uint64) time.Time {
	for all := t.get(KindMeta, keySetBack); len(all) >= setBackBytes; all = all[setBackBytes:] {
		if number > readNumber(all) {
			continue
		}
		if before := FromMillis(readNumber(all[numberBytes:])); at.After(before) {
			at = before
		}
		break // those behind it are of later
	}
	return at
}
