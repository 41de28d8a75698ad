package store

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// A welcome is a posted Welcome: the header, which never changes, and its state.
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
	noContext  bool   // it was damaged when the payload was put away
	groupInfo  []byte // encrypted_group_info; none after the end
	apart      bool   // groupInfo is in pieces of its own
	infoSize   int    // of groupInfo that is apart; 0 if the row does not say
	damaged    bool   // context and groupInfo are not what was posted
	postedState
}

// A postedState is the state of a Welcome as a whole. It changes until the last recipient has ended.
type postedState struct {
	open        int // recipients that have not ended
	holdCounted bool
	releasedAt  time.Time
	cancelledAt time.Time
	lastEnd     time.Time // of a recipient so far
	endedAt     time.Time // of its last recipient
}

const welcomeIDPrefix = 16

// The parts of a Welcome. The part follows the Welcome's number in the keys of its rows.
const (
	partHeader    = 0
	partTree      = 1
	partRecipient = 2
	partGroupInfo = 3 // if it is larger than a piece
)

// payloadPiece is the size of a piece of a payload. Two pieces fill a page of a file. Larger
// rows would need several pages side by side, which are hard to find in a file in use.
const payloadPiece = (4096-16)/2 - 16 - numberBytes - 1 - indexBytes - sumBytes

// putPayload writes a part of a Welcome in pieces.
func (t *Txn) putPayload(number uint64, part byte, payload []byte) {
	piece := uint32(0)
	for data := range slices.Chunk(payload, payloadPiece) {
		t.putPiece(number, part, piece, data)
		piece++
	}
}

func (t *Txn) putPiece(number uint64, part byte, piece uint32, data []byte) {
	key := appendIndex(partKey(number, part), piece)
	row := append(make([]byte, 0, len(data)+sumBytes), data...)
	t.put(kindWelcomes, key, appendSum(row, key, 0))
}

// payload returns what putPayload wrote; nil if there is nothing. ok is false if a piece is
// damaged, or is missing in front of the last one.
func (t *Txn) payload(number uint64, part byte) (payload []byte, ok bool) {
	var pieces [][]byte
	ok = true
	t.eachPiece(number, part, func(data []byte, sound bool) bool {
		pieces, ok = append(pieces, data), sound
		return ok
	})
	if !ok {
		return nil, false
	}
	return slices.Concat(pieces...), true
}

// eachPiece yields the pieces of a part until yield returns false.
func (t *Txn) eachPiece(number uint64, part byte, yield func(data []byte, sound bool) bool) {
	next, prefix, summed := uint32(0), partKey(number, part), t.summed(number)
	var place [16]byte
	for key, data := range t.scan(kindWelcomes, prefix, nil) {
		sound := bytes.Equal(key, appendIndex(append(place[:0], prefix...), next))
		if summed {
			var same bool
			data, same = cutSum(key, data)
			sound = sound && same
		}
		if next++; !yield(data, sound) {
			return
		}
	}
}

func partKey(number uint64, part byte) []byte { return append(numberKey(number), part) }

func postedRecipientKey(key recipientKey) []byte {
	return appendIndex(partKey(key.welcome, partRecipient), key.index)
}

func (t *Txn) welcomeByID(id delivery.WelcomeID) *welcome {
	number := t.get(kindWelcomeIDs, id[:welcomeIDPrefix])
	if number == nil {
		return nil
	}
	w := t.welcome(readNumber(number))
	if w == nil || w.id != id {
		return nil // one that cannot be read is nobody's
	}
	return w
}

// welcomeNumber returns the number of the Welcome with that id, also if its header cannot be
// read; 0 if there is none.
func (t *Txn) welcomeNumber(id delivery.WelcomeID) uint64 {
	number := t.get(kindWelcomeIDs, id[:welcomeIDPrefix])
	if number == nil {
		return 0
	}
	if w := t.header(readNumber(number)); w != nil && w.id != id {
		return 0
	}
	return readNumber(number)
}

