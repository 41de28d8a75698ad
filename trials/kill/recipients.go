package main

import (
	"slices"

	"welcomed/delivery"
)

// posted: the verdict of each recipient is decided once, and a match takes the
// KeyPackage.
func posted(r *record) {
	w := r.welcome
	for _, kp := range w.recipients {
		l := kp.with(w)
		l.posted = true
		l.add(r, func(s state) []state { return postLost(w, s) }, func(s state) []state { return postTold(r, s, r.recipients[kp]) })
		if kp.lastResort {
			kp.life.add(r, nil, func(s state) []state { return postedToLastResort(r, s, r.recipients[kp]) })
		}
	}
	mayBe := func(s welcomeState) []welcomeState {
		if s == absent {
			s = there
		}
		return []welcomeState{s}
	}
	w.life.add(r, mayBe, func(s welcomeState) []welcomeState { return postWelcome(r, s) })
}

// postLost is the step of a post whose answer was lost.
func postLost(w *welcome, s state) []state {
	if _, ok := s.recipients.of(w.number); ok {
		return []state{s}
	}
	var next []state
	if s.matchable() {
		next = append(next, match(w, s))
	}
	if w.requireAll || s.kp != ofLastResort && s.matchable() {
		return append(next, s)
	}
	for _, verdict := range delivery.Mismatches {
		if s.explains(verdict) {
			refused := s
			refused.recipients = s.recipients.with(w.number, recipient{false, verdict})
			next = append(next, refused)
		}
	}
	return append(next, s)
}

func match(w *welcome, s state) state {
	status := delivery.StatusPending
	if w.hold {
		status = delivery.StatusHeld
	}
	s.recipients = s.recipients.with(w.number, recipient{true, status})
	if s.kp != ofLastResort {
		s.kp = delivery.Matched
	}
	return s
}

// postTold is the step of a post that was answered.
func postTold(r *record, s state, told recipient) []state {
	w := r.welcome
	before, known := s.recipients.of(w.number)
	switch {
	case r.status == 200:
		return only(s, known && before == told)
	case r.code == "no_matching_key_package":
		return only(s, !known && s.answers(w, told))
	case r.status != 201:
		return []state{s}
	case told.matched:
		return only(match(w, s), !known && s.answers(w, told))
	}
	refused := s
	refused.recipients = s.recipients.with(w.number, told)
	return only(refused, !known && s.answers(w, told))
}

// answers reports whether this is what a Welcome is told that names the
// KeyPackage for the first time.
func (s state) answers(w *welcome, told recipient) bool {
	if !told.matched {
		return s.explains(told.status)
	}
	m, _ := match(w, s).recipients.of(w.number)
	return s.matchable() && m == told
}

// postedToLastResort is what a post says of the last-resort KeyPackage itself. A
// 200 tells of an earlier time.
func postedToLastResort(r *record, s state, told recipient) []state {
	if r.status == 201 || r.code == "no_matching_key_package" {
		return only(s, s.answers(r.welcome, told))
	}
	return []state{s}
}

func postWelcome(r *record, s welcomeState) []welcomeState {
	switch {
	case r.status == 201:
		return only(there, s == absent)
	case r.status == 200:
		return only(s, s == there)
	case r.code == "cancelled":
		return only(s, s == cancelled)
	}
	return only(s, s == absent)
}

// released: what was held is pending.
func released(r *record) {
	for _, kp := range r.welcome.recipients {
		acted(r, kp, func(m recipient) (recipient, bool) {
			return recipient{true, delivery.StatusPending}, m.status == delivery.StatusHeld
		})
	}
	same := func(s welcomeState) []welcomeState { return []welcomeState{s} }
	r.welcome.life.add(r, same, func(s welcomeState) []welcomeState {
		if r.good() {
			return only(s, s == there)
		}
		return only(s, r.code == "cancelled" && s == cancelled || r.code == "not_found" && s == absent)
	})
}

// cancelledBy: what was not given yet is cancelled, and its KeyPackage reserved
// again.
func cancelledBy(r *record) {
	for _, kp := range r.welcome.recipients {
		acted(r, kp, func(m recipient) (recipient, bool) { return recipient{true, delivery.StatusCancelled}, m.waits() })
	}
	gone := func(s welcomeState) []welcomeState {
		if s == there {
			s = cancelled
		}
		return []welcomeState{s}
	}
	r.welcome.life.add(r, gone, func(s welcomeState) []welcomeState {
		if r.good() {
			return only(cancelled, s != absent)
		}
		return only(s, s == absent)
	})
}

