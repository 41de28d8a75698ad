package store

import (
	"cmp"
	"slices"
	"time"
)

// A clock that was ahead dated rows in the future. When it has been put right, most of these
// rows are only kept for too long, which is harmless. But some times are compared with times
// that others tell: a removal, for example, with the time at which credentials were issued.
// Those have to be corrected. They happened at the latest when the first commit was made whose
// time is earlier than that of the commit before it.
var (
	// keySetBack has for each such commit the number that the sequence had, and its
	// time. Both rise: one that has a later time than one behind it says nothing.
	keySetBack = []byte("set_back")
	// keyAhead is the latest time that a commit was dated by while a jump of the clock
	// was not believed. It is gone when the time has come, or was set back.
	keyAhead = []byte("ahead")
)

// setBackLeast is by how much a clock has to go back to count as put right. Clocks that were
// right are adjusted by less.
const setBackLeast = time.Second

// A SetBack is the first commit after a clock was put right. What has a number up to Given
// happened before At, whatever the clock said then.
type SetBack struct {
	Given uint64 // the number that the sequence had
	At    time.Time
}

// SetBacks has all set-backs, in their order. Their times rise.
type SetBacks []SetBack

// With returns the set-backs with more of them, in any order. A set-back whose time is later
// than that of a following one says nothing, and is left out.
func (known SetBacks) With(more ...SetBack) (all SetBacks) {
	both := slices.Concat(known, more)
	slices.SortFunc(both, func(x, y SetBack) int { return cmp.Or(cmp.Compare(y.Given, x.Given), x.At.Compare(y.At)) })
	for _, b := range both {
		if len(all) == 0 || b.At.Before(all[len(all)-1].At) {
			all = append(all, b)
		}
	}
	all = all[:min(len(all), setBacksKept)]
	slices.Reverse(all)
	return all
}

// PutRight corrects a time. It returns when something happened at the latest that is dated at
// and was written when the sequence had that number.
func (known SetBacks) PutRight(at time.Time, number uint64) time.Time {
	for _, b := range known {
		if number <= b.Given {
			if at.After(b.At) {
				at = b.At
			}
			break // those behind it are of later
		}
	}
	return at
}

const (
	setBackBytes = 2 * numberBytes
	// setBacksKept are more than a clock has that is put right now and then. Of one that
	// is set back again and again the last ones stay, which date all before them.
	setBacksKept = 64
)

// setBack reports whether a row is dated later than now.
func (t *Txn) setBack() bool {
	latest := t.seen
	if at := t.noted(keyAhead); at.After(latest) {
		latest = at
	}
	return latest.Sub(t.now) >= setBackLeast
}

// noteSetBack notes, before a commit, that the clock was put right, if it was.
func (t *Txn) noteSetBack() {
	if t.setBack() {
		t.newSetBack = SetBack{t.given, t.now}
		t.putSetBacks(t.setBacks().With(t.newSetBack))
	}
	if t.now.After(t.sure) {
		t.put(KindMeta, keyAhead, numberKey(Millis(t.now)))
	} else if t.get(KindMeta, keyAhead) != nil {
		t.del(KindMeta, keyAhead)
	}
}

// restoredAt returns when the file was last restored; zero if it never was.
func (t *Txn) restoredAt() time.Time {
	return t.putRight(t.noted(keyRestoredAt), t.restoredOrder())
}

// NewSetBack returns the set-back that Flush has noted, if the clock was put right before this
// transaction.
func (t *Txn) NewSetBack() (b SetBack, noted bool) { return t.newSetBack, !t.newSetBack.At.IsZero() }

// setBacks returns the set-backs that the rows have.
func (t *Txn) setBacks() (known SetBacks) {
	for row := t.get(KindMeta, keySetBack); len(row) >= setBackBytes; row = row[setBackBytes:] {
		known = append(known, SetBack{readNumber(row), FromMillis(readNumber(row[numberBytes:]))})
	}
	return known
}

func (t *Txn) putSetBacks(known SetBacks) { t.put(KindMeta, keySetBack, known.encode()) }

func (known SetBacks) encode() (row []byte) {
	for _, b := range known {
		row = appendNumber(appendNumber(row, b.Given), Millis(b.At))
	}
	return row
}

// putRight is PutRight with the set-backs of the rows.
func (t *Txn) putRight(at time.Time, number uint64) time.Time {
	return t.setBacks().PutRight(at, number)
}
