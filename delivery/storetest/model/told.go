package model

import (
	"fmt"
	"slices"
	"time"

	"welcomed/delivery"
)

// told is what events have told so far. Those of stock are left out.
type told struct {
	after    string // where to go on
	first    string // where the events since the last restore begin
	restored bool   // since the last look
	moved    bool   // since the last look
	was      map[string]change
}

// A change is a state in which something was written, and the event of its becoming so.
type change struct {
	state string
	event delivery.Event // without At; no Kind: none is told of it
}

// changes are what events tell of, by what they are about. A recipient whose device was
// removed changes when a sweep has written it.
func (b *book) changes() map[string]change {
	all := map[string]change{}
	for _, l := range slices.Concat(b.welcomes, b.forgotten) {
		for i, e := range l.recipients {
			if e.verdict != "" {
				continue
			}
			state := e.counted()
			event := delivery.Event{Welcome: l.id, Ref: e.ref}
			switch state {
			case delivery.Held:
			case delivery.Pending:
				event.Kind, event.User, event.Device = delivery.EventWelcome, e.device.User, e.device.Name
			default:
				event.Kind, event.User, event.Recipient, event.Status = delivery.EventOutcome, l.poster.User, *e.device, state.Status()
				if state == delivery.Rejected || state == delivery.Acknowledged {
					event.Reason = e.reason
				}
			}
			all[fmt.Sprint(l.id, i)] = change{state.String(), event}
		}
	}
	for _, k := range b.keyPackages {
		if k.item.LastResort && !k.handedOut.IsZero() {
			all[fmt.Sprint(k.item.Ref, k.owner, k.life)] = change{"handed out", delivery.Event{Kind: delivery.EventKeyPackage, User: k.owner.User, Device: k.owner.Name, Ref: k.item.Ref}}
		}
	}
	return all
}

// read reads all events behind a place.
func (w *world) read(q delivery.EventQuery) (events []delivery.Event, next string, gap delivery.EventGap) {
	for {
		p, err := w.store.Events(w.ctx, nobody, q)
		w.same("Events", nil, nil, err, nil)
		events = append(events, p.Events...)
		if p.Gap != "" {
			gap = p.Gap
		}
		if q.After = p.Next; !p.More {
			return events, p.Next, gap
		}
	}
}

// hasEvents reports whether something is told of a user.
func (w *world) hasEvents(user delivery.UserID) bool {
	events, _, _ := w.read(delivery.EventQuery{User: user, After: w.told.first})
	return len(events) > 0
}

// checkTold expects that events have told what has changed since the last look, and nothing
// else, or that they say that it cannot be told.
func (w *world) checkTold() {
	t := &w.told
	events, next, gap := w.read(delivery.EventQuery{After: t.after})
	is := w.book.changes()
	var want []delivery.Event
	for about, c := range is {
		if t.was[about].state != c.state && c.event.Kind != "" {
			want = append(want, c.event)
		}
	}
	wantGap := delivery.EventGap("")
	if t.restored {
		want, wantGap = nil, delivery.GapRestored
	} else if t.moved {
		if want = nil; gap == delivery.GapRestored { // unless all had been read
			wantGap = gap
		}
	}
	w.same("what is told", inOrder(events), inOrder(want), nil, nil)
	w.same("why some events are missing", string(gap), string(wantGap), nil, nil)
	t.after, t.restored, t.moved, t.was, w.book.forgotten = next, false, false, is, nil
	if wantGap != "" {
		t.first = next
	}
}

// inOrder are events without what the reference does not know, sorted.
func inOrder(events []delivery.Event) (all []string) {
	for _, e := range events {
		if e.Kind != delivery.EventStock {
			e.ID, e.At = "", time.Time{}
			all = append(all, text(e))
		}
	}
	slices.Sort(all)
	return all
}
