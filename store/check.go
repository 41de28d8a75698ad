package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/progress"
)

// CheckOptions are the settings of a check. The zero value is ready to use.
type CheckOptions struct {
	Progress *progress.Progress
	Most     int  // findings in a report, more are only counted; 0: 100
	Copied   bool // the bytes of KeyPackages are copied as they are
}

// A Report says what is in a file and what is wrong with it.
type Report struct {
	KeyPackages, Welcomes, Devices int // rows; Welcomes by recipient

	Findings   []Finding
	Found      int    // also those that are not in Findings
	Repairable int    // of those
	Ending     int    // of those that are repairable
	Repaired   int    // by Repair
	Copy       string // that Repair has kept
	// LostCommit: the last commit is not on the disk as a whole, and the state before
	// it is sound. Repair puts that in its place, as a restored backup.
	LostCommit bool
}

// Sound reports whether nothing was found.
func (r *Report) Sound() bool { return r.Found == 0 }

// A Finding is one thing that is wrong with a file, in a sentence.
type Finding struct {
	Text       string
	Repairable bool // by Repair, without loss
	Ends       bool // or so that what is damaged ends, as a server ends it
}

// Add adds a finding.
func (r *Report) Add(opts CheckOptions, f Finding) {
	if r.Found++; f.Repairable {
		r.Repairable++
	}
	if f.Ends {
		r.Ending++
	}
	most := opts.Most
	if most == 0 {
		most = 100
	}
	if len(r.Findings) < most {
		r.Findings = append(r.Findings, f)
	}
}

// Err returns nil for a sound file.
func (r *Report) Err() error {
	if r.Sound() {
		return nil
	}
	first, what := r.Findings[0], "restore a backup"
	if r.Repairable == r.Found {
		what = "welcomed check --repair mends it"
	}
	if r.Found == 1 {
		return fmt.Errorf("%w: %s; %s", ErrUnsound, first.Text, what)
	}
	return fmt.Errorf("%w: %s, and %d findings more; %s", ErrUnsound, first.Text, r.Found-1, what)
}

// ErrUnsound: the rows of a file contradict each other.
var ErrUnsound = errors.New("it is not sound")

// A checker counts what is in a file, in the same way as the file's totals do.
type checker struct {
	*Txn
	ctx    context.Context
	opts   CheckOptions
	report *Report
	looks  int64
	fixes  []func(*Txn) // what repairs the findings, when no scan is on its way
	limits delivery.Limits

	want       Totals // as the file says
	last       uint64 // the highest number that is found
	unreadable int
	devicesN   int
	payloads   int64             // that KeyPackages have, as they say
	waiting    map[byte][]uint64 // Welcomes that have a timer, by its kind
	refound    map[string]bool   // keys of reservations that find something else
	orphans    uint64            // device whose rows were found without it, last
	deviceCheck
}

// Check checks all rows. It returns the functions that repair them, at most mostFixes at a
// time.
func (t *Txn) Check(ctx context.Context, r *Report, opts CheckOptions) (fixes []func(*Txn), err error) {
	t.raw = true
	c := &checker{Txn: t, ctx: ctx, opts: opts, report: r, limits: delivery.DefaultLimits(), want: t.rows.Totals(), waiting: map[byte][]uint64{}, refound: map[string]bool{}}
	err = Recovering(c.all)
	r.Devices = c.devicesN
	for _, n := range c.counted.keyPackages {
		r.KeyPackages += int(n)
	}
	for _, n := range c.counted.welcomes {
		r.Welcomes += int(n)
	}
	return c.fixes, err
}

func (c *checker) all() (err error) {
	if err := c.timersOfWelcomes(); err != nil {
		return err
	}
	for _, kind := range Kinds {
		if looked := rowChecks[kind]; looked != nil {
			if err := c.each(kind, func(k, v []byte) { looked(c, k, v) }); err != nil {
				return err
			}
		}
	}
	if err := Recovering(func() error { c.endDevice(); return nil }); err != nil && !IsDamage(err) {
		return err
	}
	if err := c.payloadRows(); err != nil {
		return err
	}
	c.totals()
	if c.store.meta.Format == FormatVersion && c.get(KindMeta, keyRestoreEpoch) == nil {
		c.repairable(putRow(KindMeta, keyRestoreEpoch, newEpoch()), "the restore epoch is missing, without which nothing can be published that was made before the last restore")
	}
	return nil
}

