package main

import (
	"slices"

	"welcomed/delivery"
)

// meanings say what a record tells of which object: what it must have been in, so
// that the request was answered so, and what it is in then.
var meanings = map[string]func(*record){
	publish:     published,
	replace:     published,
	syncRefs:    synced,
	withdraw:    withdrew,
	remove:      removed,
	inventory:   inventoried,
	listUser:    listed,
	listDevices: devicesListed,
	readStatus:  statusRead,
	reserve:     reservedFor,
	post:        posted,
	release:     released,
	cancel:      cancelledBy,
	readOutcome: outcomeRead,
	claim:       claimed,
	acknowledge: settledAs(delivery.StatusAcknowledged),
	reject:      settledAs(delivery.StatusRejected),
}

// only is the state itself if ok, else none.
func only[S comparable](s S, ok bool) []S {
	if ok {
		return []S{s}
	}
	return nil
}

// where notes a record that changes nothing and holds only where ok says so.
func where(l *life[state], r *record, ok func(state) bool) {
	l.add(r, nil, func(s state) []state { return only(s, ok(s)) })
}

// lives are those of a KeyPackage and, for a last resort, of each of its Welcomes.
func (kp *keyPackage) lives() []*life[state] {
	lives := []*life[state]{&kp.life}
	for _, l := range kp.recipients {
		lives = append(lives, l)
	}
	return lives
}

// with returns the life in which the Welcome for the KeyPackage is.
func (kp *keyPackage) with(w *welcome) *life[state] {
	if !kp.lastResort {
		return &kp.life
	}
	l := kp.recipients[w]
	if l == nil {
		l = &life[state]{name: "KeyPackage " + kp.ref.String() + " with " + w.life.name, kp: kp, states: []state{{kp: ofLastResort}}}
		kp.recipients[w] = l
	}
	return l
}

// published: what a publication stores is on the shelf, and what a replacement
// does not name is not.
func published(r *record) {
	if r.good() || r.code == "key_package_spent" {
		for _, kp := range r.sent {
			kp.life.add(r, putOnShelf("", r.shelves(kp)), putOnShelf(r.told[kp], r.shelves(kp)))
		}
	} else {
		for _, kp := range r.sent {
			kp.life.add(r, putOnShelf("", r.shelves(kp)), nil)
		}
	}
	stored := slices.ContainsFunc(r.sent, func(kp *keyPackage) bool { return r.told[kp] == "stored" || r.told[kp] == "not_after_restore" })
	exists := func(bool) []bool { return []bool{true} }
	if stored {
		r.device.life.add(r, exists, exists)
	} else {
		r.device.life.add(r, exists, nil)
	}
	for _, kp := range r.device.warm {
		retiredBy(r, kp)
	}
}

// shelves reports whether the publication puts a KeyPackage on the shelf that the
// server does not know. A last resort is handed out any number of times anyway.
func (r *record) shelves(kp *keyPackage) bool { return r.shelved || kp.lastResort }

// putOnShelf is the step of a published KeyPackage that was told something of;
// nothing of one whose answer was lost. One that may have been handed out before a
// restore is stored, and not on the shelf.
func putOnShelf(told string, shelved bool) step[state] {
	return func(s state) []state {
		known := s.kp
		switch {
		case s.kp == 0 && shelved && (told == "stored" || told == ""):
			s.kp = delivery.Available
			return []state{s}
		case told == "superseded": // by a last resort that came behind it
			s.kp = delivery.Retired
			return only(s, known == 0)
		case s.kp == 0 && !shelved && (told == "not_after_restore" || told == ""):
			s.kp = delivery.Retired
			return []state{s}
		case told == "not_after_restore": // it was on the shelf when the backup was made
			return only(s, s.kp == delivery.Retired)
		case told == "", told == "already_stored" && s.kp != 0 && !s.kp.Ended(), told == "spent" && s.kp.Ended():
			return []state{s}
		}
		return nil
	}
}

// retiredBy notes what a publication does to a KeyPackage on the shelf: a
// replacement retires what it does not name, and a newer last resort the one
// before.
func retiredBy(r *record, kp *keyPackage) {
	if r.what == replace && (r.suite == 0 || r.suite == kp.suite) && !slices.Contains(r.sent, kp) {
		kp.life.add(r, retire, whenGood(r, retire))
		return
	}
	for _, newer := range r.sent {
		if newer == kp || !newer.lastResort || !kp.lastResort || newer.suite != kp.suite {
			continue
		}
		if r.told[newer] == "stored" {
			kp.life.add(r, retire, retire)
		} else {
			kp.life.add(r, retire, nil)
		}
	}
}

func retire(s state) []state {
	if s.kp == delivery.Available {
		s.kp = delivery.Retired
	}
	return []state{s}
}

// whenGood is the step if the request was not refused.
func whenGood[S comparable](r *record, do step[S]) step[S] {
	if r.good() {
		return do
	}
	return nil
}

