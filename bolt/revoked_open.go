package bolt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/store"
)

// A RevokedReport says what opening the store has carried out of the file of revocations.
type RevokedReport struct {
	Lost            bool // there was none, although the database has had one
	Damaged         int  // lines that could not be read
	Tokens, Devices int  // that were valid in the database and were not any more
}

// Revoked returns what opening the store has carried out of the file of revocations.
func (s *Store) Revoked() RevokedReport { return s.revokedReport }

// RevokedNow returns what the file of revocations says now.
func (s *Store) RevokedNow() (*Revoked, error) {
	s.revoked.turn.Lock()
	defer s.revoked.turn.Unlock()
	return s.revoked.read()
}

// RevokedChanged returns a channel that gets a value when the file of revocations has changed.
func (s *Store) RevokedChanged() <-chan struct{} { return s.revoked.changed }

// errRevokedOnly: there is no database, but a file of revocations of one.
var errRevokedOnly = errors.New("what was revoked in a database is there without it")

// beginRevoked reads the file of revocations before the store serves. A store that is only
// filled has no such file.
func (s *Store) beginRevoked() (*Revoked, error) {
	if s.opts.fresh {
		return nil, nil
	}
	return s.carryOutRevoked()
}

// openRevoked makes the file of revocations ready for lines. It writes the file anew if more
// than its end has to change. begins is the number with which the branch of the database began.
func (s *Store) openRevoked(v *Revoked) error {
	if v == nil {
		return nil
	}
	backs, err := s.SetBacks(context.Background())
	if err != nil {
		return err
	}
	epoch, begins := s.Branch()
	anew := v.Branch != epoch || !slices.EqualFunc(backs, v.backs, sameBack)
	v.backs = backs // the database has learnt those of the file
	v.Branch, v.Begins = epoch, max(v.Begins, begins)
	if anew {
		v.shorten(s.guard.Look().Sure)
	}
	return s.revoked.open(v, anew)
}

func sameBack(x, y store.SetBack) bool { return x.Given == y.Given && x.At.Equal(y.At) }

// carryOutRevoked reads the file of revocations, and carries out the lines that the database
// does not know. There are such lines if the database is an older copy, or if a crash came
// between a line and its commit.
func (s *Store) carryOutRevoked() (*Revoked, error) {
	id := s.Meta().ID
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
		if id, err = s.Identify(context.Background(), v.Database); err != nil {
			return nil, err
		}
	}
	v.Database, s.revokedReport.Damaged = id, v.Damaged
	s.revokedReport.Tokens, s.revokedReport.Devices, err = s.CarryOut(context.Background(), v.revocations(), v.backs, v.Begins)
	return v, err
}

// A RevokedPreview says what a database would find revoked if it were put in the place of a
// newer one.
type RevokedPreview struct {
	Database        string    // its id; empty: from before there were ids
	SeenAt          time.Time // the latest time that it has seen
	Tokens, Devices int       // that v would revoke
}

// Preview reads the file at path, which no process may have open and which MarkRestored has
// checked. v may be nil.
func Preview(path string, limits delivery.Limits, v *Revoked) (p RevokedPreview, err error) {
	db, err := openFile(path, Options{LockTimeout: lockTimeout, readOnly: true})
	if err != nil {
		return p, openError(path, err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error { return store.Recovering(func() error { return p.look(tx, limits, v) }) })
	return p, err
}

func (p *RevokedPreview) look(tx *bbolt.Tx, limits delivery.Limits, v *Revoked) error {
	t, _, err := snapshot(tx, limits)
	if err != nil {
		return err
	}
	p.Database, p.SeenAt = t.meta.ID, t.meta.state.seen
	if v == nil {
		return nil
	}
	p.Tokens, p.Devices = t.WouldRevoke(v.revocations())
	return nil
}
