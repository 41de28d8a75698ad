package main

import (
	"cmp"
	"math/bits"
	"slices"
)

// A step says what an object in one state may be in after an event; nothing if
// the event cannot have been answered as it was.
type step[S comparable] func(S) []S

// An event is one attempt at a request as one object sees it. It happened at some
// moment between call and ret, and nobody knows at which. One that is optional
// had no answer: it happened or it did not.
type event[S comparable] struct {
	record    *record
	call, ret int64
	optional  bool
	step      step[S]
}

// A configuration is one way in which everything can have happened so far: what
// the object is in, and which of the events under way have had their effect.
type configuration[S comparable] struct {
	state S
	done  uint64
}

// A search looks for an order of events, each between its call and its return,
// in which every answer is right (linearizability, Herlihy and Wing).
type search[S comparable] struct {
	underWay [64]*event[S]
	used     uint64
	found    map[configuration[S]]bool
}

// possible returns what the object can be in after events, which began in one of
// the states from. If there is no order that explains them, wrong is the event
// up to which there was one.
func possible[S comparable](from []S, events []event[S]) (to []S, wrong *event[S]) {
	s := &search[S]{found: make(map[configuration[S]]bool)}
	for _, state := range from {
		s.found[configuration[S]{state, 0}] = true
	}
	for _, b := range boundaries(events) {
		if b.call {
			s.begin(b.event)
			continue
		}
		if s.end(b.event); len(s.found) == 0 {
			return nil, b.event
		}
	}
	for c := range s.found {
		to = append(to, c.state)
	}
	return to, nil
}

// A boundary is the call or the return of an event.
type boundary[S comparable] struct {
	at    int64
	call  bool
	event *event[S]
}

func boundaries[S comparable](events []event[S]) []boundary[S] {
	list := make([]boundary[S], 0, 2*len(events))
	for i := range events {
		e := &events[i]
		list = append(list, boundary[S]{e.call, true, e}, boundary[S]{e.ret, false, e})
	}
	slices.SortFunc(list, func(a, b boundary[S]) int { return cmp.Compare(a.at, b.at) })
	return list
}

func (s *search[S]) begin(e *event[S]) {
	slot := bits.TrailingZeros64(^s.used)
	s.underWay[slot] = e // more than 64 at a time do not come: there are fewer clients
	s.used |= 1 << slot
}

// end keeps the configurations in which e has happened by now, or in which it
// never will if it is optional.
func (s *search[S]) end(e *event[S]) {
	slot := slices.Index(s.underWay[:], e)
	bit := uint64(1) << slot
	kept, seen := make(map[configuration[S]]bool), make(map[configuration[S]]bool)
	var try func(configuration[S])
	try = func(c configuration[S]) {
		if seen[c] {
			return
		}
		seen[c] = true
		if c.done&bit != 0 || e.optional {
			kept[configuration[S]{c.state, c.done &^ bit}] = true
		}
		if c.done&bit == 0 {
			s.advance(c, try)
		}
	}
	for c := range s.found {
		try(c)
	}
	s.found = kept
	s.underWay[slot], s.used = nil, s.used&^bit
}

// advance lets each of the events under way happen next.
func (s *search[S]) advance(c configuration[S], then func(configuration[S])) {
	for left := s.used &^ c.done; left != 0; left &= left - 1 {
		slot := bits.TrailingZeros64(left)
		for _, state := range s.underWay[slot].step(c.state) {
			then(configuration[S]{state, c.done | 1<<slot})
		}
	}
}
