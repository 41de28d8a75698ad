package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// An event is what the row of a delivery.Event says. To whom it is told, and its number,
// are in the key.
type event struct {
	kind      byte
	at        time.Time
	device    string            // of whom it is told; empty for eventOutcome
	recipient delivery.DeviceID // eventOutcome
	welcome   delivery.WelcomeID
	ref       mls.KeyPackageRef
	state     delivery.WelcomeState // eventOutcome
	reason    delivery.Reason
	stock     delivery.Stock // eventStock
}

// The kinds of events, as rows have them. A number is never used again.
const (
	eventWelcome = 1 + iota
	eventStock
	eventKeyPackage
	eventOutcome
)

var eventKinds = [...]delivery.EventKind{
	eventWelcome: delivery.EventWelcome, eventStock: delivery.EventStock,
	eventKeyPackage: delivery.EventKeyPackage, eventOutcome: delivery.EventOutcome,
}

func eventKey(teller string, number uint64) []byte {
	return appendNumber(append(append(make([]byte, 0, len(teller)+1+numberBytes), teller...), 0), number)
}

// hiddenKey is the row of a user who was removed: what it has told before is not told.
func hiddenKey(teller string) []byte { return append([]byte(teller), 0) }

func (e *event) fields(c *coder) {
	c.byte(&e.kind)
	if e.kind == 0 || int(e.kind) >= len(eventKinds) {
		panic(ErrCorrupt)
	}
	c.time(&e.at)
	if e.kind == eventOutcome {
		c.string((*string)(&e.recipient.User))
		c.string(&e.recipient.Name)
		c.byte((*byte)(&e.state))
		c.string((*string)(&e.reason))
	} else {
		c.string(&e.device)
	}
	if e.kind == eventStock {
		c.ints(&e.stock.Available, &e.stock.NotYetValid)
		return
	}
	c.string((*string)(&e.ref))
	if e.kind != eventKeyPackage {
		id := string(e.welcome[:])
		c.string(&id)
		if len(id) != len(e.welcome) {
			panic(ErrCorrupt)
		}
		copy(e.welcome[:], id)
	}
}

func decodeEvent(row []byte) (e event) {
	e.fields(&coder{row: row, reads: true})
	return e
}

// tell writes an event. teller is whose it is: a user, or the ID of another caller.
//
// All events come from three places, which write all that events tell of: saveRecipient,
// saveKeyPackage and flushDevice.
func (t *Txn) tell(teller string, e event) {
	if t.quiet || t.store.meta.Format != FormatVersion {
		return
	}
	number := t.next()
	e.at = t.now
	c := coder{row: make([]byte, 0, 96)}
	e.fields(&c)
	t.put(kindEvents, eventKey(teller, number), c.row)
	t.putFeed(number, teller)
	t.tellers = append(t.tellers, teller)
}

// tellDevice writes an event about a device, and a hint if somebody is to wake it.
func (t *Txn) tellDevice(d *device, e event) {
	e.device = d.id.Name
	t.tell(string(d.id.User), e)
	t.hint(d, e.kind)
}

// tellOfRecipient tells what has become of a recipient that is about to be written: its device that
// it can be claimed, or its poster what became of it.
func (t *Txn) tellOfRecipient(d *device, m *recipient) {
	if m.stored && m.was == m.rec.State || m.rec.State == delivery.Held {
		return
	}
	if t.quiet || !t.known(d, m) {
		return
	}
	if m.rec.State == delivery.Pending {
		t.tellDevice(d, event{kind: eventWelcome, welcome: m.from.id, ref: m.ref})
		return
	}
	t.tell(m.from.poster, event{
		kind: eventOutcome, recipient: d.id, welcome: m.from.id, ref: m.ref, state: m.rec.State, reason: m.rec.Reason,
	})
}

// A source is the Welcome that a recipient is of.
type source struct {
	id     delivery.WelcomeID
	poster string
}

// known looks up what Welcome a recipient is of and for which KeyPackage, unless whoever
// changes it has said so. It reports false if nobody can know.
func (t *Txn) known(d *device, m *recipient) bool {
	if m.from == nil {
		w := t.header(m.welcome)
		if w == nil {
			return false
		}
		m.from = &source{w.id, w.poster}
	}
	if m.ref != "" {
		return true
	}
	if r := t.postedRecipient(m.recipientKey); !r.lost {
		m.ref = r.ref
	} else if k := t.keyPackage(d, m.kp); k != nil {
		m.ref = k.rec.Ref
	}
	return true
}

// tellOfKeyPackage tells that a last resort which is about to be written was handed out.
func (t *Txn) tellOfKeyPackage(d *device, k *keyPackage) {
	if k.rec.LastResort && !k.handedOut && !k.rec.HandedOutAt.IsZero() {
		t.tellDevice(d, event{kind: eventKeyPackage, ref: k.rec.Ref})
	}
}

