package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"welcomed/delivery"
)

// ofLastResort stands for the state of a last-resort KeyPackage where only one
// Welcome for it is looked at: any number may match it.
const ofLastResort delivery.KeyPackageState = 100

// A state is what a KeyPackage and the Welcomes for it are in. It is zero before
// the KeyPackage is published.
type state struct {
	kp    delivery.KeyPackageState
	mails mails
}

func (s state) String() string {
	kp := s.kp.String()
	switch s.kp {
	case 0:
		kp = "not there"
	case ofLastResort:
		kp = "last resort"
	}
	for number, m := range s.mails.all {
		kp += fmt.Sprintf(", Welcome %d %s", number, m)
	}
	return kp
}

// needed reports whether the device has to keep the private key.
func (s state) needed() bool { return s.kp != 0 && (!s.kp.Ended() || s.mails.open()) }

// matchable reports whether a Welcome may name the KeyPackage.
func (s state) matchable() bool {
	return s.kp == ofLastResort || s.kp == delivery.Available || s.kp == delivery.Reserved || s.kp == delivery.Retired
}

// explains reports whether a Welcome is refused for the KeyPackage with verdict.
func (s state) explains(verdict delivery.Status) bool {
	switch s.kp {
	case 0:
		return verdict == delivery.StatusUnknown
	case delivery.Matched:
		return verdict == delivery.StatusTaken
	case delivery.Consumed:
		return verdict == delivery.StatusConsumed
	case delivery.Withdrawn:
		return verdict == delivery.StatusWithdrawn
	case ofLastResort: // it is withdrawn, or a restore has forgotten it: its own life says which
		return verdict == delivery.StatusWithdrawn || verdict == delivery.StatusUnknown
	}
	return false
}

// A mail is what a poster is told of one recipient.
type mail struct {
	matched bool
	status  delivery.Status
}

// open: it may still be given to the device.
func (m mail) open() bool {
	return m.matched && (m.waits() || m.status == delivery.StatusDelivered)
}

// waits: it has not been given to the device yet.
func (m mail) waits() bool {
	return m.matched && (m.status == delivery.StatusHeld || m.status == delivery.StatusPending)
}

// given: it has been given to the device at some time.
func (m mail) given() bool {
	switch m.status {
	case delivery.StatusDelivered, delivery.StatusAcknowledged, delivery.StatusRejected, delivery.StatusLapsed:
		return m.matched
	}
	return false
}

func (m mail) String() string {
	if !m.matched {
		return "refused as " + string(m.status)
	}
	return string(m.status)
}

// mails are what the Welcomes for one KeyPackage are in, by their numbers, in a
// form that can be compared.
type mails string

const mailBytes = 6 // number(4), matched(1), status(1)

var statuses = []delivery.Status{
	delivery.StatusHeld, delivery.StatusPending, delivery.StatusDelivered, delivery.StatusAcknowledged,
	delivery.StatusRejected, delivery.StatusLapsed, delivery.StatusCancelled, delivery.StatusWithdrawn,
	delivery.StatusUnknown, delivery.StatusConsumed, delivery.StatusTaken,
}

func (l mails) all(yield func(number uint32, m mail) bool) {
	for i := 0; i < len(l); i += mailBytes {
		one := []byte(l[i : i+mailBytes])
		if !yield(binary.BigEndian.Uint32(one), mail{one[4] == 1, statuses[one[5]]}) {
			return
		}
	}
}

// of returns what the Welcome is in; false if it is not there.
func (l mails) of(number uint32) (mail, bool) {
	for n, m := range l.all {
		if n == number {
			return m, true
		}
	}
	return mail{}, false
}

// with returns mails in which the Welcome is in m.
func (l mails) with(number uint32, m mail) mails {
	one := binary.BigEndian.AppendUint32(nil, number)
	matched := byte(0)
	if m.matched {
		matched = 1
	}
	one = append(one, matched, byte(slices.Index(statuses, m.status)))
	list := []string{string(one)}
	for i := 0; i < len(l); i += mailBytes {
		if string(l[i:i+4]) != string(one[:4]) {
			list = append(list, string(l[i:i+mailBytes]))
		}
	}
	slices.Sort(list)
	return mails(strings.Join(list, ""))
}

func (l mails) open() bool {
	for _, m := range l.all {
		if m.open() {
			return true
		}
	}
	return false
}
