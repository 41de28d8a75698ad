package store

import (
	"context"
	"crypto/rand"
	"time"

	"welcomed/delivery"
)

// lastRestore says when the store was last put back to a backup.
func (t *Txn) lastRestore() delivery.Restore {
	return delivery.Restore{At: t.noted(keyRestoredAt), Epoch: string(t.get(KindMeta, keyRestoreEpoch))}
}

// newEpoch returns a text that no store has had as its restore epoch.
func newEpoch() []byte { return []byte(rand.Text()[:16]) }

// branchGap is by how much the sequence goes up at a restore. Between a backup and the
// loss of its database fewer numbers are given. So those of each branch are higher than
// all of the branches before it, and two numbers say which was first, whatever clocks
// said, in which file they are, and in which order backups are put back. For that the
// sequence begins above all that the file of revocations has, and that file says where
// the last branch began.
const branchGap = 1 << 32

// Start begins to decide. If the database was put back, it retires what is on the shelves,
// and takes the mark of MarkRestored away. It begins again if it is interrupted.
func (s *Store) Start(ctx context.Context, putBack bool) error {
	if putBack {
		if err := s.retireShelves(ctx); err != nil {
			return err
		}
	}
	return s.engine.View(ctx, func(t *Txn) error {
		s.restore, s.branchBegins = t.lastRestore(), t.restoredOrder()
		return nil
	})
}

// Branch is the restore epoch, as of Start, and the number of the sequence with which it
// began; 0 if the database was never put back.
func (s *Store) Branch() (epoch string, begins uint64) { return s.restore.Epoch, s.branchBegins }

// RestoredAt is when shelves were retired because the database was put back; zero if
// never.
func (s *Store) RestoredAt(ctx context.Context) (at time.Time, err error) {
	err = s.engine.View(ctx, func(t *Txn) error { at = t.restoredAt(); return nil })
	return at, err
}

func (s *Store) retireShelves(ctx context.Context) error {
	for from := []byte{}; from != nil; {
		err := s.run(ctx, func(t *Txn) error {
			from = t.retireShelvesFrom(from)
			if from == nil {
				t.del(KindMeta, keyRestored)
				t.put(KindMeta, keyRestoredAt, appendNumber(nil, Millis(t.now)))
				t.put(KindMeta, keyRestoreEpoch, newEpoch())
				t.raise(t.rows.Last() + branchGap)
				t.put(KindMeta, keyRestoredOrder, numberKey(t.next()))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// retireShelvesFrom does it for some of the devices, from a name on, and returns
// the name of the next; nil if there is none.
func (t *Txn) retireShelvesFrom(from []byte) (next []byte) {
	const devices = 500
	var numbers []uint64
	var names [][]byte
	for name, number := range t.scan(kindNames, nil, from) {
		names = append(names, cloneBytes(name))
		if len(names) > devices {
			break
		}
		numbers = append(numbers, readNumber(number))
	}
	before := t.writes
	for i, number := range numbers {
		if t.writes-before > sweepWrites {
			return names[i]
		}
		t.retireShelf(t.deviceByNumber(number))
	}
	if len(names) > len(numbers) {
		return names[len(numbers)]
	}
	return nil
}

func (t *Txn) retireShelf(d *device) {
	for _, k := range t.onShelf(d, 0) {
		k.rec.AcrossRestore(*t.limits, t.now)
		t.saveKeyPackage(d, k)
	}
}