// tellOfStock tells that a device which is about to be written has few KeyPackages left,
// or none.
func (t *Txn) tellOfStock(d *device) {
	low := d.had >= t.limits.LowWatermark && d.available < t.limits.LowWatermark
	if d.removed || !low && (d.had == 0 || d.available > 0) {
		return
	}
	t.tellDevice(d, event{kind: eventStock, stock: t.stock(d)})
}

// hideEvents has nothing told of a user any more that was told until now.
func (t *Txn) hideEvents(user delivery.UserID) {
	if !t.hasEvents(user) {
		return
	}
	number := t.next()
	t.put(kindEvents, hiddenKey(string(user)), numberKey(number))
	t.putFeed(number, hides+string(user))
}

// hasEvents reports whether there are events of a user that can be told: those of before a
// restore never are.
func (t *Txn) hasEvents(user delivery.UserID) bool {
	from := eventKey(string(user), max(t.hiddenUntil(string(user)), t.restoredOrder())+1)
	for range t.scan(kindEvents, from[:len(user)+1], from) {
		return true
	}
	return false
}

// hiddenUntil is the last number of what a teller does not tell any more.
func (t *Txn) hiddenUntil(teller string) uint64 {
	if row := t.get(kindEvents, hiddenKey(teller)); row != nil {
		return readNumber(row)
	}
	return 0
}

// keyEventsFrom has the number up to which events are forgotten.
var keyEventsFrom = []byte("events_from")

func (t *Txn) eventsFrom() uint64 {
	if v := t.get(KindMeta, keyEventsFrom); v != nil {
		return readNumber(v)
	}
	return 0
}

// forgetEvents notes that events up to a number are forgotten.
func (t *Txn) forgetEvents(until uint64) {
	if t.eventsFrom() < until {
		t.put(KindMeta, keyEventsFrom, numberKey(until))
	}
}

// Events implements delivery.Store.
func (s *Store) Events(ctx context.Context, caller delivery.Caller, q delivery.EventQuery) (page delivery.EventPage, err error) {
	var after eventPlace
	if q.After != "" {
		if after, err = s.readEventCursor(q.After); err != nil {
			return page, err
		}
	}
	err = s.viewAs(ctx, caller, func(t *Txn) error {
		r := &eventReader{Txn: t, caller: caller, q: q, settled: t.rows.Settled()}
		page = r.read(after)
		return nil
	})
	if err != nil {
		return delivery.EventPage{}, err
	}
	return page, nil
}

// An eventReader fills a page of events.
type eventReader struct {
	*Txn
	caller  delivery.Caller
	q       delivery.EventQuery
	settled uint64
	page    delivery.EventPage
	looked  int
	hidden  map[string]uint64 // hiddenUntil, by teller
}

// eventsLooked is how many rows a page looks at: a device's events may lie among many of
// its user's others.
const eventsLooked = 2000

func (r *eventReader) read(after eventPlace) delivery.EventPage {
	if r.q.Limit <= 0 || r.q.Limit > delivery.EventsPerPage {
		r.q.Limit = delivery.EventsPerPage
	}
	from := r.begin(after)
	if r.q.User == "" {
		r.readAll(from)
	} else {
		r.readUser(from)
	}
	return r.page
}

// begin says behind which number the page begins, and what is missing in front of it.
func (r *eventReader) begin(after eventPlace) uint64 {
	restored, kept := r.restoredOrder(), r.eventsFrom()
	switch {
	case after.epoch == "":
		return r.settled
	case after.foreign, after.epoch != r.store.restore.Epoch, after.number > max(r.settled, r.rows.Last()):
		r.page.Gap = delivery.GapRestored
		return max(restored, kept)
	case after.number < kept:
		r.page.Gap = delivery.GapExpired
		return kept
	}
	return after.number
}

func (r *eventReader) readUser(from uint64) {
	teller := string(r.q.User)
	from = max(from, r.hiddenUntil(teller))
	if r.q.Device != "" {
		id := delivery.DeviceID{User: r.q.User, Name: r.q.Device}
		d := r.lastOf(id)
		r.page.Exists = d != nil && !d.removed
		if d == nil {
			d = unknown(id)
		}
		_, removed := r.lastRemovalOf(d)
		from = max(from, removed)
	}
	start := eventKey(teller, from+1)
	for key, row := range r.scan(kindEvents, start[:len(teller)+1], start) {
		if len(key) != len(start) {
			continue
		}
		number := readNumber(key[len(teller)+1:])
		if number > r.settled {
			break
		}
		if !r.add(teller, number, row) {
			return
		}
	}
	r.page.Next = r.store.placeCursor(max(r.settled, from))
}

// readAll reads the events of all users, in the order of the feed.
func (r *eventReader) readAll(from uint64) {
	for key, row := range r.scan(kindFeed, nil, numberKey(from+1)) {
		number := readNumber(key)
		if number > r.settled {
			break
		}
		_, teller, ok := decodeFeed(row)
		if !ok {
			r.page.Gap = delivery.GapDamaged
		}
		if !ok || !r.mayRead(teller, number) {
			if r.looked++; r.looked < eventsLooked {
				continue
			}
			r.more(number)
			return
		}
		if !r.add(teller, number, r.get(kindEvents, eventKey(teller, number))) {
			return
		}
	}
	r.page.Next = r.store.placeCursor(max(r.settled, from))
}

