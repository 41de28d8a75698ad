package store

import (
	"cmp"
	"slices"
	"time"

	"welcomed/delivery"
)

// indexBytes is the size of a place in secrets[] in keys: 16 million recipients.
const indexBytes = 3

// A mailKey names one (Welcome, ref) by the Welcome's number and the place in
// its secrets.
type mailKey struct {
	welcome uint64
	index   uint32
}

func appendIndex(b []byte, index uint32) []byte {
	return append(b, byte(index>>16), byte(index>>8), byte(index))
}

func readMailKey(b []byte) mailKey {
	if len(b) != numberBytes+indexBytes {
		panic(ErrCorrupt)
	}
	i := b[numberBytes:]
	return mailKey{readNumber(b), uint32(i[0])<<16 | uint32(i[1])<<8 | uint32(i[2])}
}

// A mail is the state row of one (Welcome, ref): 0x10 while it is pending, 0x11
// while it is delivered, 0x30 before and 0x31 after.
type mail struct {
	mailKey
	rec   delivery.MailRecord // without PostedAt, which is the Welcome's
	kp    keyPackageKey
	size  int64  // as delivered
	order uint64 // in the sequence: when it was given last; while pending, when it was released

	stored   bool
	was      delivery.WelcomeState
	wasOrder uint64
}

func mailKind(s delivery.WelcomeState) byte {
	switch s {
	case delivery.Pending:
		return rowPending
	case delivery.Delivered:
		return rowDelivered
	case delivery.Held:
		return rowHeld
	}
	return rowEnded
}

// openKinds are those that have not ended: what has may lie there for a month,
// and is looked for only by its Welcome.
var (
	openKinds = [...]byte{rowPending, rowDelivered, rowHeld}
	mailKinds = [...]byte{rowPending, rowDelivered, rowHeld, rowEnded}
)

func (d *device) mailRow(kind byte, key mailKey) []byte {
	return appendIndex(appendNumber(d.key(kind), key.welcome), key.index)
}

// mail returns nil if the row is missing or cannot be read.
func (t *Txn) mail(d *device, key mailKey) *mail {
	for _, kind := range mailKinds {
		if d.hasNone(kind) {
			continue
		}
		if row := t.get(kindDevices, d.mailRow(kind, key)); row != nil {
			return t.goneMail(d, readMail(key, row))
		}
	}
	return nil
}

// readMail returns nil for a row that cannot be read.
func readMail(key mailKey, row []byte) (m *mail) {
	if !readable(func() { m = decodeMail(key, row) }) {
		return nil
	}
	return m
}

func decodeMail(key mailKey, row []byte) *mail {
	m := &mail{mailKey: key, stored: true}
	d, r := decoder(row), &m.rec
	r.State = delivery.WelcomeState(d.byte())
	if r.State == 0 || r.State > delivery.Damaged {
		panic(ErrCorrupt)
	}
	m.kp = keyPackageKey{shelf: shelf(d.byte()), number: d.number()}
	m.size, m.order = int64(d.number()), d.number()
	d.times(&r.ReleasedAt, &r.DeliveredAt, &r.WithheldAt, &r.EndedAt, &r.Until)
	if len(d) > 0 {
		r.Reason, r.Detail = delivery.Reason(d.string()), d.string()
	}
	m.was, m.wasOrder = r.State, m.order
	return m
}

func (m *mail) encode() []byte {
	r := &m.rec
	e := make(encoder, 0, 64)
	e.byte(byte(r.State))
	e.byte(byte(m.kp.shelf))
	e.number(m.kp.number)
	e.number(uint64(m.size))
	e.number(m.order)
	e.times(r.ReleasedAt, r.DeliveredAt, r.WithheldAt, r.EndedAt, r.Until)
	if r.Reason != "" || r.Detail != "" {
		e.string(string(r.Reason))
		e.string(r.Detail)
	}
	return e
}

// saveMail writes the row where it belongs and keeps the counters and the
// device's next due time in step with it.
func (t *Txn) saveMail(d *device, m *mail) {
	t.countMail(d, m)
	was, is := mailKind(m.was), mailKind(m.rec.State)
	if m.stored && was != is {
		t.del(kindDevices, d.mailRow(was, m.mailKey))
	}
	t.put(kindDevices, d.mailRow(is, m.mailKey), m.encode())
	m.stored, m.was, m.wasOrder = true, m.rec.State, m.order
	d.live.at(m.nextDue())
	d.changes++
	t.changed(d)
}

// nextDue is when the row has to be looked at again; zero if it has ended.
func (m *mail) nextDue() time.Time {
	if m.rec.State.Ended() {
		return time.Time{}
	}
	return m.rec.Until
}

