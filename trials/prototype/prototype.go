// Package prototype is the least that a bbolt file has to do for a KeyPackage
// and its Welcome: the measure that package bolt is held against. It knows no
// devices, lifetimes, limits or indexes. Payloads are written once; what became
// of a pair is one small row of its own. It imports bbolt beside package bolt
// because it is a benchmark and no part of the product.
package prototype

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// Every bucket is keyed by KeyPackageRef.
var (
	keyPackages  = []byte("key_packages") // → the bare KeyPackage
	welcomes     = []byte("welcomes")     // → the Welcome
	reservations = []byte("reservations") // → reserved
	consumed     = []byte("consumed")     // → claimed or acknowledged
)

var (
	reserved     = []byte{1}
	claimed      = []byte{1}
	acknowledged = []byte{2}
)

// ErrRefused is returned for an event whose turn has not come or is over.
var ErrRefused = errors.New("refused")

// A Commit runs fn in a read-write transaction and returns when it is durable.
type Commit func(fn func(*bbolt.Tx) error) error

// A Store keeps pairs in one file and commits each event by the same Commit.
type Store struct {
	db     *bbolt.DB
	commit Commit
	stop   func()
}

// Open opens the file or makes it, with the options that package bolt uses.
// Every event shares its commit with those that arrive while the commit before
// is under way, unless OpenUpdate or OpenBatch opens the file.
func Open(path string) (*Store, error) {
	s, err := open(path)
	if err != nil {
		return nil, err
	}
	c := newCommitter(s.db)
	s.commit, s.stop = c.do, c.close
	return s, nil
}

// OpenUpdate opens the file for db.Update: one commit per event.
func OpenUpdate(path string) (*Store, error) {
	s, err := open(path)
	if err == nil {
		s.commit = s.db.Update
	}
	return s, err
}

// OpenBatch opens the file for db.Batch with its defaults: a commit takes up to
// 1,000 events and waits 10 ms for them.
func OpenBatch(path string) (*Store, error) {
	s, err := open(path)
	if err == nil {
		s.commit = s.db.Batch
	}
	return s, err
}

func open(path string) (*Store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      time.Second,
		PageSize:     4096,
		FreelistType: bbolt.FreelistMapType,
	})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{keyPackages, welcomes, reservations, consumed} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	return &Store{db: db, stop: func() {}}, err
}

// Publish puts a KeyPackage on the shelf.
func (s *Store) Publish(ref, keyPackage []byte) error {
	return s.commit(func(tx *bbolt.Tx) error {
		b := tx.Bucket(keyPackages)
		if b.Get(ref) != nil {
			return ErrRefused
		}
		return b.Put(ref, keyPackage)
	})
}

// Reserve hands the KeyPackage out, once.
func (s *Store) Reserve(ref []byte) (keyPackage []byte, err error) {
	err = s.commit(func(tx *bbolt.Tx) error {
		body, b := tx.Bucket(keyPackages).Get(ref), tx.Bucket(reservations)
		if body == nil || b.Get(ref) != nil || tx.Bucket(welcomes).Get(ref) != nil {
			return ErrRefused
		}
		keyPackage = bytes.Clone(body)
		return b.Put(ref, reserved)
	})
	return keyPackage, err
}

// Post keeps the Welcome for the KeyPackage, one at most.
func (s *Store) Post(ref, welcome []byte) error {
	return s.commit(func(tx *bbolt.Tx) error {
		b := tx.Bucket(welcomes)
		if tx.Bucket(keyPackages).Get(ref) == nil || b.Get(ref) != nil {
			return ErrRefused
		}
		return b.Put(ref, welcome)
	})
}

// Claim returns the Welcome and consumes the KeyPackage, once.
func (s *Store) Claim(ref []byte) (welcome []byte, err error) {
	err = s.commit(func(tx *bbolt.Tx) error {
		body, b := tx.Bucket(welcomes).Get(ref), tx.Bucket(consumed)
		if body == nil || tx.Bucket(keyPackages).Get(ref) == nil || b.Get(ref) != nil {
			return ErrRefused
		}
		welcome = bytes.Clone(body)
		return b.Put(ref, claimed)
	})
	return welcome, err
}

// Acknowledge settles a claimed pair.
func (s *Store) Acknowledge(ref []byte) error {
	return s.commit(func(tx *bbolt.Tx) error {
		b := tx.Bucket(consumed)
		if !bytes.Equal(b.Get(ref), claimed) {
			return ErrRefused
		}
		return b.Put(ref, acknowledged)
	})
}

// A Row is what Load writes. One without a Welcome is on the shelf.
type Row struct{ Ref, KeyPackage, Welcome []byte }

// Load writes many rows, in the order of their keys: that leaves no free pages,
// whose list every later commit would have to write. Pages are filled as much
// as those of a tree that grew in any order.
func (s *Store) Load(rows []Row) error {
	rows = slices.SortedFunc(slices.Values(rows), func(a, b Row) int { return bytes.Compare(a.Ref, b.Ref) })
	for chunk := range slices.Chunk(rows, 5000) {
		if err := s.db.Update(func(tx *bbolt.Tx) error { return load(tx, chunk) }); err != nil {
			return err
		}
	}
	return nil
}

func load(tx *bbolt.Tx, rows []Row) error {
	const grown = 0.7
	k, w := tx.Bucket(keyPackages), tx.Bucket(welcomes)
	k.FillPercent, w.FillPercent = grown, grown
	for _, r := range rows {
		if err := k.Put(r.Ref, r.KeyPackage); err != nil {
			return err
		}
		if r.Welcome == nil {
			continue
		}
		if err := w.Put(r.Ref, r.Welcome); err != nil {
			return err
		}
	}
	return nil
}

// A Census counts pairs by where they are in their life.
type Census struct{ Shelf, Reserved, Posted, Claimed, Acknowledged int }

// Census counts the rows of the file.
func (s *Store) Census() (c Census, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(keyPackages).ForEach(func(ref, _ []byte) error {
			switch end := tx.Bucket(consumed).Get(ref); {
			case bytes.Equal(end, acknowledged):
				c.Acknowledged++
			case bytes.Equal(end, claimed):
				c.Claimed++
			case tx.Bucket(welcomes).Get(ref) != nil:
				c.Posted++
			case tx.Bucket(reservations).Get(ref) != nil:
				c.Reserved++
			default:
				c.Shelf++
			}
			return nil
		})
	})
	return c, err
}

// Close waits for the commit under way and closes the file.
func (s *Store) Close() error {
	s.stop()
	return s.db.Close()
}
