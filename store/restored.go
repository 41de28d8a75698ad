package store

import (
	"context"
	"crypto/rand"
	"time"

	"welcomed/delivery"
)

// lastRestore returns when and as what the store was last restored from a backup.
func (t *Txn) lastRestore() delivery.Restore {
	return delivery.Restore{At: t.noted(keyRestoredAt), Epoch: string(t.get(KindMeta, keyRestoreEpoch))}
}

// newEpoch returns a text that no store has had as its restore epoch.
func newEpoch() []byte { return []byte(rand.Text()[:16]) }

// branchGap is by how much the sequence goes up at a restore. A database gives fewer numbers
// between a backup and its loss. So all numbers after a restore are higher than all numbers
// before it, and two numbers say which of two events came first: whatever the clocks said,
// whichever file has them, and in whichever order backups are restored. For that, the sequence
// after a restore begins above all numbers that the file of revocations has, and that file says
// where the last branch began.
const branchGap = 1 << 32

// Start prepares the store to run events. If the database was restored, Start retires what is
// on the shelves, and then removes the mark of NoteRestored. If it is interrupted, the next
// Start does it again.
func (s *Store) Start(ctx context.Context, putBack bool) error {
	if putBack {
		if err := s.retireShelves(ctx); err != nil {
			return err
		}
	}
	return s.engine.View(ctx, func(t *Txn) error {
		s.restore, s.branchBegins = t.lastRestore(), t.restoredOrder()
		s.cursors = eventCipher(t.get(KindMeta, keyID))
		return nil
	})
}

// Branch returns the restore epoch, as of Start, and the number with which the sequence went on
// then; 0 if the database was never restored.
func (s *Store) Branch() (epoch string, begins uint64) { return s.restore.Epoch, s.branchBegins }

// RestoredAt returns when the shelves were last retired because the database was restored; zero
// if never.
func (s *Store) RestoredAt(ctx context.Context) (at time.Time, err error) {
	err = s.engine.View(ctx, func(t *Txn) error { at = t.restoredAt(); return nil })
	return at, err
}

func (s *Store) retireShelves(ctx context.Context) error {
	for from := []byte{}; from != nil; {
		err := s.run(ctx, func(t *Txn) error {
			t.quiet = true // whoever reads events is told of the restore
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

// retireShelvesFrom retires the shelves of some devices. It starts at a name, and returns the
// name at which to go on; nil at the end.
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
