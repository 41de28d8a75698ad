package main

import (
	"fmt"
	"slices"
	"strings"

	"welcomed/delivery"
)

// A checker proves from the books that the server kept its promises.
type checker struct {
	books  *books
	checks int // answers that were compared with what they may have been
}

// A difference is what the records do not allow.
type difference struct {
	what    string
	records []string
}

func (d *difference) Error() string {
	if len(d.records) == 0 {
		return d.what
	}
	return d.what + "; its records:\n  " + strings.Join(d.records, "\n  ")
}

func differ(format string, args ...any) error {
	return &difference{what: fmt.Sprintf(format, args...)}
}

// look goes through the records that came since the last look, when no request is
// under way, and finds out what everything can be in now.
func (c *checker) look() error {
	records := c.books.take()
	for _, r := range records { // first, so that claims know what was posted
		if r.what == post {
			posted(r)
		}
	}
	for _, r := range records {
		if r.what != post {
			meanings[r.what](r)
		}
	}
	return c.settleAll()
}

func (c *checker) settleAll() error {
	for _, d := range c.books.devices {
		if err := settle(c, &d.life); err != nil {
			return err
		}
		for _, kp := range d.keyPackages {
			for _, l := range kp.lives() {
				if err := settle(c, l); err != nil {
					return err
				}
			}
		}
	}
	for _, w := range c.books.byNumber {
		if err := settle(c, &w.life); err != nil {
			return err
		}
	}
	return nil
}

// settle finds what an object can be in after its events.
func settle[S comparable](c *checker, l *life[S]) error {
	if len(l.events) == 0 {
		return nil
	}
	c.checks += len(l.events)
	for _, e := range l.events {
		if l.kept(e.record) {
			l.records = append(l.records, e.record)
		}
	}
	before := l.states
	to, wrong := possible(l.states, l.events)
	l.states, l.events = to, nil
	if wrong == nil {
		return nil
	}
	if !slices.Contains(l.records, wrong.record) {
		l.records = append(l.records, wrong.record)
	}
	return &difference{
		what: fmt.Sprintf("%s of %s, which was %v at the last look, cannot have become what this answer says: %s",
			l.name, l.owner(), before, wrong.record.about(l.kp)),
		records: l.tell(),
	}
}

// kept reports whether a record is told when the object is found wrong.
func (l *life[S]) kept(r *record) bool {
	if n := len(l.records); n > 0 && l.records[n-1] == r {
		return false
	}
	if l.kp == nil || r.what == remove || r.what == syncRefs || r.what == replace && r.good() || r.what == claim && len(r.lost()) > 0 {
		return true
	}
	_, told := r.told[l.kp]
	return told || slices.Contains(r.sent, l.kp) || slices.ContainsFunc(r.given, func(g given) bool { return g.kp == l.kp })
}

func (l *life[S]) owner() string {
	if l.kp == nil {
		return "the books"
	}
	return l.kp.device.id.String()
}

// tell returns the records in the order of their first attempt.
func (l *life[S]) tell() []string {
	records := slices.Clone(l.records)
	slices.SortStableFunc(records, func(a, b *record) int { return int(a.attempts[0].call - b.attempts[0].call) })
	lines := make([]string, len(records))
	for i, r := range slices.Compact(records) {
		lines[i] = r.about(l.kp)
	}
	return lines
}

// cool puts away what can no longer change unless a request names it.
func (c *checker) cool() {
	for _, d := range c.books.devices {
		d.warm = slices.DeleteFunc(d.warm, func(kp *keyPackage) bool { return !kp.mayChange() })
	}
}

func (kp *keyPackage) mayChange() bool {
	for _, l := range kp.lives() {
		for _, s := range l.states {
			// One that is not there may have been forgotten by a restore, and come again.
			if s.kp == ofLastResort && s.recipients.open() || s.kp != ofLastResort && (s.kp == 0 || s.needed()) {
				return true
			}
		}
	}
	return false
}

// A census counts what the books hold, as the metrics do.
type census struct {
	keyPackages map[delivery.KeyPackageState]int
	welcomes    map[delivery.Status]int
	ok          int // devices by stock
	low         int
	empty       int
}

// count counts everything. It fails where the books leave open what something is
// in although it was asked for.
func (c *checker) count(l delivery.Limits) (*census, error) {
	n := &census{keyPackages: make(map[delivery.KeyPackageState]int), welcomes: make(map[delivery.Status]int)}
	for _, d := range c.books.devices {
		available := 0
		for _, kp := range d.keyPackages {
			for _, l := range kp.lives() {
				if len(l.states) != 1 {
					return nil, &difference{fmt.Sprintf("%s can be %v, and nobody has asked", l.name, l.states), l.tell()}
				}
				n.add(l.states[0])
			}
			if kp.life.states[0].kp == delivery.Available && !kp.lastResort {
				available++
			}
		}
		if len(d.life.states) != 1 {
			return nil, &difference{d.life.name + " exists or not, and nobody has asked", d.life.tell()}
		}
		if d.life.states[0] {
			n.addDevice(available, l.LowWatermark)
		}
	}
	return n, nil
}

func (n *census) add(s state) {
	if s.kp != 0 && s.kp != ofLastResort {
		n.keyPackages[s.kp]++
	}
	for _, m := range s.recipients.all {
		if m.matched {
			n.welcomes[m.status]++
		}
	}
}

func (n *census) addDevice(available, low int) {
	switch {
	case available == 0:
		n.empty++
	case available < low:
		n.low++
	default:
		n.ok++
	}
}

// compare checks what counted says it holds: the server's metrics or the file.
func (c *checker) compare(who string, want *census, got *census) error {
	for _, state := range delivery.KeyPackageStates {
		if c.checks++; got.keyPackages[state] != want.keyPackages[state] {
			return differ("%s: %d KeyPackages are %s, by the records %d", who, got.keyPackages[state], state, want.keyPackages[state])
		}
	}
	for _, state := range delivery.WelcomeStates {
		s := state.Status()
		if c.checks++; got.welcomes[s] != want.welcomes[s] {
			return differ("%s: %d recipients of Welcomes are %s, by the records %d", who, got.welcomes[s], s, want.welcomes[s])
		}
	}
	if c.checks++; got.ok != want.ok || got.low != want.low || got.empty != want.empty {
		return differ("%s: %d devices are well stocked, %d low, %d empty; by the records %d, %d, %d",
			who, got.ok, got.low, got.empty, want.ok, want.low, want.empty)
	}
	return nil
}
