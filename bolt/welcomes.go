package bolt

import (
	"crypto/sha256"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// A welcome is a posted Welcome: the header, which never changes, and what
// becomes of it.
type welcome struct {
	number     uint64
	id         delivery.WelcomeID
	poster     string // Caller.ID
	suite      mls.CipherSuite
	recipients int // in secrets[], matched or not
	hold       bool
	requireAll bool
	postedAt   time.Time
	treeSize   int
	treeHash   []byte // kept for longer than the tree
	context    []byte
	groupInfo  []byte // encrypted_group_info; none after the end
	apart      bool   // groupInfo is in pieces of its own
	fate
}

// A fate is what becomes of a Welcome.
type fate struct {
	open        int // recipients that have not ended
	holdCounted bool
	releasedAt  time.Time
	cancelledAt time.Time
	lastEnd     time.Time // of a recipient so far
	endedAt     time.Time // of its last recipient
}

const welcomeIDPrefix = 16

// The parts of a Welcome in the welcomes bucket.
const (
	partHeader    = 0
	partTree      = 1
	partRecipient = 2
	partGroupInfo = 3 // if it is larger than a piece
)

// payloadPiece lets two pieces of a payload fill a page: larger rows would need
// pages that lie side by side, which are hard to find in a file in use.
const payloadPiece = (pageSize-16)/2 - 16 - numberBytes - 1 - indexBytes

// putPayload writes a part of a Welcome in pieces.
func (t *txn) putPayload(number uint64, part byte, payload []byte) {
	piece := uint32(0)
	for data := range slices.Chunk(payload, payloadPiece) {
		t.put(bucketWelcomes, appendIndex(partKey(number, part), piece), data)
		piece++
	}
}

// payload returns what putPayload wrote; nil if there is nothing.
func (t *txn) payload(number uint64, part byte) []byte {
	var pieces [][]byte
	for _, data := range t.scan(bucketWelcomes, partKey(number, part), nil) {
		pieces = append(pieces, data)
	}
	return slices.Concat(pieces...)
}

func (t *txn) delPayload(number uint64, part byte) {
	for _, key := range t.keys(bucketWelcomes, partKey(number, part), 0) {
		t.del(bucketWelcomes, key)
	}
}

func partKey(number uint64, part byte) []byte { return append(numberKey(number), part) }

func recipientKey(key mailKey) []byte {
	return appendIndex(partKey(key.welcome, partRecipient), key.index)
}

func (t *txn) welcomeByID(id delivery.WelcomeID) *welcome {
	number := t.get(bucketWelcomeIDs, id[:welcomeIDPrefix])
	if number == nil {
		return nil
	}
	w := t.welcome(readNumber(number))
	if w == nil {
		panic(errCorrupt)
	}
	if w.id != id {
		return nil
	}
	return w
}

func (t *txn) welcome(number uint64) *welcome {
	w := t.header(number)
	if w != nil {
		w.fate = t.fate(number).fate
	}
	return w
}

// fate returns a Welcome with nothing but what has become of it.
func (t *txn) fate(number uint64) *welcome {
	w, d := &welcome{number: number}, decoder(t.get(bucketPosted, numberKey(number)))
	w.open = int(d.number())
	d.flags(&w.holdCounted)
	d.times(&w.releasedAt, &w.cancelledAt, &w.lastEnd, &w.endedAt)
	return w
}

// header returns a Welcome without what has become of it. Its bytes are valid
// until the next write.
func (t *txn) header(number uint64) *welcome {
	row := t.get(bucketWelcomes, partKey(number, partHeader))
	if row == nil {
		return nil
	}
	w, d := &welcome{number: number}, decoder(row)
	copy(w.id[:], d.bytes())
	w.poster = d.string()
	w.suite, w.recipients = mls.CipherSuite(d.number()), int(d.number())
	d.flags(&w.hold, &w.requireAll, &w.apart)
	w.postedAt = d.time()
	w.treeSize, w.treeHash = int(d.number()), d.bytes()
	w.context, w.groupInfo = d.bytes(), d
	return w
}

func (t *txn) putHeader(w *welcome) {
	e := make(encoder, 0, 128+len(w.context)+len(w.groupInfo))
	e.bytes(w.id[:])
	e.string(w.poster)
	e.number(uint64(w.suite))
	e.number(uint64(w.recipients))
	e.flags(w.hold, w.requireAll, w.apart)
	e.time(w.postedAt)
	e.number(uint64(w.treeSize))
	e.bytes(w.treeHash)
	e.bytes(w.context)
	t.put(bucketWelcomes, partKey(w.number, partHeader), append(e, w.groupInfo...))
}

// saveWelcome writes what has become of the Welcome.
func (t *txn) saveWelcome(w *welcome) {
	e := make(encoder, 0, 32)
	e.number(uint64(w.open))
	e.flags(w.holdCounted)
	e.times(w.releasedAt, w.cancelledAt, w.lastEnd, w.endedAt)
	t.put(bucketPosted, numberKey(w.number), e)
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

// matching is the Welcome that matched a KeyPackage last; nil if none has, or
// if it is forgotten.
func (t *txn) matching(k *keyPackage) *welcome {
	if k.mail == (mailKey{}) {
		return nil
	}
	return t.header(k.mail.welcome)
}

func treeHash(tree []byte) []byte {
	if tree == nil {
		return nil
	}
	sum := sha256.Sum256(tree)
	return sum[:]
}

// A recipient is the row of one entry of secrets[]: the verdict when it was
// posted, and what only that recipient is given.
type recipient struct {
	verdict delivery.Status // empty if it matched
	ref     mls.KeyPackageRef
	device  uint64             // 0 if the poster may not know it
	by      delivery.WelcomeID // that took the KeyPackage, if the poster's own
	secret  []byte             // what follows the ref in EncryptedGroupSecrets; nil unless matched
}

// encoded returns the EncryptedGroupSecrets as the poster sent it. A ref is a
// vector of at most 64 bytes (RFC 9420 §2.1.2).
func (r *recipient) encoded() []byte {
	b := make([]byte, 0, 2+len(r.ref)+len(r.secret))
	if n := len(r.ref); n < 1<<6 {
		b = append(b, byte(n))
	} else {
		b = append(b, 1<<6|byte(n>>8), byte(n))
	}
	b = append(b, r.ref...)
	return append(b, r.secret...)
}

// afterRef is what follows the ref in an EncryptedGroupSecrets.
func afterRef(s mls.EncryptedGroupSecrets) []byte {
	head := &recipient{ref: s.NewMember}
	return s.Bytes()[len(head.encoded()):]
}

func (t *txn) putRecipient(key mailKey, r *recipient) {
	e := make(encoder, 0, len(r.secret)+96)
	e.string(string(r.verdict))
	e.string(string(r.ref))
	e.number(r.device)
	if r.by == (delivery.WelcomeID{}) {
		e.bytes(nil)
	} else {
		e.bytes(r.by[:])
	}
	t.put(bucketWelcomes, recipientKey(key), append(e, r.secret...))
}

func (t *txn) recipient(key mailKey) *recipient {
	row := t.get(bucketWelcomes, recipientKey(key))
	if row == nil {
		panic(errCorrupt)
	}
	return decodeRecipient(row)
}

func decodeRecipient(row []byte) *recipient {
	d := decoder(row)
	r := &recipient{verdict: delivery.Status(d.string()), ref: mls.KeyPackageRef(d.string()), device: d.number()}
	copy(r.by[:], d.bytes())
	r.secret = d
	return r
}

// eachRecipient calls yield for every entry of secrets[], until it returns false.
func (t *txn) eachRecipient(w *welcome, yield func(mailKey, *recipient) bool) {
	for key, row := range t.scan(bucketWelcomes, partKey(w.number, partRecipient), nil) {
		index := key[numberBytes+1:]
		if !yield(readMailKey(append(numberKey(w.number), index...)), decodeRecipient(row)) {
			return
		}
	}
}

// outcome reads what became of a Welcome.
func (t *txn) outcome(w *welcome) delivery.Outcome {
	o := delivery.Outcome{
		ID: w.id, PostedAt: w.postedAt, Hold: w.hold, RequireAll: w.requireAll, Cancelled: !w.cancelledAt.IsZero(),
		Recipients: make([]delivery.Recipient, 0, w.recipients),
	}
	t.eachRecipient(w, func(key mailKey, r *recipient) bool {
		o.Recipients = append(o.Recipients, t.describe(key, r))
		return true
	})
	return o
}

func (t *txn) describe(key mailKey, r *recipient) delivery.Recipient {
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
	if r.verdict != "" {
		return answer
	}
	if d == nil {
		panic(errCorrupt)
	}
	rec := t.mail(d, key).rec
	answer.Matched, answer.Status = true, rec.State.Status()
	answer.ReleasedAt, answer.DeliveredAt, answer.WithheldAt, answer.EndedAt = rec.ReleasedAt, rec.DeliveredAt, rec.WithheldAt, rec.EndedAt
	answer.Reason, answer.Detail = rec.Reason, rec.Detail
	return answer
}

// A mailPlace is where the row of a recipient that matched lies.
type mailPlace struct {
	device uint64
	key    mailKey
}

// mailPlaces returns where those lie that are in a state that is wanted.
func (t *txn) mailPlaces(w *welcome, wanted func(delivery.WelcomeState) bool) (places []mailPlace) {
	t.eachRecipient(w, func(key mailKey, r *recipient) bool {
		if r.verdict == "" {
			places = append(places, mailPlace{r.device, key})
		}
		return true
	})
	return slices.DeleteFunc(places, func(p mailPlace) bool {
		_, m := t.mailAt(p)
		return !wanted(m.rec.State)
	})
}

func (t *txn) mailAt(p mailPlace) (*device, *mail) {
	d := t.deviceByNumber(p.device)
	if d == nil {
		panic(errCorrupt)
	}
	m := t.mail(d, p.key)
	if m == nil {
		panic(errCorrupt)
	}
	return d, m
}

// eachMail calls fn for every recipient that matched.
func (t *txn) eachMail(w *welcome, fn func(*device, *mail)) {
	type place struct {
		device uint64
		key    mailKey
	}
	var places []place
	t.eachRecipient(w, func(key mailKey, r *recipient) bool {
		if r.verdict == "" {
			places = append(places, place{r.device, key})
		}
		return true
	})
	for _, p := range places {
		d := t.deviceByNumber(p.device)
		m := t.mail(d, p.key)
		if m == nil {
			panic(errCorrupt)
		}
		fn(d, m)
	}
}
