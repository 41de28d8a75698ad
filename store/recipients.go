package store

import (
	"cmp"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// indexBytes is the size of a place in secrets[] in keys: 16 million recipients.
const indexBytes = 3

// A recipientKey names a recipient, one (Welcome, ref), by the number of the Welcome and the
// index in its secrets.
type recipientKey struct {
	welcome uint64
	index   uint32
}

func appendIndex(b []byte, index uint32) []byte {
	return append(b, byte(index>>16), byte(index>>8), byte(index))
}

func readRecipientKey(b []byte) recipientKey {
	if len(b) != numberBytes+indexBytes {
		panic(ErrCorrupt)
	}
	i := b[numberBytes:]
	return recipientKey{readNumber(b), uint32(i[0])<<16 | uint32(i[1])<<8 | uint32(i[2])}
}

// A recipient says what has become of one (Welcome, ref). Its row lies beside those of its
// device. The kind of the row says the state: 0x30 held, 0x10 pending, 0x11 delivered, 0x31
// ended. What was posted for it is a postedRecipient, in a row of the Welcome.
type recipient struct {
	recipientKey
	rec   delivery.RecipientRecord // without PostedAt, which is the Welcome's
	kp    keyPackageKey
	size  int64             // as delivered
	order uint64            // in the sequence: when it was given last; while pending, when it was released
	from  *source           // nil: see known
	ref   mls.KeyPackageRef // likewise

	stored   bool
	was      delivery.WelcomeState
	wasOrder uint64
}

func recipientKind(s delivery.WelcomeState) byte {
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

// openKinds are the kinds of recipients that have not ended. Rows of ended ones stay for a
// month, and are only looked for by their Welcome.
var (
	openKinds      = [...]byte{rowPending, rowDelivered, rowHeld}
	recipientKinds = [...]byte{rowPending, rowDelivered, rowHeld, rowEnded}
)

func (d *device) recipientRow(kind byte, key recipientKey) []byte {
	return appendIndex(appendNumber(d.key(kind), key.welcome), key.index)
}

// recipient reads a recipient of the device. It returns nil if the row is missing or cannot be read.
func (t *Txn) recipient(d *device, key recipientKey) *recipient {
	for _, kind := range recipientKinds {
		if d.hasNone(kind) {
			continue
		}
		if row := t.get(kindDevices, d.recipientRow(kind, key)); row != nil {
			return t.goneRecipient(d, readRecipient(key, row))
		}
	}
	return nil
}

// readRecipient returns nil for a row that cannot be read.
func readRecipient(key recipientKey, row []byte) (m *recipient) {
	if !readable(func() { m = decodeRecipient(key, row) }) {
		return nil
	}
	return m
}

func decodeRecipient(key recipientKey, row []byte) *recipient {
	m := &recipient{recipientKey: key, stored: true}
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

func (m *recipient) encode() []byte {
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

// saveRecipient writes the row under the key where it belongs. It updates the counters and the
// device's next due time.
func (t *Txn) saveRecipient(d *device, m *recipient) {
	t.tellOfRecipient(d, m)
	t.countRecipient(d, m)
	was, is := recipientKind(m.was), recipientKind(m.rec.State)
	if m.stored && was != is {
		t.del(kindDevices, d.recipientRow(was, m.recipientKey))
	}
	t.put(kindDevices, d.recipientRow(is, m.recipientKey), m.encode())
	m.stored, m.was, m.wasOrder = true, m.rec.State, m.order
	d.live.at(m.nextDue())
	d.changes++
	t.changed(d)
}

// nextDue returns when the row has to be looked at again; zero if it has ended.
func (m *recipient) nextDue() time.Time {
	if m.rec.State.Ended() {
		return time.Time{}
	}
	return m.rec.Until
}

func (t *Txn) countRecipient(d *device, m *recipient) {
	if m.stored {
		t.countIn(d, m.was, m.size, -1)
		if m.was == delivery.Pending && m.wasOrder <= d.claimed {
			d.overdue--
		}
	}
	t.countIn(d, m.rec.State, m.size, 1)
	if m.rec.State == delivery.Pending && m.order <= d.claimed {
		d.overdue++
	}
}

func (t *Txn) countIn(d *device, s delivery.WelcomeState, size int64, n int) {
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

// hasNone reports whether the counters say that the device has no recipients of a kind.
func (d *device) hasNone(kind byte) bool {
	return kind == rowPending && d.pending == 0 || kind == rowDelivered && d.delivered == 0 || kind == rowHeld && d.waiting == d.pending
}

// recipients returns the device's recipients of one kind, as they were when the call began.
// They are in the order of their Welcomes; delivered ones are in the order in which they were
// last given. It leaves out rows that it cannot read.
func (t *Txn) recipients(d *device, kind byte) []*recipient {
	recipients, _ := t.readRecipients(d, kind)
	return recipients
}

// readRecipients is recipients, and also returns the keys of the rows that it cannot read.
func (t *Txn) readRecipients(d *device, kind byte) (recipients []*recipient, unreadable []recipientKey) {
	if d.hasNone(kind) {
		return nil, nil
	}
	for key, row := range t.scan(kindDevices, d.key(kind), nil) {
		if len(key) != numberBytes+1+numberBytes+indexBytes {
			continue
		}
		place := readRecipientKey(key[numberBytes+1:])
		if m := readRecipient(place, row); m != nil {
			recipients = append(recipients, t.goneRecipient(d, m))
		} else {
			unreadable = append(unreadable, place)
			t.passed++
		}
	}
	if kind == rowDelivered {
		slices.SortFunc(recipients, func(a, b *recipient) int { return cmp.Compare(a.order, b.order) })
	}
	return recipients, unreadable
}

// openRecipients says, by number of the KeyPackage, which recipients of a device had not ended
// when a look read them. There may be thousands. Only a look outside the writer finds those of
// one last resort.
type openRecipients map[uint64][]recipientKey

func (t *Txn) openRecipients(d *device) openRecipients {
	open := make(openRecipients)
	t.ahead(func(w *Wanted) { w.open(d.number) })
	for _, kind := range openKinds {
		for _, m := range t.recipients(d, kind) {
			open[m.kp.number] = append(open[m.kp.number], m.recipientKey)
		}
	}
	return open
}

// current returns the recipients of a KeyPackage that have not ended. It does not find
// recipients that have come since the look: see knows.
func (t *Txn) current(open openRecipients, d *device, k *keyPackage) (recipients []*recipient) {
	if k.rec.Open == 0 {
		return nil
	}
	keys := open[k.number]
	if !k.rec.LastResort {
		keys = []recipientKey{k.recipient}
	}
	for _, key := range keys {
		if m := t.recipient(d, key); m != nil && !m.rec.State.Ended() {
			recipients = append(recipients, m)
		}
	}
	return recipients
}

// knows reports whether open has every recipient of a KeyPackage that has not ended.
func (t *Txn) knows(open openRecipients, d *device, k *keyPackage) bool {
	return len(t.current(open, d, k)) == k.rec.Open
}

// recipientsOf returns the recipients that the device got in one Welcome.
func (t *Txn) recipientsOf(d *device, welcome uint64) []*recipient {
	var recipients []*recipient
	for _, kind := range recipientKinds {
		if d.hasNone(kind) {
			continue
		}
		for key, row := range t.scan(kindDevices, appendNumber(d.key(kind), welcome), nil) {
			if m := readRecipient(readRecipientKey(key[numberBytes+1:]), row); m != nil {
				recipients = append(recipients, t.goneRecipient(d, m))
			}
		}
	}
	return recipients
}

// closeRecipient writes a recipient that has just ended and lets its KeyPackage go.
func (t *Txn) closeRecipient(d *device, m *recipient) {
	t.saveRecipient(d, m)
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

// settled counts, in the Welcome, a recipient that has just ended. With the last one the Welcome has
// ended, and the next sweep puts its payload away.
func (t *Txn) settled(m *recipient) {
	w := t.postedState(m.welcome)
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
