package bolt

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
)

// keyID is the id of the database, which its backups have too. The file beside the
// database names it.
var keyID = []byte("id")

func newID() []byte { return []byte(rand.Text()[:16]) }

// revoke runs an event that revokes something. look says in which lines that is written
// down, none if it changes nothing, and apply returns ErrMoved if it finds something else
// to revoke than the lines say.
func (s *decisions) revoke(ctx context.Context, look func(*txn) ([]revocation, error), apply func(*txn, []revocation) error) error {
	e := &Event{}
	e.Look = func(t *txn) (changes bool, err error) {
		e.Revokes, err = look(t)
		if changes = err == nil && len(e.Revokes) > 0; changes && t.clock.Impossible {
			err = t.clock.Doubt()
		}
		return changes, err
	}
	e.Run = func(t *txn) error { return apply(t, e.Revokes) }
	return s.engine.Do(ctx, e)
}

// The kinds of revocations.
const (
	tokenLine  = "token"
	deviceLine = "device"
	userLine   = "user"
)

// A revocation is that of a token, or the removal of a device or of a user. An engine
// keeps it as a line.
type revocation struct {
	kind  string
	at    time.Time
	order uint64
	id    string // of a token; or user/device; or user
}

// device is whose removal it is.
func (r revocation) device() delivery.DeviceID {
	user, name, _ := strings.Cut(r.id, "/")
	return delivery.DeviceID{User: delivery.UserID(user), Name: name}
}

// tokensRevoked are the lines for tokens.
func (t *txn) tokensRevoked(ids []string) (lines []revocation) {
	for _, id := range ids {
		lines = append(lines, revocation{tokenLine, t.now, 0, id})
	}
	return lines
}

// removed is the line for a device or a user: whatever device there is now has a smaller
// number, and one that is made later has not.
func (t *txn) removed(kind, id string) revocation {
	return revocation{kind, t.now, t.rows.Last() + 1, id}
}

func deviceRevoked(t *txn, id delivery.DeviceID) revocation {
	return t.removed(deviceLine, string(id.User)+"/"+id.Name)
}

