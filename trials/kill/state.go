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
	kp         delivery.KeyPackageState
	recipients recipients
}

func (s state) String() string {
	kp := s.kp.String()
	switch s.kp {
	case 0:
		kp = "not there"
	case ofLastResort:
		kp = "last resort"
	}
	for number, m := range s.recipients.all {
		kp += fmt.Sprintf(", Welcome %d %s", number, m)
	}
	return kp
}

// needed reports whether the device has to keep the private key.
func (s state) needed() bool { return s.kp != 0 && (!s.kp.Ended() || s.recipients.open()) }

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

// A recipient is what a poster is told of one.
type recipient struct {
	matched bool
	status  delivery.Status
}

// open: it may still be given to the device.
func (m recipient) open() bool {
	return m.matched && (m.waits() || m.status == delivery.StatusDelivered)
}

// waits: it has not been given to the device yet.
func (m recipient) waits() bool {
	return m.matched && (m.status == delivery.StatusHeld || m.status == delivery.StatusPending)
}

// given: it has been given to the device at some time.
func (m recipient) given() bool {
	switch m.status {
	case delivery.StatusDelivered, delivery.StatusAcknowledged, delivery.StatusRejected, delivery.StatusLapsed:
		return m.matched
	}
	return false
}

func (m recipient) String() string {
	if !m.matched {
		return "refused as " + string(m.status)
	}
	return string(m.status)
}

// recipients are what the Welcomes for one KeyPackage are in, by their numbers, in a
// form that can be compared.
type recipients string

const recipientBytes = 6 // number(4), matched(1), status(1)

var statuses = []delivery.Status{
	delivery.StatusHeld, delivery.StatusPending, delivery.StatusDelivered, delivery.StatusAcknowledged,
	delivery.StatusRejected, delivery.StatusLapsed, delivery.StatusCancelled, delivery.StatusWithdrawn,
	delivery.StatusUnknown, delivery.StatusConsumed, delivery.StatusTaken,
}

func (l recipients) all(yield func(number uint32, m recipient) bool) {
	for i := 0; i < len(l); i += recipientBytes {
		one := []byte(l[i : i+recipientBytes])
		if !yield(binary.BigEndian.Uint32(one), recipient{one[4] == 1, statuses[one[5]]}) {
			return
		}
	}
}

// of returns what the Welcome is in; false if it is not there.
func (l recipients) of(number uint32) (recipient, bool) {
	for n, m := range l.all {
		if n == number {
			return m, true
		}
	}
	return recipient{}, false
}

// with returns recipients in which the Welcome is in m.
func (l recipients) with(number uint32, m recipient) recipients {
	one := binary.BigEndian.AppendUint32(nil, number)
	matched := byte(0)
	if m.matched {
		matched = 1
	}
	one = append(one, matched, byte(slices.Index(statuses, m.status)))
	list := []string{string(one)}
	for i := 0; i < len(l); i += recipientBytes {
		if string(l[i:i+4]) != string(one[:4]) {
			list = append(list, string(l[i:i+recipientBytes]))
		}
	}
	slices.Sort(list)
	return recipients(strings.Join(list, ""))
}

func (l recipients) open() bool {
	for _, m := range l.all {
		if m.open() {
			return true
		}
	}
	return false
}