func (t *Txn) welcome(number uint64) *welcome {
	w := t.header(number)
	if w == nil {
		return nil
	}
	of := t.postedState(number)
	if of == nil {
		return nil
	}
	w.postedState = of.postedState
	return w
}

// postedState returns a Welcome with only its state; nil if its row is missing or cannot be read.
func (t *Txn) postedState(number uint64) (w *welcome) {
	row := t.get(kindPosted, numberKey(number))
	ok := readable(func() {
		w = &welcome{number: number}
		d := decoder(row)
		w.open = int(d.number())
		d.flags(&w.holdCounted)
		d.times(&w.releasedAt, &w.cancelledAt, &w.lastEnd, &w.endedAt)
	})
	if !ok {
		return nil
	}
	return w
}

// header returns a Welcome without its state; nil if its row is missing or cannot be read. Its
// bytes are valid until the next write.
func (t *Txn) header(number uint64) (w *welcome) {
	key := partKey(number, partHeader)
	row := t.get(kindWelcomes, key)
	if row == nil || !readable(func() { w = decodeHeader(number, key, row, t.summed(number)) }) {
		return nil
	}
	return w
}

// decodeHeader reads a row of two parts, each with a checksum. The first says whose the Welcome
// is. The second is what all recipients are given.
func decodeHeader(number uint64, key, row []byte, summed bool) *welcome {
	w, d, rest := &welcome{number: number}, decoder(row), []byte(nil)
	if summed {
		d, rest = cutHead(key, row)
	}
	copy(w.id[:], d.bytes())
	w.poster = d.string()
	w.suite, w.recipients = mls.CipherSuite(d.number()), int(d.number())
	d.flags(&w.hold, &w.requireAll, &w.apart, &w.noContext)
	w.postedAt = d.time()
	w.treeSize, w.treeHash = int(d.number()), d.bytes()
	if summed {
		if w.apart {
			w.infoSize = int(d.number())
		}
		var ok bool
		if d, ok = cutSum(key, rest); !ok {
			w.damaged = true
			return w
		}
	}
	w.context, w.groupInfo = d.bytes(), d
	return w
}

func (t *Txn) putHeader(w *welcome) {
	key := partKey(w.number, partHeader)
	e := make(encoder, 0, 128)
	e.bytes(w.id[:])
	e.string(w.poster)
	e.number(uint64(w.suite))
	e.number(uint64(w.recipients))
	e.flags(w.hold, w.requireAll, w.apart, w.noContext)
	e.time(w.postedAt)
	e.number(uint64(w.treeSize))
	e.bytes(w.treeHash)
	if !t.summed(w.number) {
		e.bytes(w.context)
		t.put(kindWelcomes, key, append(e, w.groupInfo...))
		return
	}
	if w.apart {
		e.number(uint64(w.infoSize))
	}
	row := appendHead(make(encoder, 0, len(e)+len(w.context)+len(w.groupInfo)+32), key, e)
	head := len(row)
	row.bytes(w.context)
	t.put(kindWelcomes, key, appendSum(append(row, w.groupInfo...), key, head))
}

// saveWelcome writes the state of the Welcome.
func (t *Txn) saveWelcome(w *welcome) {
	e := make(encoder, 0, 32)
	e.number(uint64(w.open))
	e.flags(w.holdCounted)
	e.times(w.releasedAt, w.cancelledAt, w.lastEnd, w.endedAt)
	t.put(kindPosted, numberKey(w.number), e)
}

// held reports whether the Welcome waits to be released.
func (w *welcome) held() bool {
	return w.hold && w.releasedAt.IsZero() && w.cancelledAt.IsZero()
}

// uncountHold removes a Welcome that is no longer held from the count of overdue holds.
func (t *Txn) uncountHold(w *welcome) {
	if w.holdCounted {
		w.holdCounted = false
		t.counted.holdsOver--
	}
}