// sameTokens returns ErrMoved if other tokens are to be revoked than the lines say.
func sameTokens(lines []revocation, ids []string) error {
	n := 0
	for _, r := range lines {
		if r.kind == tokenLine {
			if n == len(ids) || ids[n] != r.id {
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

// saysRemoval reports whether there is a line for the removal of the device, as it is
// now: it was not made after the line.
func (t *txn) saysRemoval(lines []revocation, d *device) bool {
	return slices.ContainsFunc(lines, func(r revocation) bool {
		return r.kind == deviceLine && r.device() == d.id && d.number < r.order
	})
}

// carryOutLines is how many lines are carried out in one transaction.
const carryOutLines = 500

// carryOut carries out the lines that are not carried out, and returns how many tokens
// and devices were there that are not any more. What is made from now on has a number
// above theirs, and above order.
func (s *decisions) carryOut(lines []revocation, order uint64) (allTokens, allDevices int, err error) {
	var open []revocation
	err = s.engine.Peek(context.Background(), func(t *txn) error {
		for _, r := range lines {
			// The removal of a user may be of devices that a line before it removes.
			if order = max(order, r.order); t.isOpen(r) || r.kind == userLine && len(open) > 0 {
				open = append(open, r)
			}
		}
		if order <= t.rows.Last() {
			order = 0
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	for len(open) > 0 || order > 0 {
		n := min(len(open), carryOutLines)
		var tokens, devices int
		err := s.run(context.Background(), func(t *txn) error {
			tokens, devices = 0, 0
			t.raise(order)
			for _, r := range open[:n] {
				if r.at.After(t.now) { // by a clock that was ahead
					r.at = t.now
				}
				switch was := t.valid(r); {
				case !t.isOpen(r): // by now
				case r.kind == tokenLine:
					tokens++
					t.forgetToken(decodeToken(r.id, t.get(kindTokens, []byte(r.id))))
				case r.kind == userLine:
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
		open, order = open[n:], 0
		allTokens, allDevices = allTokens+tokens, allDevices+devices
	}
	return allTokens, allDevices, nil
}

// removeAgain carries out the removal of a device. Its tokens have lines of their own,
// but for those that had expired before: by a clock that is not trusted they are valid.
func (t *txn) removeAgain(r revocation) {
	t.revokeTokens(delivery.TokenOwner{User: r.device().User, Device: r.device().Name})
	d := t.lastOf(r.device())
	if d == nil {
		// It was made after the copy that this is. What credentials it had bring it back
		// as little as they would have.
		d = t.createDevice(r.device())
	}
	if !d.removed {
		t.removeDevice(d, r.at, r.order)
		return
	}
	d.removedAt, d.removedNo = r.at, r.order
	t.changed(d)
}

// removeUserAgain carries out the removal of a user, and returns how many devices there
// were.
func (t *txn) removeUserAgain(r revocation) int {
	user, devices := delivery.UserID(r.id), t.devicesBefore(r)
	for _, d := range devices {
		t.revokeTokens(delivery.TokenOwner{User: user, Device: d.id.Name})
		t.removeDevice(d, r.at, r.order)
	}
	t.put(kindGone, userPrefix(user), appendNumber(numberKey(millis(r.at)), r.order))
	return len(devices)
}

// devicesBefore are those of a user that are there and were made before its removal. They
// have lines of their own, but for one that had been forgotten, which writes none.
func (t *txn) devicesBefore(r revocation) []*device {
	return slices.DeleteFunc(t.userDevices(delivery.UserID(r.id)), func(d *device) bool { return d.number >= r.order })
}

// valid reports whether what a line revokes is there.
func (t *txn) valid(r revocation) bool {
	switch r.kind {
	case tokenLine:
		return t.get(kindTokens, []byte(r.id)) != nil
	case deviceLine:
		return t.device(r.device()) != nil
	}
	return false
}

// isOpen reports whether a line is still to be carried out.
func (t *txn) isOpen(r revocation) bool {
	switch r.kind {
	case tokenLine:
		return t.valid(r)
	case userLine:
		return t.isOpenOfUser(r)
	}
	d := t.lastOf(r.device())
	switch {
	case d == nil:
		return t.sure.Before(r.at.Add(t.limits.TombstoneKept)) // it would be forgotten otherwise
	case d.removed:
		_, number := t.lastRemovalOf(d)
		return number < r.order
	}
	return d.number < r.order
}

// isOpenOfUser is isOpen of the removal of a user. It concerns devices, too, of which
// nothing is known because they were made after the copy that this is.
func (t *txn) isOpenOfUser(r revocation) bool {
	user := delivery.UserID(r.id)
	if row := t.get(kindGone, userPrefix(user)); row != nil && readNumber(row[numberBytes:]) >= r.order {
		return false
	}
	return t.sure.Before(r.at.Add(t.limits.TombstoneKept)) || len(t.devicesBefore(r)) > 0 ||
		slices.ContainsFunc(t.goneDevices(user), func(d *device) bool { return d.removedNo < r.order })
}

// wouldRevoke returns how many tokens and devices are there that lines revoke.
func (t *txn) wouldRevoke(lines []revocation) (int, int) {
	tokens, devices := map[string]bool{}, map[string]bool{}
	for _, r := range lines {
		switch {
		case r.kind == userLine && t.isOpen(r):
			for _, d := range t.devicesBefore(r) {
				devices[string(d.id.User)+"/"+d.id.Name] = true
			}
		case !t.valid(r) || !t.isOpen(r):
		case r.kind == tokenLine:
			tokens[r.id] = true
		default:
			devices[r.id] = true
		}
	}
	return len(tokens), len(devices)
}
