package bolt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"welcomed/delivery"
	"welcomed/store"
)

const (
	// pageSize is the same on every machine, so that a file can be moved:
	// some ARM kernels have pages of 16 KiB.
	pageSize = 4096
	// lockTimeout is how long another process may keep the file.
	lockTimeout = time.Second
)

// Options are the settings of a store. The zero value of each field but Limits is a working
// default.
type Options struct {
	Limits     delivery.Limits
	Clock      delivery.Clock // nil: the machine's
	TrustClock bool           // take the clock as it is, see delivery.ClockGuard
	MaxSize    int64          // of the file in bytes; 0: what the disk holds, and on 32-bit machines 1 GiB, which is the most
	// LogSize is how many bytes of changes may wait in the log to be merged;
	// 0: 16 MiB. They are also in memory, where they take a few times as much.
	LogSize int64
	// MustExist: if there is no file, Open makes none and returns ErrNone.
	MustExist bool
	// LockTimeout is how long to wait for another process that has the file
	// open; 0: one second.
	LockTimeout time.Duration
	// ObserveCommit, if not nil, is called after every commit, with how many events
	// shared it and how long it took.
	ObserveCommit func(events int, took time.Duration)

	// Misplaced, if not nil, is called when the file is no longer where it was, so that
	// nothing can be written. It is called again if the file was back in between.
	Misplaced func(error)
	// ObserveDamage, if not nil, is called for every part of the file that was found
	// damaged, when everything that ends because of it is durable.
	ObserveDamage func(delivery.DamagedPart)

	anyCommit bool          // also if the last commit is not on the disk as a whole
	fresh     bool          // make a new file, and replace what is at the path
	headroom  int64         // 0: what space.headroom returns; less in tests
	idleAfter time.Duration // shorter in tests
	lookEvery time.Duration // other in tests
	// observeEvent, if not nil, is called for each event in tests, with how many rows it
	// has read and written in the writer.
	observeEvent func(reads, writes int, took time.Duration)
	readOnly     bool // only read the file
}

// A Store keeps everything in one file. It implements delivery.Store.
type Store struct {
	*store.Store
	guard    *delivery.ClockGuard
	path     string
	opts     Options
	db       *bbolt.DB
	file     *os.File    // bbolt's
	info     os.FileInfo // of the file when it was opened
	headMu   sync.RWMutex
	head     []byte // its meta pages, mapped
	witness  atomic.Pointer[witness]
	looker   looker
	writer   *committer
	state    atomic.Pointer[state]    // as last committed
	layers   atomic.Pointer[[2]layer] // of the transactions that a reader may see
	commits  atomic.Int64
	fileSize atomic.Int64  // bytes, at the last commit
	copying  chan struct{} // holds a token while a copy is made
	restored string        // why the file counts as a restored one since it was opened; empty: it does not
	created  bool          // there was no file
	upgraded Upgrade       // when it was opened

	revoked       *revokedFile
	revokedReport RevokedReport

	closing  sync.Once
	closeErr error
}

var _ delivery.Store = (*Store)(nil)

// Open opens the file, or makes it with mode 0600 if there is none. It refuses an empty file: a
// database is never empty, so such a file has lost its content. An error is one sentence that
// names the file. Open does not change a file that it cannot use.
func Open(path string, opts Options) (*Store, error) {
	if opts.Clock == nil {
		opts.Clock = delivery.SystemClock()
	}
	if opts.LockTimeout == 0 {
		opts.LockTimeout = lockTimeout
	}
	if opts.MaxSize == 0 {
		opts.MaxSize = mappable()
	}
	s, err := openStore(path, opts)
	if errors.Is(err, errLostCommit) {
		return openBehind(path, opts)
	}
	return s, openError(path, err)
}

// openBehind opens a file whose last commit is not on the disk as a whole. It serves the state
// before that commit, or, if that is not sound, what there is. Both count as a restored backup.
func openBehind(path string, opts Options) (*Store, error) {
	kept, err := stepBack(context.Background(), path, nil)
	why := "the disk had not kept the last commit, and the state before it is served; the file as it was is " + kept
	if err != nil {
		if _, torn := checkTree(path, nil); torn != nil { // bbolt may never come to an end in it
			return nil, openError(path, torn)
		}
		opts.anyCommit = true
		why = "the disk had not kept the last commit, and what may be an older state is served: " + err.Error()
	}
	s, err := openStore(path, opts)
	if err != nil {
		return nil, openError(path, err)
	}
	s.restored = why
	return s, nil
}