// each calls look for every row of a kind. A row that cannot be read becomes a finding.
func (c *checker) each(kind *Kind, look func(k, v []byte)) error {
	for k, v := range c.scan(kind, nil, nil) {
		if c.looks++; c.looks%1024 == 0 {
			if c.ctx.Err() != nil {
				return c.ctx.Err()
			}
			c.opts.Progress.Add(1024)
		}
		c.devices = nil // remembers none: there may be millions
		err := Recovering(func() error { look(k, v); return nil })
		if IsDamage(err) {
			c.unreadable++
			c.wrong("row %x of %s, or one that it names, cannot be read", k, kind.Name)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// wrong notes a fault that cannot be repaired.
func (c *checker) wrong(format string, args ...any) {
	c.report.Add(c.opts, Finding{Text: fmt.Sprintf(format, args...)})
}

// mostFixes bounds the memory of one round of a repair. Rounds follow until nothing is left.
const mostFixes = 50_000

// repairable notes a fault that fix repairs.
func (c *checker) repairable(fix func(*Txn), format string, args ...any) {
	c.fixable(Finding{Text: fmt.Sprintf(format, args...), Repairable: true}, fix)
}

// damaged notes damaged data that fix ends.
func (c *checker) damaged(fix func(*Txn), format string, args ...any) {
	c.fixable(Finding{Text: fmt.Sprintf(format, args...), Repairable: true, Ends: true}, fix)
}

func (c *checker) fixable(f Finding, fix func(*Txn)) {
	c.report.Add(c.opts, f)
	if len(c.fixes) < mostFixes {
		c.fixes = append(c.fixes, fix)
	}
}

func putRow(b *Kind, key, value []byte) func(*Txn) {
	key, value = slices.Clone(key), slices.Clone(value)
	return func(t *Txn) { t.put(b, key, value) }
}

func delRow(b *Kind, key []byte) func(*Txn) {
	key = slices.Clone(key)
	return func(t *Txn) { t.del(b, key) }
}

// rowChecks has the check of each kind of row. Payloads are checked after all others. Rows of
// meta are checked where they are used.
var rowChecks = map[*Kind]func(c *checker, key, v []byte){
	kindTokens:       func(c *checker, key, v []byte) { c.tokenRow(string(key), v) },
	kindDevices:      (*checker).deviceRow,
	kindGone:         (*checker).goneRow,
	kindWelcomeIDs:   (*checker).welcomeID,
	kindIdempotency:  (*checker).idempotency,
	kindNames:        (*checker).name,
	kindOwners:       func(c *checker, key, _ []byte) { c.owner(key) },
	kindPosted:       func(c *checker, key, _ []byte) { c.posted(readNumber(key)) },
	kindRefs:         (*checker).ref,
	kindTimers:       func(c *checker, key, _ []byte) { c.timer(key) },
	kindReservations: (*checker).reservation,
	kindEvents:       (*checker).eventRow,
	kindFeed:         (*checker).feedRow,
}

func (c *checker) welcomeID(key, v []byte) {
	if w := c.header(readNumber(v)); w == nil || string(w.id[:welcomeIDPrefix]) != string(key) {
		c.repairable(delRow(kindWelcomeIDs, key), "the id %x… has no Welcome", key)
	}
}

func (c *checker) name(key, v []byte) {
	number := readNumber(v)
	if d := c.deviceByNumber(number); d == nil || c.isGone(d) || string(nameKey(d.id)) != string(key) {
		for range c.scan(kindDevices, numberKey(number), nil) {
			if d == nil { // its rows are there, and that is said of them
				return
			}
		}
		c.repairable(delRow(kindNames, key), "the name %q has no device", key)
	}
}

// isGone reports whether a device is found among those that were removed.
func (c *checker) isGone(d *device) bool { return d.removed && c.store.meta.Format == FormatVersion }

// goneRow checks that the removed device which the row names is there. A row that names no
// device says when all devices of a user were removed.
func (c *checker) goneRow(key, v []byte) {
	if bytes.IndexByte(key, 0) == len(key)-1 {
		c.numbered(readNumber(v[min(len(v), numberBytes):]))
		return
	}
	if d := c.deviceByNumber(readNumber(v)); d == nil || !d.removed || string(goneKey(d.id, d.life)) != string(key) {
		c.repairable(delRow(kindGone, key), "the name %q of a device that was removed has none", key)
	}
}

func (c *checker) ref(key, v []byte) {
	if len(v) == 2*numberBytes+1 {
		if d := c.deviceByNumber(readNumber(v)); d != nil {
			k := c.keyPackage(d, keyPackageKey{readNumber(v[numberBytes:]), shelf(v[2*numberBytes])})
			if k != nil && string(k.rec.Ref[:refPrefix]) == string(key) {
				return
			}
		}
	}
	c.repairable(delRow(kindRefs, key), "the ref %x… has no KeyPackage", key)
}

// reservation checks a row that finds a KeyPackage by its reservation.
func (c *checker) reservation(key, v []byte) {
	if len(key) == 8+numberBytes && len(v) == numberBytes+1 {
		if d := c.deviceByNumber(readNumber(v)); d != nil {
			k := c.keyPackage(d, keyPackageKey{readNumber(key[8:]), shelf(v[numberBytes])})
			ids := [2]delivery.ReservationID{}
			if k != nil {
				ids = k.found
			}
			if slices.Contains(ids[:], delivery.ReservationID(readU64(key))) {
				return
			}
		}
	}
	if c.refound[string(key)] {
		return // its KeyPackage was seen before
	}
	c.repairable(delRow(kindReservations, key), "the reservation %x has no KeyPackage", key)
}

// eventRow checks that an event is in the feed, without which it would never be forgotten.
func (c *checker) eventRow(key, v []byte) {
	teller, number, _ := bytes.Cut(key, []byte{0})
	fed := string(teller)
	if len(number) == 0 { // what hides the teller's events
		number, fed = v, hides+fed
	}
	c.numbered(readNumber(number))
	if _, of, ok := decodeFeed(c.get(kindFeed, number)); !ok || of != fed {
		c.repairable(delRow(kindEvents, key), "the event %x is not in the feed", key)
	} else if fed == string(teller) {
		decodeEvent(v)
	}
}

// feedRow checks that what the feed has is there.
func (c *checker) feedRow(key, v []byte) {
	number := readNumber(key)
	_, teller, ok := decodeFeed(v)
	user, hidden := strings.CutPrefix(teller, hides)
	switch {
	case hidden && c.hiddenUntil(user) >= number: // or it was hidden once more
	case !hidden && ok && c.get(kindEvents, eventKey(teller, number)) != nil:
	default:
		c.repairable(delRow(kindFeed, key), "the feed has event number %d, which is not there", number)
	}
}

func (c *checker) idempotency(key, v []byte) {
	d := decoder(v)
	due, request := d.time(), d.bytes()
	decodeReservation(d.bytes())
	if len(key) != 16 || len(request) != 32 {
		c.wrong("the remembered reservation %x has a wrong length", key)
	}
	c.hasTimer(timerIdempotency, due, key, "the remembered reservation %x", key)
}

func (c *checker) tokenRow(id string, v []byte) {
	token := decodeToken(id, v)
	if owner := append(ownerKey(token.Owner, true), id...); c.get(kindOwners, owner) == nil {
		c.repairable(putRow(kindOwners, owner, nil), "token %s is not among its owner's", id)
	}
	if !token.Expires.IsZero() {
		c.hasTimer(timerToken, token.Expires, []byte(id), "token %s", id)
	}
}

func (c *checker) owner(key []byte) {
	id := key[1+lastZero(key):]
	row := c.get(kindTokens, id)
	if row == nil || string(append(ownerKey(decodeToken(string(id), row).Owner, true), id...)) != string(key) {
		c.repairable(delRow(kindOwners, key), "%q is said to have token %s, which is not there or another's", key[:lastZero(key)], id)
	}
}

func lastZero(key []byte) int {
	for i, b := range slices.Backward(key) {
		if b == 0 {
			return i
		}
	}
	panic(ErrCorrupt)
}

// timer checks that an entry can be read. An entry may be stale.
func (c *checker) timer(key []byte) {
	size := len(key) - 1 - numberBytes
	var fits bool
	switch key[0] {
	case timerDevice, timerTombstones, timerHold, timerEnded, timerForget:
		fits = size == numberBytes
	case timerIdempotency:
		fits = size == 16
	case timerToken:
		fits = size > 0
	case timerWebhook:
		fits = size == numberBytes+1
	}
	if !fits {
		c.repairable(delRow(kindTimers, key), "timer %x is for nothing that there is", key)
	}
}

// totals compares what was counted with the totals of the file.
func (c *checker) totals() {
	differs := func(of func(*Totals) *int64, format string, args ...any) {
		got, want := *of(&c.counted), *of(&c.want)
		if got != want {
			c.repairable(func(t *Txn) { *of(&t.counted) += got - want }, "%s: %d are counted, and there are %d", fmt.Sprintf(format, args...), want, got)
		}
	}
	for _, k := range delivery.KeyPackageStates {
		differs(func(t *Totals) *int64 { return &t.keyPackages[k] }, "KeyPackages that are %s", k)
	}
	for _, w := range delivery.WelcomeStates {
		differs(func(t *Totals) *int64 { return &t.welcomes[w] }, "recipients of Welcomes that are %s", w)
	}
	for i, name := range []string{"enough", "few", "no"} {
		differs(func(t *Totals) *int64 { return &t.stock[i] }, "devices that have %s KeyPackages left", name)
	}
	differs(func(t *Totals) *int64 { return &t.stock[stockLastResort] }, "devices that publish last resorts only")
	differs(func(t *Totals) *int64 { return &t.stock[stockIdle] }, "devices that were not seen for long")
	differs(func(t *Totals) *int64 { return &t.overdue }, "overdue Welcomes")
	differs(func(t *Totals) *int64 { return &t.holdsOver }, "overdue holds")
	for i := range lastShelf + 1 {
		if c.store.meta.Format > oldestFormat {
			differs(func(t *Totals) *int64 { return &t.shelves[i] }, "KeyPackages of suite %d on shelves (last resorts: %v)", i.suite(), i.lastResort())
		}
	}
	for i := range channels {
		differs(func(t *Totals) *int64 { return &t.hints[i] }, "hints for the %s", channels[i].name)
	}
	if last, given := c.last, c.rows.Last(); last > given {
		c.repairable(func(t *Txn) { t.raise(last) }, "number %d was given, and the next one to be given is %d", last, given+1)
	}
}

// numbered takes note of a number that the sequence has given.
func (c *checker) numbered(n uint64) { c.last = max(c.last, n) }

// payloadRows checks what is in the buckets of payloads: each belongs to a row.
func (c *checker) payloadRows() (err error) {
	var last uint64 // Welcome
	var known bool
	err = c.each(kindWelcomes, func(k, v []byte) {
		number := readNumber(k)
		if number == last {
			return
		}
		last, known = number, c.welcomeHeader(number)
		if !known && c.get(kindPosted, numberKey(number)) == nil {
			c.litter(func(t *Txn) {
				for _, key := range t.keys(kindWelcomes, numberKey(number), 0) {
					t.del(kindWelcomes, key)
				}
			}, "there are parts of Welcome number %d, and nothing says what it is", number)
		}
	})
	if err != nil {
		return err
	}
	rows := int64(0)
	for range c.scan(kindKeyPackages, nil, nil) {
		rows++
	}
	if rows == c.payloads {
		return nil
	}
	return c.each(kindKeyPackages, c.payloadRow)
}

// litter notes bytes to which no row refers, so that no device can be given them. If rows could
// not be read, one of those may refer to them.
func (c *checker) litter(fix func(*Txn), format string, args ...any) {
	if c.unreadable > 0 {
		c.wrong(format, args...)
		return
	}
	c.repairable(fix, format, args...)
}

// payloadRow checks that a row refers to the bytes of a KeyPackage.
func (c *checker) payloadRow(key, v []byte) {
	kp, err := mls.ParseKeyPackage(v)
	if err != nil {
		if !c.others[readNumber(key)] {
			c.wrong("what is kept as KeyPackage number %d is none", readNumber(key))
		}
		return
	}
	d, k := c.findRef(kp.Ref())
	switch {
	case k == nil || k.number != readNumber(key):
		c.litter(delRow(kindKeyPackages, key), "the bytes of KeyPackage %s are there twice, or without a state", kp.Ref())
	case !k.payload:
		c.repairable(func(t *Txn) { t.keepPayload(d.number, k.keyPackageKey) }, "the bytes of KeyPackage %s are there, and its row says that they are gone", kp.Ref())
	}
}

// findRef is refOwner, but accepts an index row whose KeyPackage is gone.
func (c *checker) findRef(ref mls.KeyPackageRef) (*device, *keyPackage) {
	v := c.get(kindRefs, []byte(ref[:refPrefix]))
	if len(v) != 2*numberBytes+1 {
		return nil, nil
	}
	d := c.deviceByNumber(readNumber(v))
	if d == nil {
		return nil, nil
	}
	k := c.keyPackage(d, keyPackageKey{readNumber(v[numberBytes:]), shelf(v[2*numberBytes])})
	if k == nil || k.rec.Ref != ref {
		return nil, nil
	}
	return d, k
}

// hasTimer checks that timers has an entry for what ends at due.
func (c *checker) hasTimer(kind byte, due time.Time, row []byte, format string, args ...any) {
	if key := timerKey(kind, due, row); c.get(kindTimers, key) == nil {
		c.repairable(putRow(kindTimers, key, nil), "%s has no timer: it would not end", fmt.Sprintf(format, args...))
	}
}