// acted notes what a poster does to one recipient: change says in which state it is then, and
// whether it changes at all. The answer is read after the change is on the
// disk, and others may have gone on meanwhile: a Welcome that was released may be
// delivered by then. It never tells of a recipient that the change would still change.
func acted(r *record, kp *keyPackage, change func(recipient) (recipient, bool)) {
	number := r.welcome.number
	act := func(s state) []state {
		m, ok := s.recipients.of(number)
		if !ok || !m.matched {
			return []state{s}
		}
		if after, changes := change(m); changes {
			s.recipients = s.recipients.with(number, after)
			if after.status == delivery.StatusCancelled && s.kp == delivery.Matched {
				s.kp = delivery.Reserved
			}
		}
		return []state{s}
	}
	l := kp.with(r.welcome)
	l.add(r, act, whenGood(r, act))
	if r.good() {
		where(l, r, func(s state) bool {
			m, ok := s.recipients.of(number)
			_, changes := change(m)
			return ok && m == r.recipients[kp] && !(m.matched && changes)
		})
	}
}

// outcomeRead: GET /v1/welcomes/{id} says what each recipient is in.
func outcomeRead(r *record) {
	number := r.welcome.number
	for _, kp := range r.welcome.recipients {
		where(kp.with(r.welcome), r, func(s state) bool {
			m, ok := s.recipients.of(number)
			if !r.good() {
				return !ok
			}
			return ok && m == r.recipients[kp]
		})
	}
	r.welcome.life.add(r, nil, func(s welcomeState) []welcomeState {
		switch {
		case !r.good():
			return only(s, s == absent)
		case r.wholly:
			return only(s, s == cancelled)
		}
		return only(s, s == there)
	})
}

// claimed: what is given for the first time was pending and is delivered, and its
// KeyPackage consumed; what is given again was delivered. A complete answer has
// all that is either.
func claimed(r *record) {
	for _, g := range r.given {
		number := g.welcome.number
		g.kp.with(g.welcome).add(r, nil, func(s state) []state {
			m, ok := s.recipients.of(number)
			if g.redelivered {
				return only(s, ok && m.matched && m.status == delivery.StatusDelivered)
			}
			return only(give(number, s), ok && m.matched && m.status == delivery.StatusPending && s.kp != delivery.Withdrawn)
		})
	}
	for _, kp := range r.device.warm {
		for _, l := range kp.lives() {
			if !l.posted {
				continue
			}
			l.add(r, giveAny, nil)
			if r.complete && (!r.filtered || slices.Contains(r.sent, kp)) {
				where(l, r, func(s state) bool { return r.hasAll(kp, s) })
			}
		}
	}
}

func give(number uint32, s state) state {
	s.recipients = s.recipients.with(number, recipient{true, delivery.StatusDelivered})
	if s.kp == delivery.Matched {
		s.kp = delivery.Consumed
	}
	return s
}

// giveAny is the step of a claim whose answer was lost.
func giveAny(s state) []state {
	for number, m := range s.recipients.all {
		if m.matched && m.status == delivery.StatusPending {
			return []state{give(number, s)}
		}
	}
	return []state{s}
}

// hasAll reports whether a complete claim gave all that it should have given for
// the KeyPackage.
func (r *record) hasAll(kp *keyPackage, s state) bool {
	for number, m := range s.recipients.all {
		if !m.matched || m.status != delivery.StatusPending && m.status != delivery.StatusDelivered {
			continue
		}
		is := func(w *welcome) bool { return w.number == number }
		if !slices.ContainsFunc(r.skipped, is) && !slices.ContainsFunc(r.given, func(g given) bool { return g.kp == kp && is(g.welcome) }) {
			return false
		}
	}
	return true
}

// settledAs is what a device says of a Welcome that it was given: acknowledged is
// final and wins.
func settledAs(as delivery.Status) func(*record) {
	return func(r *record) {
		number := r.welcome.number
		settle := func(s state) []state {
			m, ok := s.recipients.of(number)
			if ok && m.given() && (m.status == delivery.StatusDelivered || as == delivery.StatusAcknowledged) {
				s.recipients = s.recipients.with(number, recipient{true, as})
			}
			return []state{s}
		}
		for _, kp := range r.sent {
			kp.with(r.welcome).add(r, settle, func(s state) []state {
				m, ok := s.recipients.of(number)
				switch {
				case r.good():
					return only(settle(s)[0], ok && m.given())
				case r.code == "not_delivered":
					return only(s, ok && !m.given())
				}
				return only(s, !ok || !m.open())
			})
		}
	}
}
