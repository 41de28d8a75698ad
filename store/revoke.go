package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
)

// revoke runs an event that revokes something. look returns the lines that say so in the file
// of revocations, and whether the event also changes something else. apply returns ErrMoved if
// it finds something else to revoke than the lines say.
func (s *Store) revoke(ctx context.Context, look func(*Txn) (lines []Revocation, also bool, err error), apply func(*Txn, []Revocation) error) error {
	e := &Event{}
	e.Look = func(t *Txn) (changes bool, err error) {
		lines, also, err := look(t)
		e.Revokes = lines
		if changes = err == nil && (also || len(lines) > 0); changes && t.clock.Impossible {
			err = t.clock.Doubt()
		}
		return changes, err
	}
	e.Run = func(t *Txn) error { return apply(t, e.Revokes) }
	return s.engine.Do(ctx, e)
}

// The kinds of revocations.
const (
	TokenRevoked  = "token"
	DeviceRemoved = "device"
	UserRemoved   = "user"
)

// A Revocation is the revocation of a token, or the removal of a device or of a user. An engine
// keeps it as a line.
type Revocation struct {
	Kind  string
	At    time.Time
	Order uint64 // of a removal: devices with smaller numbers were there
	ID    string // of a token; or user/device; or user
}

// Device returns the device that was removed.
func (r Revocation) Device() delivery.DeviceID {
	user, name, _ := strings.Cut(r.ID, "/")
	return delivery.DeviceID{User: delivery.UserID(user), Name: name}
}

// tokensRevoked returns the lines for tokens.
func (t *Txn) tokensRevoked(ids []string) (lines []Revocation) {
	for _, id := range ids {
		lines = append(lines, Revocation{TokenRevoked, t.now, 0, id})
	}
	return lines
}

// removed returns the line for a device or a user. Every device that exists now has a smaller
// number than the line, and every device that is made later a larger one.
func (t *Txn) removed(kind, id string) Revocation {
	return Revocation{kind, t.now, t.rows.Last() + 1, id}
}

func deviceRevoked(t *Txn, id delivery.DeviceID) Revocation {
	return t.removed(DeviceRemoved, string(id.User)+"/"+id.Name)
}

// sameTokens returns ErrMoved if these tokens are not the ones that the lines revoke.
func sameTokens(lines []Revocation, ids []string) error {
	n := 0
	for _, r := range lines {
		if r.Kind == TokenRevoked {
			if n == len(ids) || ids[n] != r.ID {
				return ErrMoved
			}
			n++
		}
	}
	if n != len(ids) {
		return ErrMoved
	}
	return nil
}

// saysRemoval reports whether one of the lines removes the device as it is now. A line does not
// remove a device that was made after it.
func (t *Txn) saysRemoval(lines []Revocation, d *device) bool {
	return slices.ContainsFunc(lines, func(r Revocation) bool {
		return r.Kind == DeviceRemoved && r.Device() == d.id && d.number < r.Order
	})
}

// carryOutLines is how many lines one transaction carries out.
const carryOutLines = 500

