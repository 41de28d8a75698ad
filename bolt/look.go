package bolt

import (
	"errors"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/store"
)

// lookTimeout is how long Look waits for a process that has the file open: hardly at all.
const lookTimeout = 50 * time.Millisecond

// An Outlook is what Open would find at a path.
type Outlook struct {
	New      bool    // there is no file, and one would be made
	Restored bool    // it is a copy, whose shelves would be cleared
	Upgrade  Upgrade // what would be done first, without the copy; zero: nothing
	Naming   store.Naming
}

// Look says whether Open could open the file at path. It changes nothing. If there is no file,
// Open would make one. If a process has the file open, the error is ErrInUse, and Look does not
// read it.
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
	err = db.View(func(tx *bbolt.Tx) error {
		f, _, err := snapshot(tx, delivery.DefaultLimits())
		if err != nil {
			return err
		}
		found.Restored = f.meta.Restored || wholeCommit(tx) != nil
		if format := f.meta.Format; format < store.FormatVersion {
			found.Upgrade = Upgrade{From: int(format), To: store.FormatVersion}
		}
		found.Naming = f.Naming()
		return nil
	})
	return found, err
}