// matching returns the Welcome that matched a KeyPackage last; nil if none has, or if it is
// forgotten.
func (t *Txn) matching(k *keyPackage) *welcome {
	if k.recipient == (recipientKey{}) {
		return nil
	}
	return t.header(k.recipient.welcome)
}

func treeHash(tree []byte) []byte {
	if tree == nil {
		return nil
	}
	sum := sha256.Sum256(tree)
	return sum[:]
}

// A postedRecipient is what a post wrote of a recipient, in a row of the Welcome: the
// verdict, and what only that recipient is given. What has become of it since is the
// recipient, in a row of its device.
type postedRecipient struct {
	verdict delivery.Status // empty if it matched
	ref     mls.KeyPackageRef
	device  uint64             // 0 if the poster may not know it
	by      delivery.WelcomeID // that took the KeyPackage, if the poster's own
	secret  []byte             // what follows the ref in EncryptedGroupSecrets; nil unless matched
	damaged bool               // the secret is not what was posted
	lost    bool               // nothing of the row can be read
}

// encoded returns the EncryptedGroupSecrets as the poster sent it. A ref is a
// vector of at most 64 bytes (RFC 9420 §2.1.2).
func (r *postedRecipient) encoded() []byte {
	b := make([]byte, 0, 2+len(r.ref)+len(r.secret))
	if n := len(r.ref); n < 1<<6 {
		b = append(b, byte(n))
	} else {
		b = append(b, 1<<6|byte(n>>8), byte(n))
	}
	b = append(b, r.ref...)
	return append(b, r.secret...)
}

// afterRef returns the bytes that follow the ref in an EncryptedGroupSecrets.
func afterRef(s mls.EncryptedGroupSecrets) []byte {
	head := &postedRecipient{ref: s.NewMember}
	return s.Bytes()[len(head.encoded()):]
}

func (t *Txn) putPostedRecipient(key recipientKey, r *postedRecipient) {
	e := make(encoder, 0, 96)
	e.string(string(r.verdict))
	e.string(string(r.ref))
	e.number(r.device)
	if r.by == (delivery.WelcomeID{}) {
		e.bytes(nil)
	} else {
		e.bytes(r.by[:])
	}
	place := postedRecipientKey(key)
	if !t.summed(key.welcome) {
		t.put(kindWelcomes, place, append(e, r.secret...))
		return
	}
	row := appendHead(make(encoder, 0, len(e)+len(r.secret)+16), place, e)
	head := len(row)
	t.put(kindWelcomes, place, appendSum(append(row, r.secret...), place, head))
}

// postedRecipient returns a postedRecipient that is lost if the row is missing or cannot be
// read.
func (t *Txn) postedRecipient(key recipientKey) *postedRecipient {
	place := postedRecipientKey(key)
	return readPostedRecipient(place, t.get(kindWelcomes, place), t.summed(key.welcome))
}

func readPostedRecipient(key, row []byte, summed bool) (r *postedRecipient) {
	if row == nil || !readable(func() { r = decodePostedRecipient(key, row, summed) }) {
		return &postedRecipient{lost: true}
	}
	return r
}

// decodePostedRecipient reads a row of two parts, each with a checksum, as decodeHeader does.
func decodePostedRecipient(key, row []byte, summed bool) *postedRecipient {
	d, rest := decoder(row), []byte(nil)
	if summed {
		d, rest = cutHead(key, row)
	}
	r := &postedRecipient{verdict: delivery.Status(d.string()), ref: mls.KeyPackageRef(d.string()), device: d.number()}
	copy(r.by[:], d.bytes())
	if !summed {
		r.secret = d
		return r
	}
	secret, ok := cutSum(key, rest)
	if r.damaged = !ok; ok {
		r.secret = secret
	}
	return r
}

