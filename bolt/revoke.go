package bolt

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
)

// keyID is the id of the database, which its backups have too. The file beside the
// database names it.
var keyID = []byte("id")

func newID() []byte { return []byte(rand.Text()[:16]) }

// revoke runs an event that revokes something. look says in which lines that is written
// down, none if it changes nothing, and apply returns ErrMoved if it finds something else
// to revoke than the lines say.
func (s *Store) revoke(ctx context.Context, look func(*txn) ([]revocation, error), apply func(*txn, []revocation) error) error {
	e := &Event{}
	e.Look = func(t *txn) (changes bool, err error) {
		e.Revokes, err = look(t)
		if changes = err == nil && len(e.Revokes) > 0; changes && t.clock.Impossible {
			err = t.clock.Doubt()
		}
		return changes, err
	}
	e.Run = func(t *txn) error { return apply(t, e.Revokes) }
	return s.Do(ctx, e)
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

// A RevokedReport says what came of the file of revocations when the store was opened.
type RevokedReport struct {
	Lost            bool // there was none, although the database has had one
	Damaged         int  // lines that could not be read
	Tokens, Devices int  // that were valid in the database and were not any more
}

// Revoked says what came of the file beside the database when the store was opened.
func (s *Store) Revoked() RevokedReport { return s.revokedReport }

// RevokedNow is what the file beside the database says.
func (s *Store) RevokedNow() (*Revoked, error) {
	s.revoked.turn.Lock()
	defer s.revoked.turn.Unlock()
	return s.revoked.read()
}

// RevokedChanged gets a value after what is in the file beside the database has changed.
func (s *Store) RevokedChanged() <-chan struct{} { return s.revoked.changed }

// errRevokedOnly: there is no file, but still what says what was revoked in one.
var errRevokedOnly = errors.New("what was revoked in a database is there without it")

// beginRevoked is for a store that has not begun to serve. What is only filled has no
// such file.
func (s *Store) beginRevoked() (*Revoked, error) {
	if s.opts.fresh {
		return nil, nil
	}
	return s.carryOutRevoked()
}

// openRevoked has the file beside the database take lines. It is made anew where
// something else than its end has to change.
func (s *Store) openRevoked(v *Revoked) error {
	if v == nil {
		return nil
	}
	anew := v.Branch != s.restore.Epoch
	v.Branch = s.restore.Epoch
	if anew {
		v.shorten(s.guard.Look().Sure)
	}
	return s.revoked.open(v, anew)
}

// carryOutRevoked reads the file beside the database and carries out what the database
// does not know: it is an older copy, or a crash came between the line and its commit.
func (s *Store) carryOutRevoked() (*Revoked, error) {
	id, err := s.identify()
	if err != nil {
		return nil, err
	}
	v, err := ReadRevokedOf(s.path)
	switch {
	case errors.Is(err, errNotRevoked):
		return nil, fmt.Errorf("%w: move it away, and look at welcomed token list if the database is a copy", err)
	case err != nil:
		return nil, err
	case v == nil:
		s.revokedReport.Lost = !s.created && id != ""
		v = &Revoked{}
	case id != "" && v.Database != id:
		return nil, fmt.Errorf("%s says what was revoked in another database: move it away if this is the right one", s.revoked.path)
	}
	if id == "" { // from before there were ids
		if id = v.Database; id == "" {
			id = string(newID())
		}
		err := s.run(context.Background(), func(t *txn) error { t.put(kindMeta, keyID, []byte(id)); return nil })
		if err != nil {
			return nil, err
		}
	}
	v.Database, s.revokedReport.Damaged = id, v.Damaged
	return v, s.carryOut(v.lines)
}

// identify reads the id of the database; empty if it has none.
func (s *Store) identify() (id string, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		id = string(tx.Bucket(bucketMeta.name).Get(keyID))
		return nil
	})
	return id, err
}

// carryOutLines is how many lines are carried out in one transaction.
const carryOutLines = 500

// carryOut carries out the lines that are not carried out.
func (s *Store) carryOut(lines []revocation) error {
	var open []revocation
	order := uint64(0)
	err := s.Peek(context.Background(), func(t *txn) error {
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
		return err
	}
	for len(open) > 0 || order > 0 {
		n := min(len(open), carryOutLines)
		var tokens, devices int
		err := s.run(context.Background(), func(t *txn) error {
			tokens, devices = 0, 0
			// What is made from now on comes after all removals that are known.
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
			return fmt.Errorf("carry out what was revoked: %w", err)
		}
		open, order = open[n:], 0
		s.revokedReport.Tokens += tokens
		s.revokedReport.Devices += devices
	}
	return nil
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
	return slices.DeleteFunc(t.userDevices(delivery.UserID(r.id)), func(d *device) bool { return !t.isBefore(d.number, r) })
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
		return t.isBefore(number, r)
	}
	return t.isBefore(d.number, r)
}

// isOpenOfUser is isOpen of the removal of a user. It concerns devices, too, of which
// nothing is known because they were made after the copy that this is.
func (t *txn) isOpenOfUser(r revocation) bool {
	user := delivery.UserID(r.id)
	if row := t.get(kindGone, userPrefix(user)); row != nil && !t.isBefore(readNumber(row[numberBytes:]), r) {
		return false
	}
	return t.sure.Before(r.at.Add(t.limits.TombstoneKept)) || len(t.devicesBefore(r)) > 0 ||
		slices.ContainsFunc(t.goneDevices(user), func(d *device) bool { return t.isBefore(d.removedNo, r) })
}

// isBefore reports whether what has a number of the sequence was before a removal. A
// number that was given after a restore is not compared with one from before: the
// sequence may have gone back.
func (t *txn) isBefore(number uint64, r revocation) bool {
	if number >= r.order {
		return false
	}
	return number <= t.restoredOrder() || !r.at.Before(t.restoredAt())
}

// A RevokedPreview says what a database that is put in the place of a newer one would
// find revoked.
type RevokedPreview struct {
	Database        string    // its id; empty: from before there were ids
	SeenAt          time.Time // the latest time that it has seen
	Tokens, Devices int       // that v would revoke
}

// Preview looks into the file at path, which nobody has open and MarkRestored has
// checked. v may be nil.
func Preview(path string, limits delivery.Limits, v *Revoked) (p RevokedPreview, err error) {
	db, err := openFile(path, Options{LockTimeout: lockTimeout, readOnly: true})
	if err != nil {
		return p, openError(path, err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error { return recovering(func() error { return p.look(tx, limits, v) }) })
	return p, err
}

func (p *RevokedPreview) look(tx *bbolt.Tx, limits delivery.Limits, v *Revoked) error {
	t, _, err := snapshot(tx, limits)
	if err != nil {
		return err
	}
	p.Database, p.SeenAt = string(t.get(kindMeta, keyID)), t.seen
	if v == nil {
		return nil
	}
	tokens, devices := map[string]bool{}, map[string]bool{}
	for _, r := range v.lines {
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
	p.Tokens, p.Devices = len(tokens), len(devices)
	return nil
}
