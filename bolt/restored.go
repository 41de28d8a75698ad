package bolt

import (
	"context"
	"crypto/rand"

	"welcomed/delivery"
)

// lastRestore says when the store was last put back to a backup.
func (t *txn) lastRestore() delivery.Restore {
	return delivery.Restore{At: t.noted(keyRestoredAt), Epoch: string(t.get(kindMeta, keyRestoreEpoch))}
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

// retireShelves does what MarkRestored asked for and takes the mark away. It
// begins again if it is interrupted.
func (s *decisions) retireShelves() error {
	for from := []byte{}; from != nil; {
		err := s.run(context.Background(), func(t *txn) error {
			from = t.retireShelvesFrom(from)
			if from == nil {
				t.del(kindMeta, keyRestored)
				t.put(kindMeta, keyRestoredAt, appendNumber(nil, millis(t.now)))
				t.put(kindMeta, keyRestoreEpoch, newEpoch())
				t.raise(t.rows.Last() + branchGap)
				t.put(kindMeta, keyRestoredOrder, numberKey(t.next()))
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
func (t *txn) retireShelvesFrom(from []byte) (next []byte) {
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

func (t *txn) retireShelf(d *device) {
	for _, k := range t.onShelf(d, 0) {
		k.rec.AcrossRestore(*t.limits, t.now)
		t.saveKeyPackage(d, k)
	}
}
