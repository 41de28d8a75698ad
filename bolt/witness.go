package bolt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"welcomed/delivery"
	"welcomed/safefile"
	"welcomed/store"
)

// lookEvery is how often an idle store checks that its file is as it was committed.
const lookEvery = time.Second

// A witness is the meta page of the last commit of this process. No lock keeps a program such
// as cp from writing to the file. So the witness is compared with the file before every read,
// commit and answer, and every lookEvery.
type witness struct {
	id   uint64 // of the transaction
	page int    // that the meta is in; the next commit writes the other one
	meta [metaSize]byte
}

// errNotLast: the newest meta page is of another transaction.
var errNotLast = errors.New("is not the last one of the file")

// bearWitness notes the meta page of transaction id, which was committed.
func (s *Store) bearWitness(id uint64) error {
	head, err := s.readHead()
	if err != nil {
		return err
	}
	page, meta := newestOf(head)
	if meta == nil || number(meta[metaTxn:]) != id {
		return fmt.Errorf("transaction %d %w", id, errNotLast)
	}
	w := &witness{id: id, page: page}
	copy(w.meta[:], meta)
	s.witness.Store(w)
	return nil
}

// readHead returns the two meta pages of the file.
func (s *Store) readHead() (head []byte, err error) {
	s.headMu.RLock()
	defer s.headMu.RUnlock()
	if s.head == nil { // cannot be mapped
		head = make([]byte, 2*pageSize)
		_, err = s.file.ReadAt(head, 0)
		return head, err
	}
	err = store.Recovering(func() error { head = bytes.Clone(s.head); return nil })
	return head, err
}

// unchanged ends the store if the file is not what this process committed. bbolt trusts what it
// reads: it would loop, or read where nothing is mapped.
func (s *Store) unchanged() error {
	for {
		w := s.witness.Load()
		same, err := s.bears(w)
		if errors.Is(err, os.ErrClosed) {
			return nil // bbolt says so
		}
		if err != nil {
			return s.unreadable(err)
		}
		if same {
			return nil
		}
		if w == s.witness.Load() { // and no commit came between
			return s.overwritten()
		}
	}
}

// bears reports whether the meta pages are those of a commit. The other page has the commit
// before, or one that is being written.
func (s *Store) bears(w *witness) (same bool, err error) {
	s.headMu.RLock()
	defer s.headMu.RUnlock()
	head := s.head
	if head == nil {
		head = make([]byte, 2*pageSize)
		if _, err := s.file.ReadAt(head, 0); err != nil {
			return false, err
		}
	}
	err = store.Recovering(func() error {
		mine := head[w.page*pageSize+metaHeader:][:metaSize]
		other := head[(1-w.page)*pageSize+metaHeader:][:metaSize]
		newer := validMeta(other) && number(other[metaTxn:]) > s.layers.Load()[1].id
		same = bytes.Equal(mine, w.meta[:]) && !newer
		return nil
	})
	return same, err
}

// overwritten ends the store because another program has written to the file. bbolt is not
// called any more: whoever is inside it may never return.
func (s *Store) overwritten() error {
	s.keepCommitted()
	s.writer.lock()
	return s.writer.fail(fmt.Errorf("%w: %s was overwritten or cut short by another program while it was in use: nothing more is written to it; put back the file or a backup with welcomed restore; what is there when welcomed starts again counts as a restored backup",
		delivery.ErrOutcomeUnknown, s.path))
}

// A looker checks the file again and again.
type looker struct {
	ended   chan struct{}
	running sync.WaitGroup
	once    sync.Once

	mu  sync.Mutex
	why error // the file is not where it was; nil: it is
}

func (l *looker) start(every time.Duration, look func()) {
	l.ended = make(chan struct{})
	l.running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				look()
			case <-l.ended:
				return
			}
		}
	})
}

func (l *looker) stop() {
	if l.ended != nil {
		l.once.Do(func() { close(l.ended) })
		l.running.Wait()
	}
}

// look checks the file without bbolt, in which others may wait for ever.
func (s *Store) look() {
	if s.checkPlace() == nil && !s.writer.broken() {
		_ = s.unchanged()
	}
}

// misplaced notes whether the file is where it was.
func (l *looker) misplaced(s *Store, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if (why == nil) == (l.why == nil) || s.writer == nil || s.writer.broken() {
		return
	}
	l.why = why
	if why == nil {
		_ = s.forgetCommitted()
		return
	}
	s.keepCommitted()
	if s.opts.Misplaced != nil {
		s.opts.Misplaced(why)
	}
}

// committedSuffix follows the name of the database in the name of a note. The note says what
// was last committed to the database, if another program has replaced it or has written to it.
const committedSuffix = ".last-commit"

// keepCommitted writes that note for the next start, which may find an older copy. KeyPackages
// on the shelves of such a copy have been handed out since.
func (s *Store) keepCommitted() {
	w := s.witness.Load()
	// Where there is no directory any more, there will be another one.
	_ = safefile.Write(s.path+committedSuffix, safefile.Private, func(f *os.File) error {
		_, err := fmt.Fprintf(f, "%x\n", w.meta)
		return err
	})
}

// anotherState reports whether there is a note, and it says that the file had another state.
func (s *Store) anotherState() (bool, error) {
	text, err := os.ReadFile(s.path + committedSuffix)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	meta, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if w := s.witness.Load(); err == nil && bytes.Equal(meta, w.meta[:]) {
		return false, s.forgetCommitted()
	}
	return true, nil
}

func (s *Store) forgetCommitted() error {
	if err := os.Remove(s.path + committedSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove what says what was committed last: %w", err)
	}
	return safefile.SyncDirectory(filepath.Dir(s.path))
}
