package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
)

// mostEvents is how many events are shown of one device or KeyPackage: the newest.
const mostEvents = 40

// part is the evidence about a device.
func (x explainer) part(d Device) Part {
	p := Part{Title: d.Device.String()}
	var l log
	if d.Known {
		p.Now = x.stateOfDevice(d)
		for _, r := range d.KeyPackages {
			l.keyPackage(r)
		}
		for _, m := range d.Welcomes {
			l.recipient(m)
		}
		if d.Removed && !d.RemovedAt.IsZero() {
			l.note(d.RemovedAt, "the device was removed", "", "")
		}
		if !x.RestoredAt.IsZero() {
			l.note(x.RestoredAt, "a backup was restored: all shelves were emptied but for last resorts", "", "")
		}
	}
	for _, list := range [][]Refusal{d.Refused, d.Strangers, d.Unmatched, d.Unserved} {
		for _, r := range list {
			l.refusal(r)
		}
	}
	p.Events, p.LeftOut = l.events()
	p.LeftOut += d.MoreKeyPackages + d.MoreWelcomes
	return p
}

func (x explainer) stateOfDevice(d Device) []string {
	now := []string{x.stock(d)}
	if n := sum(d.Counts, func(c delivery.SuiteCounts) int { return c.Reserved }); n > 0 {
		now = append(now, plural(n, "KeyPackage")+" reserved, no Welcome yet")
	}
	if n := sum(d.Counts, func(c delivery.SuiteCounts) int { return c.Retired }); n > 0 {
		now = append(now, plural(n, "KeyPackage")+" off the shelf that a Welcome may still name")
	}
	switch {
	case d.Overdue > 0:
		now = append(now, fmt.Sprintf("%s since %s; the device has asked since, and left %d", waiting(d.Pending), ago(d.OldestPending, x.Now), d.Overdue))
	case d.Pending > 0:
		now = append(now, fmt.Sprintf("%s since %s; the device has not asked since", waiting(d.Pending), ago(d.OldestPending, x.Now)))
	case d.Held == 0:
		now = append(now, "no Welcome waits")
	}
	if d.Held > 0 {
		now = append(now, plural(d.Held, "Welcome")+" held back by whoever posted them")
	}
	if d.Delivered > 0 {
		now = append(now, plural(d.Delivered, "Welcome")+" given to the device and not acknowledged")
	}
	if d.Removed {
		return append(now, "removed")
	}
	return append(now, "last seen "+ago(d.SeenAt, x.Now)+"; that it asked in vain is noted once a day")
}

// waiting returns "1 Welcome waits" or "2 Welcomes wait".
func waiting(n int) string {
	if n == 1 {
		return "1 Welcome waits"
	}
	return plural(n, "Welcome") + " wait"
}

func sum(counts []delivery.SuiteCounts, of func(delivery.SuiteCounts) int) (n int) {
	for _, c := range counts {
		n += of(c)
	}
	return n
}

// keyPackagePart is the evidence about a KeyPackage.
func (x explainer) keyPackagePart(k KeyPackage) Part {
	p := Part{Title: "KeyPackage " + k.Ref.String()}
	var l log
	if k.Known {
		what := ""
		if k.LastResort {
			what = ", a last resort"
		}
		p.Now = []string{fmt.Sprintf("%s; of %s, cipher suite %d%s", k.State, k.Device, k.Suite, what), "not_after is " + stamp(k.NotAfter())}
		if k.Owner.Known {
			p.Now = append(p.Now, "its device was last seen "+ago(k.Owner.SeenAt, x.Now))
		}
		l.keyPackage(k.KeyPackageRecord)
		for _, m := range k.Welcomes {
			l.recipient(m)
		}
	}
	for _, r := range k.Unmatched {
		l.refusal(r)
	}
	p.Events, p.LeftOut = l.events()
	p.LeftOut += k.MoreWelcomes
	return p
}

// A log collects events. Equal events of several KeyPackages in the same second become one.
type log []*entry

type entry struct {
	at      time.Time
	text    string // with theRef for the KeyPackages
	refs    []string
	welcome string
}

// theRef stands for the KeyPackages of an event in its text. Text of clients cannot contain it,
// because it is quoted.
const theRef = "\x00"

// note adds an event; text may have theRef for the KeyPackage with that ref.
func (l *log) note(at time.Time, text, ref, welcome string) {
	if at.IsZero() {
		return
	}
	at = at.UTC().Truncate(time.Millisecond)
	for _, e := range *l {
		if ref != "" && welcome == "" && e.text == text && e.at.Truncate(time.Second).Equal(at.Truncate(time.Second)) {
			e.refs = append(e.refs, ref)
			return
		}
	}
	e := &entry{at: at, text: text, welcome: welcome}
	if ref != "" {
		e.refs = []string{ref}
	}
	*l = append(*l, e)
}

