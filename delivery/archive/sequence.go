package archive

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"

	"welcomed/delivery"
)

// places is which types stand in which part of an archive.
var places = [][]string{{"header"}, {"device", "key_package"}, {"welcome", "data", "recipient"}, {"token"}, {"reservation"}, {"end"}}

func placeOf(name string) int {
	return slices.IndexFunc(places, func(names []string) bool { return slices.Contains(names, name) })
}

// A sequence follows the records of an archive and knows what may come next.
type sequence struct {
	begun   bool
	place   int
	header  Header
	device  *delivery.DeviceID
	welcome openWelcome
	counts  Counts
}

// An openWelcome is the Welcome that the next records may belong to, and what is still to
// come of it.
type openWelcome struct {
	*Welcome
	groupInfo, tree int
	treeHash        hash.Hash
	recipients      int // so far
	open            int
}

// next returns what is wrong with a record at this place.
func (s *sequence) next(r Record) error {
	if err := s.moveTo(r); err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return fmt.Errorf("%s: %w", r.name(), err)
	}
	switch r := r.(type) {
	case *Header:
		s.header = *r
	case *Device:
		s.counts.Devices++
		id := r.ID()
		s.device = &id
		return s.within(append(slices.Clone(r.Replaced), r.ClaimOrder)...)
	case *KeyPackage:
		s.counts.KeyPackages++
		if s.device == nil || *s.device != (delivery.DeviceID{User: r.User, Name: r.Device}) {
			return fmt.Errorf("a key_package of %s/%s that is not behind its device", r.User, r.Device)
		}
		return s.within(r.Reservation>>reservationBits, r.GivenBack>>reservationBits)
	case *Welcome:
		s.counts.Welcomes++
		s.welcome = openWelcome{Welcome: r, groupInfo: r.GroupInfo, treeHash: sha256.New()}
		if r.GroupInfo > 0 {
			s.welcome.tree = r.Tree
		}
	case *Data:
		s.counts.Data++
		return s.welcome.data(r)
	case *Recipient:
		s.counts.Recipients++
		if err := s.welcome.recipient(r); err != nil {
			return err
		}
		return s.within(r.Order)
	case *Token:
		s.counts.Tokens++
	case *Reservation:
		s.counts.Reservations++
		return s.within(r.Reservation >> reservationBits)
	}
	return nil
}

// moveTo returns what is wrong with the place of a record.
func (s *sequence) moveTo(r Record) error {
	place := placeOf(r.name())
	switch {
	case s.begun != (place > 0):
		return fmt.Errorf("it has to begin with a header, and has no other, but here is a %s", r.name())
	case place < s.place:
		return fmt.Errorf("a %s stands behind what it has to stand before", r.name())
	}
	s.begun, s.place = true, place
	switch r.(type) {
	case *Data, *Recipient:
		return nil
	}
	return s.welcome.whole()
}

func (s *sequence) within(orders ...uint64) error {
	if order := slices.Max(orders); order > s.header.Order {
		return fmt.Errorf("an order of %d is above the header's, %d", order, s.header.Order)
	}
	return nil
}

func (l *openWelcome) data(d *Data) error {
	if l.Welcome == nil || d.Welcome != l.ID || l.recipients > 0 {
		return fmt.Errorf("data of Welcome %s that is not behind it", d.Welcome)
	}
	left := &l.groupInfo
	if d.Of == Tree {
		left = &l.tree
		l.treeHash.Write(d.Bytes)
		if l.groupInfo > 0 {
			return fmt.Errorf("the %s of a Welcome before all of its %s", Tree, GroupInfo)
		}
	}
	if *left -= len(d.Bytes); *left < 0 {
		return fmt.Errorf("the %s of Welcome %s is longer than it says", d.Of, d.Welcome)
	}
	return nil
}

func (l *openWelcome) recipient(r *Recipient) error {
	switch {
	case l.Welcome == nil || r.Welcome != l.ID:
		return fmt.Errorf("a recipient of Welcome %s that is not behind it", r.Welcome)
	case r.Index != l.recipients:
		return fmt.Errorf("recipient %d of Welcome %s, where %d should be", r.Index, r.Welcome, l.recipients)
	case r.Index >= l.Recipients:
		return fmt.Errorf("Welcome %s has more recipients than it says", r.Welcome)
	case l.groupInfo > 0 || l.tree > 0:
		return fmt.Errorf("data of Welcome %s is missing", r.Welcome)
	case l.GroupInfo > 0 && l.Tree > 0 && !bytes.Equal(l.treeHash.Sum(nil), l.TreeHash[:]):
		return fmt.Errorf("the %s of Welcome %s is another", Tree, r.Welcome)
	case r.Matched && !r.State().Ended() && l.GroupInfo == 0:
		return fmt.Errorf("Welcome %s was put away although a recipient waits for it", r.Welcome)
	}
	l.recipients++
	if r.Matched && !r.State().Ended() {
		l.open++
	}
	return nil
}

// whole returns what is missing of a Welcome when another record comes.
func (l *openWelcome) whole() error {
	switch {
	case l.Welcome == nil:
		return nil
	case l.recipients < l.Recipients:
		return fmt.Errorf("Welcome %s has %d recipients, but only %d are here", l.ID, l.Recipients, l.recipients)
	case l.open == 0 && l.EndedAt.IsZero():
		return fmt.Errorf("Welcome %s has ended, but ended_at is missing", l.ID)
	}
	l.Welcome = nil
	return nil
}