func openStore(path string, opts Options) (*Store, error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	created, err := newFile(path, opts)
	if err != nil {
		return nil, err
	}
	db, file, err := openAhead(path, opts)
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, opts: opts, db: db, file: file, created: created, copying: make(chan struct{}, 1),
		revoked: &revokedFile{path: RevokedPath(path), changed: make(chan struct{}, 1)}}
	if err := s.start(); err != nil {
		s.abandon(err)
		return nil, err
	}
	return s, nil
}

// abandon gives up a store that did not start.
func (s *Store) abandon(why error) {
	s.looker.stop()
	if s.writer != nil {
		s.writer.close()
	}
	_ = s.revoked.close()
	if !errors.Is(why, store.ErrUnreadable) { // after which bbolt may hold its locks
		_ = errors.Join(s.unmapHead(), s.db.Close())
	}
}

// Created reports whether Open has made the file, because there was none.
func (s *Store) Created() bool { return s.created }

func openFile(path string, opts Options) (*bbolt.DB, error) {
	db, _, err := openBoth(path, opts, 0)
	return db, err
}

// openAhead is openBoth, with address space set aside into which the file can grow. Without it,
// bbolt has to wait for all readers when the file has grown, and keeps new readers and the
// writer waiting. A backup reads for as long as the disk takes.
func openAhead(path string, opts Options) (db *bbolt.DB, file *os.File, err error) {
	db, file, err = openBoth(path, opts, mapAhead(opts.MaxSize))
	if errors.Is(err, syscall.ENOMEM) { // somebody limits it
		db, file, err = openBoth(path, opts, 0)
	}
	if err == nil && opts.MaxSize == 0 {
		db.AllocSize = allocateStep // of a file that is mapped ahead, bbolt makes any size larger by that
	}
	return db, file, err
}

// mapAhead returns how many bytes to map. Mapping takes no memory, and no room on the disk
// until the file is that large.
func mapAhead(maxSize int64) int {
	ahead := int64(16 << 30)
	switch {
	case runtime.GOOS == "windows":
		return 0
	case strconv.IntSize == 32:
		ahead = 256 << 20 // of three or less
	}
	if maxSize > 0 {
		ahead = min(ahead, maxSize)
	}
	return int(ahead)
}

// mappable returns how large the file of a 32-bit program may be; 0: any size. bbolt maps a
// larger file in one piece of 2 GiB. Of the address space of 3 GiB no such piece is left beside
// a heap, and bbolt finds out only after it has given up the old mapping.
func mappable() int64 {
	if strconv.IntSize == 32 {
		return 1 << 30
	}
	return 0
}

// openBoth opens the database, and also returns its file. Closing the database closes the file.
func openBoth(path string, opts Options, ahead int) (db *bbolt.DB, file *os.File, err error) {
	return openMade(nil, path, opts, ahead)
}

// openMade is openBoth for a file that safefile has just made; nil if the file exists. bbolt
// itself makes no file. After an error made is closed.
func openMade(made *os.File, path string, opts Options, ahead int) (db *bbolt.DB, file *os.File, err error) {
	defer func() {
		if err != nil && made != nil {
			made.Close()
		}
	}()
	if most := mappable(); most > 0 && opts.MaxSize > most {
		return nil, nil, fmt.Errorf("a file of %d bytes cannot be mapped by a 32-bit program, at most one of %d", opts.MaxSize, most)
	}
	if err := checkWhole(path); err != nil {
		return nil, nil, err
	}
	defer refusing(&err)
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:  opts.LockTimeout,
		PageSize: pageSize,
		MaxSize:  int(opts.MaxSize),
		ReadOnly: opts.readOnly,
		// A larger file is mapped as it is.
		InitialMmapSize: ahead,
		// Pages are taken from the front of the file. The other kind takes them
		// anywhere and leaves no room for what needs several in a row, above all
		// the list itself: the file of a simulated year grew by a quarter.
		FreelistType: bbolt.FreelistArrayType,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			if f := made; f != nil {
				made, file = nil, f
				return f, nil
			}
			f, err := os.OpenFile(name, flag&(os.O_WRONLY|os.O_RDWR), mode)
			file = f
			return f, err
		},
	})
	if err == nil && opts.MaxSize > 0 {
		db.AllocSize = int(min(1<<20, opts.MaxSize/16))
	}
	return db, file, err
}