// takeBack is what its owner does to a KeyPackage, and to what waits for it.
func takeBack(s state) []state {
	if s.kp == delivery.Consumed || s.kp == 0 {
		return []state{s}
	}
	for number, m := range s.recipients.all {
		if m.waits() {
			s.recipients = s.recipients.with(number, recipient{true, delivery.StatusWithdrawn})
		}
	}
	if !s.kp.Ended() && s.kp != ofLastResort {
		s.kp = delivery.Withdrawn
	}
	return []state{s}
}

// synced: what the device has no key for is withdrawn, unless it was consumed.
func synced(r *record) {
	for _, kp := range r.device.warm {
		kept := slices.Contains(r.sent, kp)
		for _, l := range kp.lives() {
			if !kept {
				l.add(r, takeBack, whenGood(r, func(s state) []state { return syncOther(r.told[kp], s) }))
			} else if r.good() && !kp.lastResort {
				where(l, r, func(s state) bool { return syncKept(r.told[kp], s) })
			}
		}
	}
}

// syncOther is the step of a KeyPackage that a sync does not name.
func syncOther(told string, s state) []state {
	if told == "withdrawn" {
		return only(takeBack(s)[0], s.kp != delivery.Consumed && s.kp != 0)
	}
	if s.kp == ofLastResort {
		return only(s, !s.recipients.open())
	}
	return only(s, s.kp == delivery.Consumed || !s.needed())
}

func syncKept(told string, s state) bool {
	switch told {
	case "unknown":
		return s.kp == 0
	case "spent":
		return s.kp != 0 && !s.needed()
	}
	return s.needed()
}

// withdrew: it is withdrawn, or was consumed before.
func withdrew(r *record) {
	kp := r.sent[0]
	for _, l := range kp.lives() {
		switch {
		case r.good():
			l.add(r, takeBack, func(s state) []state { return only(takeBack(s)[0], s.kp != delivery.Consumed && s.kp != 0) })
		case l != &kp.life:
		case r.code == "consumed":
			l.add(r, takeBack, func(s state) []state { return only(s, s.kp == delivery.Consumed) })
		default:
			l.add(r, takeBack, func(s state) []state { return only(s, s.kp == 0) })
		}
	}
}

// removed: nothing of the device waits for anything any more.
func removed(r *record) {
	gone := func(bool) []bool { return []bool{false} }
	r.device.life.add(r, gone, gone)
	r.device.removed = true
	for _, kp := range r.device.warm {
		for _, l := range kp.lives() {
			l.add(r, removeAll, removeAll)
		}
	}
}

func removeAll(s state) []state {
	s = takeBack(s)[0]
	for number, m := range s.recipients.all {
		if m.matched && m.status == delivery.StatusDelivered {
			s.recipients = s.recipients.with(number, recipient{true, delivery.StatusLapsed})
		}
	}
	return []state{s}
}

// inventoried: the refs are those whose keys are needed.
func inventoried(r *record) {
	for kp := range r.told {
		if !kp.lastResort {
			where(&kp.life, r, state.needed)
		}
	}
	for _, kp := range r.device.warm {
		if _, ok := r.told[kp]; ok {
			continue
		}
		for _, l := range kp.lives() {
			where(l, r, func(s state) bool { return s.kp == ofLastResort && !s.recipients.open() || !s.needed() })
		}
	}
}

// listed: what is there is what is on the shelves of the user.
func listed(r *record) {
	onShelf := func(s state) bool { return s.kp == delivery.Available }
	for kp := range r.told {
		where(&kp.life, r, onShelf)
	}
	if !r.complete {
		return
	}
	for d := range r.present {
		for _, kp := range d.warm {
			if _, ok := r.told[kp]; !ok {
				where(&kp.life, r, func(s state) bool { return !onShelf(s) })
			}
		}
	}
}

func devicesListed(r *record) {
	for d, present := range r.present {
		d.life.add(r, nil, func(exists bool) []bool { return only(exists, exists == present) })
	}
}

// statusRead: GET /v1/key-packages/{ref} says what it is in.
func statusRead(r *record) {
	kp := r.sent[0]
	where(&kp.life, r, func(s state) bool {
		if r.told[kp] == "" {
			return s.kp == 0
		}
		return s.kp != 0 && s.kp.String() == r.told[kp]
	})
}

// reservedFor: it was on the shelf, and is not any more. A device that has nothing
// to give has nothing on its shelf. The answer is that of the first attempt that
// arrived.
func reservedFor(r *record) {
	if !r.good() {
		return
	}
	for kp, told := range r.told {
		switch {
		case told == string(delivery.DeviceReserved) && !kp.lastResort:
			kp.life.throughout(r, func(s state) []state {
				ok := s.kp == delivery.Available
				s.kp = delivery.Reserved
				return only(s, ok)
			})
		case told == string(delivery.DeviceLastResort) && kp.lastResort:
			kp.life.throughout(r, func(s state) []state { return only(s, s.kp == delivery.Available) })
		default:
			kp.life.throughout(r, func(state) []state { return nil })
		}
	}
	for d := range r.present {
		for _, kp := range d.warm {
			kp.life.throughout(r, func(s state) []state { return only(s, s.kp != delivery.Available) })
		}
	}
}
