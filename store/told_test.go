package store

import (
	"fmt"
	"slices"
	"strings"

	"welcomed/delivery"
)

// inspected returns a database in memory in which each transaction has to write the events
// of all that it changes, and no others: whatever the change, and whichever code makes it.
// It panics at one that does not.
func inspected() *Memory {
	m := NewMemory()
	m.inspect = func(r *memoryRows, t *Txn) {
		raw := t.raw
		t.raw = true
		defer func() { t.raw = raw }()
		got, want := eventsIn(r), changesIn(r, t)
		slices.Sort(got)
		slices.Sort(want)
		if t.quiet {
			want = nil
		}
		if !slices.Equal(got, want) {
			panic(fmt.Sprintf("a transaction has written the events\n%s\nand has changed\n%s", strings.Join(got, "\n"), strings.Join(want, "\n")))
		}
	}
	return m
}

// row is a changed row as it was before the transaction, and as it is; nil: there is none.
func (r *memoryRows) row(p Place) (was, is []byte) {
	before, had := r.was[p.Kind].Get(memoryRow{key: p.Key})
	after, has := r.now[p.Kind].Get(memoryRow{key: p.Key})
	if had {
		was = before.value
	}
	if has {
		is = after.value
	}
	return was, is
}

// eventsIn are the events that a transaction has written.
func eventsIn(r *memoryRows) (all []string) {
	for p := range r.changed {
		was, is := r.row(p)
		if p.Kind != kindEvents || was != nil || is == nil {
			continue
		}
		teller, number, found := strings.Cut(p.Key, "\x00")
		if !found || number == "" {
			continue
		}
		e := decodeEvent(is)
		if _, told, ok := decodeFeed(r.Get(kindFeed, []byte(number))); !ok || told != teller {
			panic("an event is not in the feed")
		}
		all = append(all, words(teller, e.kind, e))
	}
	return all
}

// changesIn are the events that a transaction should have written, as its other rows say.
func changesIn(r *memoryRows, t *Txn) (all []string) {
	was, is := map[recipientPlace]*recipient{}, map[recipientPlace]*recipient{}
	for p := range r.changed {
		if p.Kind != kindDevices {
			continue
		}
		before, after := r.row(p)
		number, kind, rest := readNumber([]byte(p.Key)), p.Key[numberBytes], []byte(p.Key[numberBytes+1:])
		switch {
		case kind == rowDevice:
			all = append(all, stockTold(before, after, t.limits.LowWatermark)...)
		case kind == rowPending, kind == rowDelivered, kind == rowHeld, kind == rowEnded:
			key := readRecipientKey(rest)
			if m := readRecipient(key, before); m != nil {
				was[recipientPlace{number, key}] = m
			}
			if m := readRecipient(key, after); m != nil {
				is[recipientPlace{number, key}] = m
			}
		case after != nil && kind != rowInitKeys && kind != rowHint:
			k := readKeyPackage([]byte(p.Key), after)
			old := r.keyPackageBefore(number, k)
			if k.rec.LastResort && !k.rec.HandedOutAt.IsZero() && (old == nil || old.rec.HandedOutAt.IsZero()) {
				id := t.deviceByNumber(number).id
				all = append(all, words(string(id.User), eventKeyPackage, event{device: id.Name, ref: k.rec.Ref}))
			}
		}
	}
	for place, m := range is {
		before := was[place]
		if m.rec.State == delivery.Held || before != nil && before.rec.State == m.rec.State {
			continue
		}
		w := t.header(m.welcome)
		if w == nil {
			continue // nobody knows whose it is
		}
		d := t.deviceByNumber(place.device)
		ref := t.postedRecipient(place.key).ref
		switch {
		case m.rec.State == delivery.Pending:
			all = append(all, words(string(d.id.User), eventWelcome, event{device: d.id.Name, welcome: w.id, ref: ref}))
		default:
			all = append(all, words(w.poster, eventOutcome, event{recipient: d.id, welcome: w.id, ref: ref, state: m.rec.State, reason: m.rec.Reason}))
		}
	}
	return all
}

func words(teller string, kind byte, e event) string {
	return fmt.Sprintf("to %q: %d of %s, %s Welcome %s, ref %s: %s %s", teller, kind, e.device, e.recipient, e.welcome, e.ref, e.state, e.reason)
}

// stockTold is the event of a device's stock, if it fell.
func stockTold(was, is []byte, low int) []string {
	var before, after device
	if is == nil {
		return nil
	}
	after.fields(&coder{row: is, reads: true})
	if was != nil {
		before.fields(&coder{row: was, reads: true})
	}
	fell := before.available >= low && after.available < low || before.available > 0 && after.available == 0
	if !fell || after.removed {
		return nil
	}
	return []string{words(string(after.id.User), eventStock, event{device: after.id.Name})}
}

// keyPackageBefore is a KeyPackage as it was before the transaction, wherever it lay.
func (r *memoryRows) keyPackageBefore(number uint64, k *keyPackage) *keyPackage {
	d := &device{number: number}
	for _, kind := range [...]byte{rowKeyPackage, rowShelf | byte(k.shelf), rowTombstone} {
		key := d.keyPackageRow(kind, k.number)
		if row, had := r.was[kindDevices].Get(memoryRow{key: string(key)}); had {
			return readKeyPackage(key, row.value)
		}
	}
	return nil
}