// CarryOut carries out the lines that are not carried out, and returns how many tokens
// and devices were there that are not any more. What is made from now on has a number
// above theirs, and above order. The lines' times are right as far as setBacks say, which
// the rows learn.
func (s *Store) CarryOut(ctx context.Context, lines []Revocation, setBacks SetBacks, order uint64) (allTokens, allDevices int, err error) {
	for _, r := range lines {
		order = max(order, r.Order)
	}
	if err := s.learn(ctx, setBacks, order); err != nil {
		return 0, 0, err
	}
	var open []Revocation
	err = s.engine.Peek(ctx, func(t *Txn) error {
		for _, r := range lines {
			// The removal of a user may be of devices that a line before it removes.
			if t.isOpen(r) || r.Kind == UserRemoved && len(open) > 0 {
				open = append(open, r)
			}
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	for len(open) > 0 {
		n := min(len(open), carryOutLines)
		var tokens, devices int
		err := s.run(ctx, func(t *Txn) error {
			tokens, devices = 0, 0
			for _, r := range open[:n] {
				if r.At.After(t.now) { // by a clock that was ahead
					r.At = t.now
				}
				switch was := t.valid(r); {
				case !t.isOpen(r): // by now
				case r.Kind == TokenRevoked:
					tokens++
					t.forgetToken(decodeToken(r.ID, t.get(kindTokens, []byte(r.ID))))
				case r.Kind == UserRemoved:
					devices += t.removeUserAgain(r)
				default:
					if was {
						devices++
					}
					t.removeAgain(r)
				}
			}
			return nil
		})
		if err != nil {
			return allTokens, allDevices, fmt.Errorf("carry out what was revoked: %w", err)
		}
		open = open[n:]
		allTokens, allDevices = allTokens+tokens, allDevices+devices
	}
	return allTokens, allDevices, nil
}

// learn writes to the rows when the clock was put right, too. What a restored copy has from
// before was dated by the same clock as the lines. order is a number that was given before.
func (s *Store) learn(ctx context.Context, setBacks SetBacks, order uint64) error {
	changes := false
	look := func(t *Txn) error {
		changes = order > t.rows.Last() || !bytes.Equal(t.setBacks().With(setBacks...).encode(), t.get(KindMeta, keySetBack))
		return nil
	}
	if err := s.engine.Peek(ctx, look); err != nil || !changes {
		return err
	}
	return s.run(ctx, func(t *Txn) error {
		t.raise(order)
		t.given = max(t.given, order)
		if len(setBacks) > 0 {
			t.putSetBacks(t.setBacks().With(setBacks...))
		}
		return nil
	})
}

// SetBacks returns those that the rows have.
func (s *Store) SetBacks(ctx context.Context) (known SetBacks, err error) {
	err = s.engine.View(ctx, func(t *Txn) error { known = t.setBacks(); return nil })
	return known, err
}

// removeAgain carries out the removal of a device. The device's tokens have lines of their own.
// Tokens that had expired before have none, but are valid again under a clock that is not
// trusted, so removeAgain revokes them too.
func (t *Txn) removeAgain(r Revocation) {
	t.revokeTokens(delivery.TokenOwner{User: r.Device().User, Device: r.Device().Name})
	d := t.lastOf(r.Device())
	if d == nil {
		// It was made after the copy that this is. What credentials it had bring it back
		// as little as they would have.
		d = t.createDevice(r.Device())
	}
	if !d.removed {
		t.removeDevice(d, r.At, r.Order)
		return
	}
	d.removedAt, d.removedNo = r.At, r.Order
	t.changed(d)
}

// removeUserAgain carries out the removal of a user. It returns how many devices there were.
func (t *Txn) removeUserAgain(r Revocation) int {
	user, devices := delivery.UserID(r.ID), t.devicesBefore(r)
	for _, d := range devices {
		t.revokeTokens(delivery.TokenOwner{User: user, Device: d.id.Name})
		t.removeDevice(d, r.At, r.Order)
	}
	t.put(kindGone, userPrefix(user), appendNumber(numberKey(Millis(r.At)), r.Order))
	return len(devices)
}

// devicesBefore returns the devices of a user that exist and were made before the removal. Each
// has a line of its own, except one that had been forgotten: forgetting writes no line.
func (t *Txn) devicesBefore(r Revocation) []*device {
	return slices.DeleteFunc(t.userDevices(delivery.UserID(r.ID)), func(d *device) bool { return d.number >= r.Order })
}

// valid reports whether what a line revokes exists.
func (t *Txn) valid(r Revocation) bool {
	switch r.Kind {
	case TokenRevoked:
		return t.get(kindTokens, []byte(r.ID)) != nil
	case DeviceRemoved:
		return t.device(r.Device()) != nil
	}
	return false
}

// isOpen reports whether a line still has to be carried out.
func (t *Txn) isOpen(r Revocation) bool {
	switch r.Kind {
	case TokenRevoked:
		return t.valid(r)
	case UserRemoved:
		return t.isOpenOfUser(r)
	}
	d := t.lastOf(r.Device())
	switch {
	case d != nil && !d.removed:
		return d.number < r.Order
	case !t.sure.Before(r.At.Add(t.limits.TombstoneKept)):
		return false // it is forgotten, although one before it may not be
	case d == nil:
		return true
	}
	_, number := t.lastRemovalOf(d)
	return number < r.Order
}

// isOpenOfUser is isOpen for the removal of a user. Such a line also concerns devices that this
// copy does not know, because they were made after it.
func (t *Txn) isOpenOfUser(r Revocation) bool {
	user := delivery.UserID(r.ID)
	if row := t.get(kindGone, userPrefix(user)); row != nil && readNumber(row[numberBytes:]) >= r.Order {
		return false
	}
	return t.sure.Before(r.At.Add(t.limits.TombstoneKept)) || len(t.devicesBefore(r)) > 0 ||
		slices.ContainsFunc(t.goneDevices(user), func(d *device) bool { return d.removedNo < r.Order })
}

// WouldRevoke returns how many tokens and devices exist that the lines revoke.
func (t *Txn) WouldRevoke(lines []Revocation) (int, int) {
	tokens, devices := map[string]bool{}, map[string]bool{}
	for _, r := range lines {
		switch {
		case r.Kind == UserRemoved && t.isOpen(r):
			for _, d := range t.devicesBefore(r) {
				devices[string(d.id.User)+"/"+d.id.Name] = true
			}
		case !t.valid(r) || !t.isOpen(r):
		case r.Kind == TokenRevoked:
			tokens[r.ID] = true
		default:
			devices[r.ID] = true
		}
	}
	return len(tokens), len(devices)
}