func (r *eventReader) mayRead(teller string, number uint64) bool {
	if strings.HasPrefix(teller, hides) || !isUser(teller) && !r.caller.May(teller) {
		return false
	}
	until, known := r.hidden[teller]
	if !known {
		if r.hidden == nil {
			r.hidden = make(map[string]uint64)
		}
		until = r.hiddenUntil(teller)
		r.hidden[teller] = until
	}
	return number > until
}

// isUser reports whether the ID of a caller is that of a user.
func isUser(caller string) bool { return caller != "" && !strings.Contains(caller, "/") }

// add adds an event to the page, and reports whether there is room for more.
func (r *eventReader) add(teller string, number uint64, row []byte) bool {
	r.looked++
	var e event
	switch {
	case !readable(func() { e = decodeEvent(row) }):
		r.page.Gap = delivery.GapDamaged
	case r.q.Device == "" || e.device == "" || e.device == r.q.Device:
		r.page.Events = append(r.page.Events, r.told(teller, number, e))
	}
	if len(r.page.Events) == r.q.Limit || r.looked == eventsLooked {
		r.more(number)
		return false
	}
	return true
}

// more has the next page begin behind a number.
func (r *eventReader) more(number uint64) {
	r.page.Next, r.page.More = r.store.placeCursor(number), true
}

func (r *eventReader) told(teller string, number uint64, e event) delivery.Event {
	told := delivery.Event{
		ID: r.store.eventCursor(number), Kind: eventKinds[e.kind], At: e.at, Device: e.device,
		Welcome: e.welcome, Ref: e.ref, Recipient: e.recipient, Reason: e.reason, Stock: e.stock,
	}
	if isUser(teller) {
		told.User = delivery.UserID(teller)
	}
	switch e.kind {
	case eventOutcome:
		told.Status = e.state.Status()
	case eventStock:
		told.Stock.Low = true
	}
	return told
}

// sweepEventRows is how many events are forgotten in one transaction.
const sweepEventRows = sweepWrites / 2

// sweepEvents forgets events that were kept long enough. It finds them outside the writer.
func (s *Store) sweepEvents(ctx context.Context, result *delivery.SweepResult) error {
	for size := sweepEventRows; ; {
		var due []dueEvent
		err := s.engine.View(ctx, func(t *Txn) error { due = t.dueEvents(size); return nil })
		if err != nil || len(due) == 0 {
			return err
		}
		err = s.run(ctx, func(t *Txn) error {
			for _, e := range due {
				t.forgetEvent(e)
			}
			t.forgetEvents(due[len(due)-1].number)
			return nil
		})
		switch {
		case errors.Is(err, delivery.ErrFull) && size > 1:
			size /= 2
		case err != nil:
			return err
		default:
			result.ForgottenEvents += len(due)
		}
	}
}

// A dueEvent is one that has been kept long enough.
type dueEvent struct {
	number uint64
	teller string
	hides  bool // it is what hides a teller's events
}

// dueEvents returns at most most of them, oldest first.
func (t *Txn) dueEvents(most int) (due []dueEvent) {
	t.ahead(func(w *Wanted) { w.begins(kindFeed, nil, most+1) })
	for key, row := range t.scan(kindFeed, nil, nil) {
		e := dueEvent{number: readNumber(key)}
		at, teller, _ := decodeFeed(row) // one that cannot be read would stand in front for ever
		if at.After(t.sure) {
			at = t.putRight(at, e.number) // by a clock that was ahead
		}
		if len(due) == most || at.Add(delivery.EventsKept).After(t.sure) {
			break
		}
		e.teller, e.hides = strings.CutPrefix(teller, hides)
		due = append(due, e)
	}
	return due
}

func (t *Txn) forgetEvent(e dueEvent) {
	t.del(kindFeed, numberKey(e.number))
	switch {
	case !e.hides:
		t.del(kindEvents, eventKey(e.teller, e.number))
	case t.hiddenUntil(e.teller) == e.number: // none is hidden since
		t.del(kindEvents, hiddenKey(e.teller))
	}
}

// hides stands in front of the teller in a row of the feed that is no event: it is there so
// that a sweep finds what hides the teller's events.
const hides = "\x00"

// putFeed puts something in the feed, now.
func (t *Txn) putFeed(number uint64, teller string) {
	row := append(appendNumber(make([]byte, 0, numberBytes+len(teller)), Millis(t.now)), teller...)
	t.put(kindFeed, numberKey(number), row)
}

func decodeFeed(row []byte) (at time.Time, teller string, ok bool) {
	if len(row) < numberBytes {
		return at, "", false
	}
	return FromMillis(readNumber(row)), string(row[numberBytes:]), true
}
