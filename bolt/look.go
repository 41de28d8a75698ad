package bolt

import (
	"errors"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
)

// lookTimeout is how long Look waits for who has the file open: nearly not.
const lookTimeout = 50 * time.Millisecond

// An Outlook is what Open would find at a path.
type Outlook struct {
	New      bool    // there is no file, and one would be made
	Restored bool    // it is a copy, whose shelves would be cleared
	Upgrade  Upgrade // what would be done first, without the copy; zero: nothing
	Naming   Naming
}

// Look says whether Open could open the file at path. It changes nothing. A file
// that does not exist is one that Open would make; one that somebody has open is
// ErrInUse, and not looked into.
func Look(path string) (Outlook, error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	err := present(path)
	if errors.Is(err, ErrNone) {
		if exists(RevokedPath(path)) {
			return Outlook{}, openError(path, errRevokedOnly)
		}
		return Outlook{New: true}, nil
	}
	if err != nil {
		return Outlook{}, err
	}
	err = writable(path)
	var found Outlook
	if err == nil {
		found, err = look(path)
	}
	if err != nil {
		return Outlook{}, openError(path, err)
	}
	return found, nil
}

func writable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func look(path string) (found Outlook, err error) {
	if err := checkWhole(path); err != nil {
		return found, err
	}
	defer refusing(&err)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lookTimeout, ReadOnly: true, PageSize: pageSize})
	if err != nil {
		return found, err
	}
	defer db.Close()
	s := new(Store)
	err = db.View(func(tx *bbolt.Tx) error {
		found.Restored, err = s.load(tx)
		if err == nil && wholeCommit(tx) != nil {
			found.Restored = true
		}
		if err != nil {
			return err
		}
		t := &txn{tx: tx, store: s, rows: newRowMap(), raw: true}
		loadLog(tx.Bucket(bucketLog.name), s.state.Load().merged, t.rows)
		found.Naming = t.naming()
		return nil
	})
	if err == nil && s.format < formatVersion {
		found.Upgrade = Upgrade{From: int(s.format), To: formatVersion}
	}
	return found, err
}