// refusing makes an error of a panic. bbolt panics if it reads damaged pages while it opens a
// file.
func refusing(err *error) {
	switch p := recover().(type) {
	case nil:
	case interface{ Addr() uintptr }:
		*err = store.ErrUnreadable
	default:
		*err = fmt.Errorf("%w: %v", berrors.ErrInvalid, p)
	}
}

// ErrNone: there is no file of that name.
var ErrNone = errors.New("there is no database")

var (
	// errEmpty: the file has no bytes.
	errEmpty = errors.New("the file is empty")
	// errDangling: the path is a link, and what it names does not exist.
	errDangling = errors.New("it is a link")
)

// lockRefused reports whether the file system cannot lock the file. bbolt returns the error of
// flock as it is, and errors about the file with its path.
func lockRefused(err error) bool {
	errno, bare := err.(syscall.Errno)
	return bare && slices.Contains([]syscall.Errno{syscall.ENOLCK, syscall.EACCES, syscall.ENOTSUP, syscall.ENOSYS}, errno)
}

// ErrInUse: another process has the file open.
var ErrInUse = errors.New("in use by another process")

// Unused returns ErrInUse if a process has the file at path open. It does not look at the
// content.
func Unused(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, ReadOnly: true})
	if errors.Is(err, berrors.ErrTimeout) {
		return openError(path, err)
	}
	if err == nil {
		return db.Close()
	}
	return nil // it is of no use, but nobody uses it
}

func openError(path string, err error) error {
	if err == nil {
		return nil
	}
	abs, absErr := filepath.Abs(path)
	if absErr != nil {
		abs = path
	}
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("database %s is %w", abs, ErrInUse)
	case errors.Is(err, ErrNone):
		return fmt.Errorf("%w %s", ErrNone, path)
	case errors.Is(err, errEmpty):
		return fmt.Errorf("database %s is an empty file, and no database ever is: restore a backup, or remove the file if there never was one", abs)
	case errors.Is(err, errRevokedOnly):
		return fmt.Errorf("there is no database %s, but %s says what was revoked in one: restore a backup, or remove that file too to begin anew", path, RevokedPath(path))
	case errors.Is(err, errDangling):
		target, _ := os.Readlink(path)
		return fmt.Errorf("database %s is a link to %s, which does not exist: is its disk mounted?", abs, target)
	case lockRefused(err):
		return fmt.Errorf("database %s cannot be locked (%w): it is probably on a network share without locks, put it on a local disk", abs, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("database %s is on a file system that is mounted read-only: %w", abs, err)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch), store.IsDamage(err):
		if soundBehind(path) {
			return fmt.Errorf("database %s is corrupt: %w; it was left as it is; the state before its last commit is there, and welcomed check --repair puts that in its place", abs, err)
		}
		return fmt.Errorf("database %s is corrupt or not a database: %w; it was left as it is, restore a backup", abs, err)
	case errors.Is(err, store.ErrUnsound):
		return fmt.Errorf("database %s was left as it is: %w", abs, err)
	case noRoom(err):
		return fmt.Errorf("no room for database %s: %w", abs, err)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("the directory of database %s does not exist", abs)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("database %s cannot be opened: %s: %w", abs, whose(abs), err)
	}
	return fmt.Errorf("open database %s: %w", abs, err)
}

