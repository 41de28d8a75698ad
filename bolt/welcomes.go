package bolt

import (
	"crypto/sha256"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// A welcome is the header of a posted Welcome.
type welcome struct {
	number      uint64
	id          delivery.WelcomeID
	poster      string // Caller.ID
	suite       mls.CipherSuite
	recipients  int // in secrets[], matched or not
	hold        bool
	requireAll  bool
	holdCounted bool // in the state row, as held for long
	postedAt    time.Time
	releasedAt  time.Time
	cancelledAt time.Time
	endedAt     time.Time // of its last recipient
	treeSize    int
	treeHash    []byte // kept for longer than the tree
	context     []byte
}

const welcomeIDPrefix = 16

// The parts of a Welcome in the payloads bucket.
const (
	partGroupInfo = 0
	partTree      = 1
)

func (t *txn) welcomeByID(id delivery.WelcomeID) *welcome {
	number := t.get(bucketWelcomeIDs, id[:welcomeIDPrefix])
	if number == nil {
		return nil
	}
	w := t.welcome(readU64(number))
	if w == nil {
		panic(errCorrupt)
	}
	if w.id != id {
		return nil
	}
	return w
}

func (t *txn) welcome(number uint64) *welcome {
	row := t.get(bucketWelcomes, u64(number))
	if row == nil {
		return nil
	}
	w, d := &welcome{number: number}, decoder(row)
	copy(w.id[:], d.bytes())
	w.poster = d.string()
	w.suite, w.recipients = mls.CipherSuite(d.number()), int(d.number())
	d.flags(&w.hold, &w.requireAll, &w.holdCounted)
	w.postedAt, w.releasedAt, w.cancelledAt, w.endedAt = d.time(), d.time(), d.time(), d.time()
	w.treeSize = int(d.number())
	w.treeHash, w.context = cloneBytes(d.bytes()), cloneBytes(d.bytes())
	return w
}

func (t *txn) saveWelcome(w *welcome) {
	var e encoder
	e.bytes(w.id[:])
	e.string(w.poster)
	e.number(uint64(w.suite))
	e.number(uint64(w.recipients))
	e.flags(w.hold, w.requireAll, w.holdCounted)
	for _, at := range []time.Time{w.postedAt, w.releasedAt, w.cancelledAt, w.endedAt} {
		e.time(at)
	}
	e.number(uint64(w.treeSize))
	e.bytes(w.treeHash)
	e.bytes(w.context)
	t.put(bucketWelcomes, u64(w.number), e)
}

// held reports whether the Welcome waits for its release.
func (w *welcome) held() bool {
	return w.hold && w.releasedAt.IsZero() && w.cancelledAt.IsZero()
}

// uncountHold takes a Welcome that is held no longer out of the overdue holds.
func (t *txn) uncountHold(w *welcome) {
	if w.holdCounted {
		w.holdCounted = false
		t.state.holdsOver--
	}
}

func (t *txn) postedBy(caller delivery.Caller, id delivery.WelcomeID) bool {
	w := t.welcomeByID(id)
	return w != nil && caller.May(w.poster)
}

func payloadKey(number uint64, part byte) []byte { return append(u64(number), part) }

func treeHash(tree []byte) []byte {
	if tree == nil {
		return nil
	}
	sum := sha256.Sum256(tree)
	return sum[:]
}

// A recipient is the row of one entry of secrets[]: the verdict when it was
// posted, and what only that recipient is given. It is never rewritten.
type recipient struct {
	verdict delivery.Status // empty if it matched
	ref     mls.KeyPackageRef
	device  uint64             // 0 if the poster may not know it
	by      delivery.WelcomeID // that took the KeyPackage, if the poster's own
	secret  []byte             // encoded EncryptedGroupSecrets; nil unless matched
}

func (t *txn) putRecipient(key mailKey, r *recipient) {
	e := make(encoder, 0, len(r.secret)+128)
	e.string(string(r.verdict))
	e.string(string(r.ref))
	e.number(r.device)
	if r.by == (delivery.WelcomeID{}) {
		e.bytes(nil)
	} else {
		e.bytes(r.by[:])
	}
	e.bytes(r.secret)
	t.put(bucketRecipients, key.bytes(), e)
}

func (t *txn) recipient(key mailKey) *recipient {
	row := t.get(bucketRecipients, key.bytes())
	if row == nil {
		panic(errCorrupt)
	}
	return decodeRecipient(row)
}

func decodeRecipient(row []byte) *recipient {
	d := decoder(row)
	r := &recipient{verdict: delivery.Status(d.string()), ref: mls.KeyPackageRef(d.string()), device: d.number()}
	copy(r.by[:], d.bytes())
	r.secret = d.bytes()
	return r
}

// outcome reads what became of a Welcome.
func (t *txn) outcome(w *welcome) delivery.Outcome {
	o := delivery.Outcome{
		ID: w.id, PostedAt: w.postedAt, Hold: w.hold, RequireAll: w.requireAll, Cancelled: !w.cancelledAt.IsZero(),
		Recipients: make([]delivery.Recipient, 0, w.recipients),
	}
	for key, row := range t.scan(bucketRecipients, u64(w.number), nil) {
		r := decodeRecipient(row)
		answer := delivery.Recipient{Ref: r.ref, Status: r.verdict}
		var d *device
		if r.device != 0 {
			if d = t.deviceByNumber(r.device); d != nil {
				answer.Device = &d.id
			}
		}
		if r.by != (delivery.WelcomeID{}) {
			answer.By = &r.by
		}
		if r.verdict == "" {
			if d == nil {
				panic(errCorrupt)
			}
			t.describe(&answer, t.mail(d, readMailKey(key)))
		}
		o.Recipients = append(o.Recipients, answer)
	}
	return o
}

func (t *txn) describe(r *delivery.Recipient, m *mail) {
	rec := m.rec
	r.Matched, r.Status = true, rec.StateAt(t.now).Status()
	r.ReleasedAt, r.DeliveredAt, r.WithheldAt, r.EndedAt = rec.ReleasedAt, rec.DeliveredAt, rec.WithheldAt, rec.EndedAt
	r.Reason, r.Detail = rec.Reason, rec.Detail
}

// eachMail calls fn for every recipient that matched.
func (t *txn) eachMail(w *welcome, fn func(*device, *mail)) {
	type place struct {
		device uint64
		key    mailKey
	}
	var places []place
	for key, row := range t.scan(bucketRecipients, u64(w.number), nil) {
		if r := decodeRecipient(row); r.verdict == "" {
			places = append(places, place{r.device, readMailKey(key)})
		}
	}
	for _, p := range places {
		d := t.deviceByNumber(p.device)
		m := t.mail(d, p.key)
		if m == nil {
			panic(errCorrupt)
		}
		fn(d, m)
	}
}