func (l *log) keyPackage(r delivery.KeyPackageRecord) {
	ref := r.Ref.String()
	kind := ""
	if r.LastResort {
		kind = ", a last resort"
	}
	l.note(r.PublishedAt, fmt.Sprintf("the device published "+theRef+" of cipher suite %d%s", r.Suite, kind), ref, "")
	if !r.ReservedAt.IsZero() {
		l.note(r.ReservedAt, who(r.ReservedBy)+" reserved "+theRef, ref, "")
	}
	if g := r.Returned; g.Reservation != 0 {
		l.note(g.At, who(g.By)+" gave "+theRef+" back ("+clean(string(g.Reason))+")", ref, "")
	}
	l.note(r.HandedOutAt, theRef+", a last resort, was handed out for the first time", ref, "")
	switch r.State {
	case delivery.Expired:
		l.note(r.EndedAt, theRef+" expired", ref, "")
	case delivery.Withdrawn:
		l.note(r.EndedAt, "the device took "+theRef+" back", ref, "")
	}
}

func (l *log) recipient(m delivery.RecipientHistory) {
	ref, id, welcome := m.Ref.String(), shortWelcome(m.ID), m.ID.String()
	posted := who(m.PostedBy) + " posted " + id + " for " + theRef
	if m.Hold {
		posted += ", to be held"
	}
	l.note(m.PostedAt, posted, ref, welcome)
	if m.Hold {
		l.note(m.ReleasedAt, who(m.PostedBy)+" released "+id, ref, welcome)
	}
	l.note(m.WithheldAt, "the device asked and said that it has no private key for "+theRef+", so it was not given "+id, ref, welcome)
	l.note(m.DeliveredAt, "the device was given "+id+", "+theRef+" is used up", ref, welcome)
	switch m.State {
	case delivery.Acknowledged:
		l.note(m.EndedAt, "the device acknowledged "+id+": it has joined", ref, welcome)
	case delivery.Rejected:
		said := ""
		if m.Detail != "" {
			said = ": " + quote(m.Detail)
		}
		l.note(m.EndedAt, "the device rejected "+id+" ("+clean(string(m.Reason))+")"+said, ref, welcome)
	case delivery.Lapsed:
		l.note(m.EndedAt, id+" lapsed: the device never said whether it joined", ref, welcome)
	case delivery.Cancelled:
		l.note(m.EndedAt, who(m.PostedBy)+" cancelled "+id, ref, welcome)
	case delivery.WelcomeWithdrawn:
		l.note(m.EndedAt, id+" was lost: "+theRef+" was taken back", ref, welcome)
	case delivery.WelcomeExpired:
		l.note(m.EndedAt, id+" expired: the device never asked for it", ref, welcome)
	case delivery.Damaged:
		l.note(m.EndedAt, "the server found its copy of "+id+" damaged: "+theRef+" is "+who(m.PostedBy)+"'s again", ref, welcome)
	}
}

func (l *log) refusal(r Refusal) {
	text := ""
	switch {
	case r.Code == CodeFreshWithdrawn:
		text = "a sync took back what the device had published lately"
	case r.Status == 0 && r.Ref == "":
		text = who(r.Who) + " asked for a KeyPackage and got none (" + clean(r.Code) + ")"
	case r.Status == 0:
		text = "a Welcome of " + who(r.Who) + " for " + theRef + " was refused (" + clean(r.Code) + ")"
	default:
		text = fmt.Sprintf("%s of %s was answered %d %s", clean(r.Request), by(r), r.Status, clean(r.Code))
	}
	if r.Detail != "" {
		text += ": " + quote(r.Detail)
	}
	if r.Count > 1 {
		text += fmt.Sprintf(" (%d times since %s)", r.Count, stamp(r.First))
	}
	ref := ""
	if r.Ref != "" {
		ref = r.Ref.String()
	}
	l.note(r.Last, text, ref, "")
}

// by says who was refused; that may be nobody in particular.
func by(r Refusal) string {
	if r.Who == "" {
		return "somebody"
	}
	return quote(r.Who)
}

// events returns the newest events, in order, and how many it leaves out.
func (l log) events() (events []Event, leftOut int) {
	slices.SortStableFunc(l, func(a, b *entry) int { return a.at.Compare(b.at) })
	if more := len(l) - mostEvents; more > 0 {
		l, leftOut = l[more:], more
	}
	for _, e := range l {
		event := Event{At: e.at, Welcome: e.welcome}
		if len(e.refs) == 1 {
			event.Ref = e.refs[0]
		}
		event.Text = strings.ReplaceAll(e.text, theRef, nameRefs(e.refs))
		events = append(events, event)
	}
	return events, leftOut
}

// nameRefs names a KeyPackage, or counts them.
func nameRefs(refs []string) string {
	switch n := len(refs); n {
	case 0:
		return ""
	case 1:
		return "KeyPackage " + short(refs[0])
	default:
		return fmt.Sprintf("%d KeyPackages (%s and %d more)", n, short(refs[0]), n-1)
	}
}

func lastPublished(d Device) (at time.Time) {
	for _, r := range d.KeyPackages {
		if r.PublishedAt.After(at) {
			at = r.PublishedAt
		}
	}
	return at
}

func lastEnd(d Device, s delivery.KeyPackageState) (at time.Time) {
	for _, r := range d.KeyPackages {
		if r.State == s && r.EndedAt.After(at) {
			at = r.EndedAt
		}
	}
	return at
}