// eachPostedRecipient calls yield for every entry of secrets[] of a Welcome, until it returns
// false.
func (t *Txn) eachPostedRecipient(welcome uint64, yield func(recipientKey, *postedRecipient) bool) {
	summed := t.summed(welcome)
	for key, row := range t.scan(kindWelcomes, partKey(welcome, partRecipient), nil) {
		if len(key) != numberBytes+1+indexBytes {
			continue
		}
		index := key[numberBytes+1:]
		if !yield(readRecipientKey(append(numberKey(welcome), index...)), readPostedRecipient(key, row, summed)) {
			return
		}
	}
}

// outcome reads what became of a Welcome.
func (t *Txn) outcome(w *welcome) delivery.Outcome {
	o := delivery.Outcome{
		ID: w.id, PostedAt: w.postedAt, Hold: w.hold, RequireAll: w.requireAll, Cancelled: !w.cancelledAt.IsZero(),
		Recipients: make([]delivery.Recipient, 0, w.recipients),
	}
	t.aheadOfRecipients(w.number)
	t.eachPostedRecipient(w.number, func(key recipientKey, r *postedRecipient) bool {
		o.Recipients = append(o.Recipients, t.describe(key, r))
		return true
	})
	return o
}

// describe tells the poster of a recipient. It says that one whose row cannot be read is damaged.
func (t *Txn) describe(key recipientKey, r *postedRecipient) delivery.Recipient {
	answer := delivery.Recipient{Ref: r.ref, Status: r.verdict}
	d := t.readDevice(r.device)
	if d != nil {
		answer.Device = &d.id
	}
	if r.by != (delivery.WelcomeID{}) {
		answer.By = &r.by
	}
	if r.verdict != "" {
		return answer
	}
	answer.Matched, answer.Status = true, delivery.StatusDamaged
	if d == nil {
		return answer
	}
	m := t.recipient(d, key)
	if m == nil {
		return answer
	}
	rec := m.rec
	answer.Status = rec.State.Status()
	answer.ReleasedAt, answer.DeliveredAt, answer.WithheldAt, answer.EndedAt = rec.ReleasedAt, rec.DeliveredAt, rec.WithheldAt, rec.EndedAt
	answer.Reason, answer.Detail = rec.Reason, rec.Detail
	return answer
}

// A recipientPlace says where the row of a recipient lies: of which device, and under which key.
type recipientPlace struct {
	device uint64
	key    recipientKey
}

// recipientPlaces returns the places of the recipients whose states are wanted. It leaves out
// rows that it cannot read.
func (t *Txn) recipientPlaces(welcome uint64, wanted func(delivery.WelcomeState) bool) (places []recipientPlace) {
	all := t.matchedPlaces(welcome)
	t.aheadOfPlaces(all)
	for _, p := range all {
		if _, m := t.recipientAt(p); m != nil && wanted(m.rec.State) {
			places = append(places, p)
		}
	}
	return places
}

// matchedPlaces returns the places of all recipients of a Welcome that matched.
func (t *Txn) matchedPlaces(welcome uint64) (places []recipientPlace) {
	t.eachPostedRecipient(welcome, func(key recipientKey, r *postedRecipient) bool {
		if r.verdict == "" && !r.lost {
			places = append(places, recipientPlace{r.device, key})
		}
		return true
	})
	return places
}

// recipientAt reads the recipient at a place. It returns nil if the row is missing or cannot be
// read.
func (t *Txn) recipientAt(p recipientPlace) (*device, *recipient) {
	d := t.readDevice(p.device)
	if d == nil {
		return nil, nil
	}
	return d, t.recipient(d, p.key)
}

// eachRecipient calls fn for every recipient that matched and whose row can be read.
func (t *Txn) eachRecipient(welcome uint64, fn func(*device, *recipient)) {
	all := t.matchedPlaces(welcome)
	t.aheadOfPlaces(all)
	for _, p := range all {
		if d, m := t.recipientAt(p); m != nil {
			fn(d, m)
		}
	}
}