// start checks the format, or writes the first rows of a new file, and starts the writer.
func (s *Store) start() (err error) {
	defer refusing(&err)
	if err := s.secure(); err != nil {
		return err
	}
	var meta fileMeta
	err = s.db.View(func(tx *bbolt.Tx) (err error) {
		meta, err = readMeta(tx)
		if err == nil {
			s.state.Store(&meta.state)
			err = refuseMoved(meta)
		}
		if err == nil && !s.opts.anyCommit {
			err = wholeCommit(tx)
		}
		return err
	})
	if err == nil && s.opts.anyCommit {
		meta.Restored, err = true, mark(s.db)
	}
	if err == nil && meta.Format < store.FormatVersion {
		meta.Meta, err = s.upgrade(meta.Meta)
	}
	if err != nil {
		return err
	}
	seen := s.state.Load().seen
	if s.created {
		seen = time.Time{} // what the clock said a moment ago is no knowledge
	}
	s.guard = delivery.NewClockGuard(s.opts.Clock, seen, s.opts.TrustClock)
	s.Store = store.New(s, store.Options{Name: s.path, Limits: s.opts.Limits, Guard: s.guard, Meta: meta.Meta, ObserveDamage: s.opts.ObserveDamage})
	if err := s.startWriter(); err != nil {
		return err
	}
	other, err := s.anotherState()
	if err != nil {
		return err
	}
	if meta.Restored {
		s.restored = "it is a copy"
	}
	if other {
		s.restored = "it is not what the server before had committed to it"
	}
	revoked, err := s.beginRevoked()
	if err != nil {
		return err
	}
	err = s.Start(context.Background(), s.restored != "")
	if err == nil && other {
		err = s.forgetCommitted()
	}
	if err == nil {
		err = s.openRevoked(revoked)
	}
	return err
}

// startWriter reads the log, and begins to take events.
func (s *Store) startWriter() error {
	tx, err := s.db.Begin(false)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	id, rows := uint64(tx.ID()), newRowMap()
	log := loadLog(tx.Bucket(bucketLog.name), s.state.Load().merged, rows)
	if !s.opts.anyCommit && !wholeLog(tx, log) {
		return errLostCommit
	}
	s.fileSize.Store(tx.Size())
	s.layers.Store(&[2]layer{{id, rows}, {id, rows}})
	if err := s.bearWitness(id); err != nil {
		return err
	}
	s.writer = newCommitter(s, id, log, rows)
	err = s.writer.keepHeadroom()
	go s.writer.loop()
	if err != nil {
		return err
	}
	s.looker.start(cmp.Or(s.opts.lookEvery, lookEvery), s.look)
	return nil
}

// A fileMeta is what has to be known of a file before its rows can be read.
type fileMeta struct {
	store.Meta
	state state
}

// readMeta reads the fileMeta of a file of this format, or of one that can be upgraded.
func readMeta(tx *bbolt.Tx) (m fileMeta, err error) {
	meta := tx.Bucket(bucketMeta.name)
	if meta == nil {
		return m, store.ErrForeign
	}
	if m.Meta, err = store.ReadMeta(&fileRows{tx: tx}); err != nil {
		return m, err
	}
	for _, b := range buckets {
		if tx.Bucket(b.name) == nil {
			return m, fmt.Errorf("%w: bucket %s is missing", store.ErrCorrupt, b.name)
		}
	}
	m.state = decodeState(meta.Get(keyState))
	return m, nil
}

func (s *Store) create(tx *bbolt.Tx) error {
	for _, b := range buckets {
		if _, err := tx.CreateBucket(b.name); err != nil {
			return err
		}
	}
	s.state.Store(&state{seen: s.opts.Clock.Now(), merged: 1})
	meta := tx.Bucket(bucketMeta.name)
	return errors.Join(change(tx, store.Create), meta.Put(keyState, s.state.Load().encode()), meta.Put(keyCommit, encodeCommit(tx, 1)))
}

// Path returns the path that the store was opened with.
func (s *Store) Path() string { return s.path }

// Commits returns how many transactions were committed since Open.
func (s *Store) Commits() int { return int(s.commits.Load()) }

// Ready implements delivery.Store.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.writer.reason(); err != nil {
		return err
	}
	if err := s.checkPlace(); err != nil {
		return cmp.Or(s.writer.reason(), err)
	}
	err := s.View(ctx, func(t *store.Txn) error {
		if meta, err := store.ReadMeta(t.Rows()); err != nil || meta.Format != store.FormatVersion {
			return store.ErrCorrupt
		}
		return nil
	})
	if err != nil {
		return cmp.Or(s.writer.reason(), err)
	}
	if look := s.guard.Look(); look.Behind {
		return look.Doubt()
	}
	return nil
}

// Failed implements delivery.Store.
func (s *Store) Failed() <-chan struct{} { return s.writer.failed }

// Close implements delivery.Store.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.looker.stop()
		s.writer.close()
		s.closeErr = errors.Join(s.writer.reason(), s.revoked.close())
		if !s.writer.isLocked() {
			s.closeErr = errors.Join(s.closeErr, s.unmapHead(), s.db.Close())
		}
	})
	return s.closeErr
}
