package bolt

import (
	"errors"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
)

// lookTimeout is how long Look waits for who has the file open: nearly not.
const lookTimeout = 50 * time.Millisecond

// Look says whether Open could open the file at path, and whether it is a copy
// whose shelves Open would clear. It changes nothing. A file that does not exist
// is one that Open would make; one that somebody has open is ErrInUse, and not
// looked into.
func Look(path string) (restored bool, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return false, nil
	}
	if err == nil {
		err = writable(path)
	}
	if err == nil {
		restored, err = look(path)
	}
	if err != nil {
		return false, openError(path, err)
	}
	return restored, nil
}

func writable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func look(path string) (restored bool, err error) {
	if err := checkWhole(path); err != nil {
		return false, err
	}
	defer refusing(&err)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lookTimeout, ReadOnly: true, PageSize: pageSize})
	if err != nil {
		return false, err
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		restored, err = new(Store).load(tx)
		return err
	})
	if errors.Is(err, errEmpty) {
		return false, nil
	}
	return restored, err
}