func (t *Txn) countMail(d *device, m *mail) {
	if m.stored {
		t.addMail(d, m.was, m.size, -1)
		if m.was == delivery.Pending && m.wasOrder <= d.claimed {
			d.overdue--
		}
	}
	t.addMail(d, m.rec.State, m.size, 1)
	if m.rec.State == delivery.Pending && m.order <= d.claimed {
		d.overdue++
	}
}

func (t *Txn) addMail(d *device, s delivery.WelcomeState, size int64, n int) {
	t.counted.welcomes[s] += int64(n)
	switch s {
	case delivery.Pending:
		d.pending += n
	case delivery.Delivered:
		d.delivered += n
		return
	case delivery.Held:
	default:
		return
	}
	d.waiting += n
	d.waitingBytes += int64(n) * size
}

// hasNone reports that the device has no mails of a kind, as its counters say.
func (d *device) hasNone(kind byte) bool {
	return kind == rowPending && d.pending == 0 || kind == rowDelivered && d.delivered == 0 || kind == rowHeld && d.waiting == d.pending
}

// mails returns the device's mails of one kind, as they were when the call
// began: in the order of their Welcomes, delivered ones least recently given
// first. What cannot be read is left out.
func (t *Txn) mails(d *device, kind byte) []*mail {
	mails, _ := t.readMails(d, kind)
	return mails
}

// readMails returns the keys of those that cannot be read, too.
func (t *Txn) readMails(d *device, kind byte) (mails []*mail, unreadable []mailKey) {
	if d.hasNone(kind) {
		return nil, nil
	}
	for key, row := range t.scan(kindDevices, d.key(kind), nil) {
		if len(key) != numberBytes+1+numberBytes+indexBytes {
			continue
		}
		place := readMailKey(key[numberBytes+1:])
		if m := readMail(place, row); m != nil {
			mails = append(mails, t.goneMail(d, m))
		} else {
			unreadable = append(unreadable, place)
			t.passed++
		}
	}
	if kind == rowDelivered {
		slices.SortFunc(mails, func(a, b *mail) int { return cmp.Compare(a.order, b.order) })
	}
	return mails, unreadable
}

// openMails are where a device's mails lay that had not ended, by KeyPackage, when
// they were looked at. There may be thousands, and only a look outside the writer
// finds those of one last resort.
type openMails map[uint64][]mailKey

func (t *Txn) openMails(d *device) openMails {
	open := make(openMails)
	for _, kind := range openKinds {
		for _, m := range t.mails(d, kind) {
			open[m.kp.number] = append(open[m.kp.number], m.mailKey)
		}
	}
	return open
}

// current returns those of a KeyPackage that have not ended by now. Those that have come
// since the look are missing: see knows.
func (t *Txn) current(open openMails, d *device, k *keyPackage) (mails []*mail) {
	if k.rec.Open == 0 {
		return nil
	}
	keys := open[k.number]
	if !k.rec.LastResort {
		keys = []mailKey{k.mail}
	}
	for _, key := range keys {
		if m := t.mail(d, key); m != nil && !m.rec.State.Ended() {
			mails = append(mails, m)
		}
	}
	return mails
}

// knows reports whether open has all mails of a KeyPackage that have not ended.
func (t *Txn) knows(open openMails, d *device, k *keyPackage) bool {
	return len(t.current(open, d, k)) == k.rec.Open
}

// mailsOf returns the mails that the device got in one Welcome.
func (t *Txn) mailsOf(d *device, welcome uint64) []*mail {
	var mails []*mail
	for _, kind := range mailKinds {
		if d.hasNone(kind) {
			continue
		}
		for key, row := range t.scan(kindDevices, appendNumber(d.key(kind), welcome), nil) {
			if m := readMail(readMailKey(key[numberBytes+1:]), row); m != nil {
				mails = append(mails, t.goneMail(d, m))
			}
		}
	}
	return mails
}

// closeMail writes a mail that has just ended and lets its KeyPackage go.
func (t *Txn) closeMail(d *device, m *mail) {
	t.saveMail(d, m)
	t.settled(m)
	k := t.keyPackage(d, m.kp)
	if k == nil {
		panic(ErrCorrupt)
	}
	k.rec.Open--
	if k.rec.State == delivery.Matched {
		k.rec.End(delivery.Expired, m.rec.EndedAt)
	}
	t.saveKeyPackage(d, k)
}

// settled counts a mail that has just ended. With the last one the Welcome has
// ended, and the next sweep puts its payload away.
func (t *Txn) settled(m *mail) {
	w := t.fate(m.welcome)
	if w == nil || w.open == 0 {
		return // that is lost, and check says so
	}
	w.open--
	if m.rec.EndedAt.After(w.lastEnd) {
		w.lastEnd = m.rec.EndedAt
	}
	if w.open == 0 {
		w.endedAt = w.lastEnd
		t.uncountHold(w)
		t.setTimer(timerEnded, time.Time{}, numberKey(w.number))
	}
	t.saveWelcome(w)
}
