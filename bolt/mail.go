package bolt

import (
	"encoding/binary"
	"time"

	"welcomed/delivery"
)

// A mailKey names one (Welcome, ref) by the Welcome's number and the place in
// its secrets.
type mailKey struct {
	welcome uint64
	index   uint32
}

func (m mailKey) bytes() []byte {
	return binary.BigEndian.AppendUint32(u64(m.welcome), m.index)
}

func readMailKey(b []byte) mailKey {
	if len(b) != 12 {
		panic(errCorrupt)
	}
	return mailKey{readU64(b), binary.BigEndian.Uint32(b[8:])}
}

// A mail is the row 0x40: the state of one (Welcome, ref).
type mail struct {
	mailKey
	rec   delivery.MailRecord
	id    delivery.WelcomeID
	kp    uint64
	size  int64  // as delivered
	order uint64 // in the sequence: when it was given last; while pending, when it was released
	due   time.Time

	stored   bool
	was      delivery.WelcomeState
	wasOrder uint64
}

// The two parts of an inbox.
const (
	inboxNew       = 1
	inboxDelivered = 2
)

func (t *txn) mail(d *device, key mailKey) *mail {
	row := t.get(bucketDevices, d.key(rowMail, key.bytes()))
	if row == nil {
		return nil
	}
	return decodeMail(key, row)
}

func decodeMail(key mailKey, row []byte) *mail {
	m := &mail{mailKey: key, stored: true}
	d, r := decoder(row), &m.rec
	r.State = delivery.WelcomeState(d.number())
	if r.State == 0 || r.State > delivery.WelcomeExpired {
		panic(errCorrupt)
	}
	copy(m.id[:], d.bytes())
	m.kp, m.size, m.order = d.number(), int64(d.number()), d.number()
	r.PostedAt, r.ReleasedAt, r.DeliveredAt = d.time(), d.time(), d.time()
	r.WithheldAt, r.EndedAt, r.Until = d.time(), d.time(), d.time()
	r.Reason, r.Detail = delivery.Reason(d.string()), d.string()
	m.due = d.time()
	m.was, m.wasOrder = r.State, m.order
	return m
}

func (m *mail) encode() []byte {
	r := &m.rec
	e := make(encoder, 0, 128)
	e.number(uint64(r.State))
	e.bytes(m.id[:])
	e.number(m.kp)
	e.number(uint64(m.size))
	e.number(m.order)
	for _, at := range []time.Time{r.PostedAt, r.ReleasedAt, r.DeliveredAt, r.WithheldAt, r.EndedAt, r.Until} {
		e.time(at)
	}
	e.string(string(r.Reason))
	e.string(r.Detail)
	e.time(m.due)
	return e
}

// saveMail writes the row and keeps the inbox, the counters and the timer in
// step with it.
func (t *txn) saveMail(d *device, m *mail) {
	t.countMail(d, m)
	was, is := m.inboxKey(d, m.was, m.wasOrder), m.inboxKey(d, m.rec.State, m.order)
	if m.stored && was != nil && string(was) != string(is) {
		t.del(bucketDevices, was)
	}
	if is != nil && (!m.stored || string(was) != string(is)) {
		t.put(bucketDevices, is, nil)
	}
	t.setMailTimer(d, m)
	t.put(bucketDevices, d.key(rowMail, m.bytes()), m.encode())
	m.stored, m.was, m.wasOrder = true, m.rec.State, m.order
	t.change(d)
}

func (t *txn) setMailTimer(d *device, m *mail) {
	due, kind := m.rec.Until, byte(timerPending)
	if m.rec.State == delivery.Delivered {
		kind = timerDelivered
	}
	if m.rec.State.Ended() {
		due = time.Time{}
	}
	if due.Equal(m.due) {
		return
	}
	if m.due = due; due.IsZero() {
		return
	}
	t.setTimer(kind, due, append(u64(d.number), m.bytes()...))
}

func (t *txn) countMail(d *device, m *mail) {
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

func (t *txn) addMail(d *device, s delivery.WelcomeState, size int64, n int) {
	t.state.welcomes[s] += int64(n)
	if s != delivery.Held && s != delivery.Pending {
		return
	}
	d.waiting += n
	d.waitingBytes += int64(n) * size
	if s == delivery.Pending {
		d.pending += n
	}
}

// inboxKey is the entry of a mail in state s, nil if it has none.
func (m *mail) inboxKey(d *device, s delivery.WelcomeState, order uint64) []byte {
	switch s {
	case delivery.Pending:
		return d.key(rowInbox, []byte{inboxNew}, m.bytes())
	case delivery.Delivered:
		return d.key(rowInbox, []byte{inboxDelivered}, u64(order), m.bytes())
	}
	return nil
}

// inbox returns one part of the device's inbox in the order of delivery, as it
// was when the call began.
func (t *txn) inbox(d *device, part byte) []*mail {
	var keys []mailKey
	for k := range t.scan(bucketDevices, d.key(rowInbox, []byte{part}), nil) {
		keys = append(keys, readMailKey(k[len(k)-12:]))
	}
	mails := make([]*mail, len(keys))
	for i, key := range keys {
		if mails[i] = t.mail(d, key); mails[i] == nil {
			panic(errCorrupt)
		}
	}
	return mails
}

// mailsFor returns the mails of a KeyPackage that may not have ended.
func (t *txn) mailsFor(d *device, k *keyPackage) []*mail {
	if k.rec.Open == 0 {
		return nil
	}
	if !k.rec.LastResort {
		return []*mail{t.mail(d, k.mail)}
	}
	return t.openMails(d)[k.number]
}

// openMails returns the device's mails that have not ended, by KeyPackage.
func (t *txn) openMails(d *device) map[uint64][]*mail {
	open := make(map[uint64][]*mail)
	for key, row := range t.scan(bucketDevices, d.key(rowMail), nil) {
		if m := decodeMail(readMailKey(key[9:]), row); !m.rec.State.Ended() {
			open[m.kp] = append(open[m.kp], m)
		}
	}
	return open
}

// mailsOf returns the mails that the device got in one Welcome.
func (t *txn) mailsOf(d *device, welcome uint64) []*mail {
	var mails []*mail
	for key, row := range t.scan(bucketDevices, d.key(rowMail, u64(welcome)), nil) {
		mails = append(mails, decodeMail(readMailKey(key[9:]), row))
	}
	return mails
}

// closeMail writes a mail that has just ended and lets its KeyPackage go.
func (t *txn) closeMail(d *device, m *mail) {
	t.saveMail(d, m)
	t.settled(m)
	k := t.keyPackage(d, m.kp)
	if k == nil {
		panic(errCorrupt)
	}
	k.rec.Open--
	if k.rec.State == delivery.Matched {
		k.rec.End(delivery.Expired, m.rec.EndedAt)
	}
	t.saveKeyPackage(d, k)
}

// settled has the next sweep see whether the whole Welcome has ended.
func (t *txn) settled(m *mail) { t.setTimer(timerSettled, time.Time{}, u64(m.welcome)) }
