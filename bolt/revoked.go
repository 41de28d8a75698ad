package bolt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"welcomed/delivery"
	"welcomed/safefile"
	"welcomed/store"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Beside the database lies a file that says what was revoked in it and removed from it. A line
// is on the disk before its event is in the database. When an older copy of the database is put
// in its place, the lines stay, and opening the copy carries them out. The lines are text:
//
//	welcomed-revoked 1 DATABASE BRANCH ORDER sum
//	token TIME 0 ID sum
//	device TIME ORDER USER/DEVICE sum
//	user TIME ORDER USER sum
//	back TIME ORDER sum
//	void LINE sum
//	until TIME sum
//
// DATABASE is the id of the database, and BRANCH its restore epoch. ORDER is a number of the
// sequence. In the first line it is the number with which the branch began. In other lines it
// is the number of the removal: the removal concerns devices with smaller numbers, and no
// device that was made again later. Numbers also say which of two branches came first, see
// branchGap. A line back says that the clock was put right: what has a number up to ORDER
// happened before TIME, whatever its own line says. A line void cancels a line whose event
// could not be committed. Only copies have a line until: they have what was revoked before that
// time. sum is the CRC-32C of what is in front of it, in hexadecimal.

// RevokedSuffix is behind the name of the database in the name of that file.
const RevokedSuffix = ".revoked"

const (
	revokedMagic = "welcomed-revoked 1 "
	revokedTime  = "2006-01-02T15:04:05.000Z07:00"
	// longestRevoked is how long a line can be.
	longestRevoked = 1024
	// mostRevoked is how many bytes are read of such a file.
	mostRevoked = 256 << 20
	// revokedKept is how long lines are kept once there are more than revokedMost.
	revokedKept = 400 * 24 * time.Hour
	revokedMost = 10_000
	// orderBits: what comes after an order has to fit in a number, too.
	orderBits = 47

	backLine  = "back"
	voidLine  = "void"
	untilLine = "until"
)

func lineOf(r store.Revocation) string {
	return fmt.Sprintf("%s %s %d %s", r.Kind, r.At.UTC().Format(revokedTime), r.Order, r.ID)
}

func parseRevocation(text string) (r store.Revocation, ok bool) {
	words := strings.Split(text, " ")
	if len(words) != 4 {
		return r, false
	}
	at, timeErr := time.Parse(revokedTime, words[1])
	order, orderErr := strconv.ParseUint(words[2], 10, orderBits)
	r = store.Revocation{Kind: words[0], At: at, Order: order, ID: words[3]}
	if timeErr != nil || orderErr != nil {
		return r, false
	}
	switch r.Kind {
	case store.TokenRevoked:
		return r, r.ID != ""
	case store.DeviceRemoved:
		return r, r.Device().Valid() == nil
	case store.UserRemoved:
		return r, delivery.ValidIdentifier(r.ID) == nil
	}
	return r, false
}

func backLineOf(b store.SetBack) string {
	return fmt.Sprintf("%s %s %d", backLine, b.At.UTC().Format(revokedTime), b.Given)
}

func parseBack(text string) (b store.SetBack, ok bool) {
	at, order, _ := strings.Cut(text, " ")
	var timeErr, orderErr error
	b.At, timeErr = time.Parse(revokedTime, at)
	b.Given, orderErr = strconv.ParseUint(order, 10, orderBits)
	return b, timeErr == nil && orderErr == nil
}

// appendRevoked appends a line.
func appendRevoked(b []byte, text string) []byte {
	return fmt.Appendf(b, "%s %08x\n", text, crc32.Checksum([]byte(text), castagnoli))
}

// whole returns the text of a line whose sum is right.
func whole(line []byte) (string, bool) {
	line, ended := bytes.CutSuffix(line, []byte("\n"))
	i := bytes.LastIndexByte(line, ' ')
	if !ended || i < 0 {
		return "", false
	}
	sum, err := strconv.ParseUint(string(line[i+1:]), 16, 32)
	return string(line[:i]), err == nil && len(line)-i == 9 && uint32(sum) == crc32.Checksum(line[:i], castagnoli)
}

// Revoked is what a file of revocations says.
type Revoked struct {
	Database string // its id
	Branch   string // its restore epoch
	Begins   uint64 // the number with which the latest branch began that is known
	// Until is when a copy was made: it does not know what was revoked after that.
	// It is zero for the file beside a database.
	Until   time.Time
	Damaged int // lines that cannot be read

	lines []store.Revocation // as they were written
	backs store.SetBacks
	size  int64 // up to here the file is whole
}

// revocations returns the lines, with times that were put right.
func (v *Revoked) revocations() []store.Revocation {
	right := slices.Clone(v.lines)
	for i, r := range right {
		if r.Order > 0 { // and not a token, whose number is not known
			right[i].At = v.backs.PutRight(r.At, r.Order)
		}
	}
	return right
}

// errNotRevoked: the file is something else.
var errNotRevoked = errors.New("it does not say what was revoked in a database")

// ReadRevoked reads such a file. It ignores what stands behind the last complete line, because
// writing that was not finished.
func ReadRevoked(r io.Reader) (*Revoked, error) {
	b := bufio.NewReaderSize(r, longestRevoked)
	line, err := b.ReadSlice('\n')
	head, ok := whole(line)
	v, known := parseHead(head)
	if !ok || !known {
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return nil, err
		}
		return nil, errNotRevoked
	}
	v.size = int64(len(line))
	void := map[string]bool{}
	damaged, at := 0, v.size
	for {
		line, err := b.ReadSlice('\n')
		at += int64(len(line))
		if text, ok := whole(line); ok {
			v.Damaged, damaged, v.size = v.Damaged+damaged, 0, at
			v.note(text, void)
		} else if len(line) > 0 {
			damaged++
		}
		switch {
		case err == io.EOF:
			v.lines = slices.DeleteFunc(v.lines, func(r store.Revocation) bool { return void[lineOf(r)] })
			return v, nil
		case err != nil && err != bufio.ErrBufferFull:
			return nil, err
		case at > mostRevoked:
			return nil, fmt.Errorf("it has more than %d MiB", mostRevoked>>20)
		}
	}
}

func parseHead(text string) (v *Revoked, ok bool) {
	text, ok = strings.CutPrefix(text, revokedMagic)
	words := strings.Split(text, " ")
	if !ok || len(words) != 3 {
		return nil, false
	}
	begins, err := strconv.ParseUint(words[2], 10, orderBits)
	return &Revoked{Database: words[0], Branch: words[1], Begins: begins}, err == nil
}

// note takes note of a line.
func (v *Revoked) note(text string, void map[string]bool) {
	kind, rest, _ := strings.Cut(text, " ")
	switch kind {
	case voidLine:
		void[rest] = true
		return
	case untilLine:
		if at, err := time.Parse(revokedTime, rest); err == nil {
			v.Until = at
			return
		}
	case backLine:
		if b, ok := parseBack(rest); ok {
			v.backs = v.backs.With(b)
			return
		}
	}
	if r, ok := parseRevocation(text); ok {
		v.lines = append(v.lines, r)
		return
	}
	v.Damaged++
}

// readRevoked reads the file at path; nil if there is none.
func readRevoked(path string) (*Revoked, error) {
	f, err := safefile.Reopen(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v, err := ReadRevoked(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// RevokedPath returns the path of the file of a database. If db is a link, the file lies beside
// the target.
func RevokedPath(db string) string {
	if file, err := filepath.EvalSymlinks(db); err == nil {
		db = file
	}
	return db + RevokedSuffix
}

// ReadRevokedOf reads the file beside a database; nil if there is none.
func ReadRevokedOf(db string) (*Revoked, error) { return readRevoked(RevokedPath(db)) }

// Merge adds the lines of other files of the same database, each line once.
func (v *Revoked) Merge(others ...*Revoked) {
	seen := make(map[store.Revocation]bool, len(v.lines))
	for _, r := range v.lines {
		seen[r] = true
	}
	for _, o := range others {
		v.Begins, v.backs = max(v.Begins, o.Begins), v.backs.With(o.backs...)
		for _, r := range o.lines {
			if !seen[r] {
				seen[r], v.lines = true, append(v.lines, r)
			}
		}
	}
}

// Without returns how many lines v has that other does not have. other may be nil.
func (v *Revoked) Without(other *Revoked) (n int) {
	seen := map[store.Revocation]bool{}
	if other != nil {
		for _, r := range other.lines {
			seen[r] = true
		}
	}
	for _, r := range v.lines {
		if !seen[r] {
			n++
		}
	}
	return n
}

// Copy returns the file for another place: what is known at that time.
func (v *Revoked) Copy(now time.Time) []byte {
	return appendRevoked(v.text(), untilLine+" "+now.UTC().Format(revokedTime))
}

// WriteBeside writes the file beside a database, and replaces the one that is there.
func (v *Revoked) WriteBeside(db string) error {
	return safefile.Write(RevokedPath(db), safefile.Private, func(part *os.File) error {
		_, err := part.Write(v.text())
		return err
	})
}

func (v *Revoked) text() []byte {
	b := make([]byte, 0, 64*(len(v.lines)+1))
	b = appendRevoked(b, fmt.Sprintf("%s%s %s %d", revokedMagic, v.Database, v.Branch, v.Begins))
	for _, r := range v.lines {
		b = appendRevoked(b, lineOf(r))
	}
	for _, back := range v.backs {
		b = appendRevoked(b, backLineOf(back))
	}
	return b
}

// shorten removes the least important lines if there are very many. Of the removals of one
// device or user it keeps the last one, because that also ends everything that the others have
// ended. Then it removes very old lines.
func (v *Revoked) shorten(now time.Time) {
	if len(v.lines) <= revokedMost {
		return
	}
	type subject struct{ kind, id string }
	last := make(map[subject]int, len(v.lines))
	for i, r := range v.lines { // of several branches in any order
		of := subject{r.Kind, r.ID}
		if before, known := last[of]; !known || v.lines[before].Order <= r.Order {
			last[of] = i
		}
	}
	n := 0
	for i, r := range v.lines {
		if last[subject{r.Kind, r.ID}] == i {
			v.lines[n] = r
			n++
		}
	}
	v.lines = v.lines[:n]
	if n > revokedMost {
		v.lines = slices.DeleteFunc(v.lines, func(r store.Revocation) bool { return now.Sub(r.At) > revokedKept })
	}
}

// A revokedFile is the file of a database that is open. Callers that write at the same time
// share a sync.
type revokedFile struct {
	path    string
	changed chan struct{} // holds a token after a change

	turn  sync.Mutex // whoever has it writes
	file  *os.File   // nil: closed
	size  int64
	lines int // about how many there are
	least int // so many there were when it was made anew

	mu   sync.Mutex
	next *revokedBatch // not yet being written

	fault   func() error // in tests: what a write meets
	written func()       // in tests: called when lines are on the disk
}

// A revokedBatch has the lines that are written with one sync.
type revokedBatch struct {
	text       []byte
	callers    int
	once       sync.Once
	start, end int64
	err        error
}

// errRevokedLost: the disk has failed, and nobody knows what is in the file.
var errRevokedLost = errors.New("what was revoked could not be written down")

// writingDown is an event that revokes something, with the lines that were written for it. It
// waits for the sync of the lines before it enters the writer, so that it keeps nobody else
// waiting. Only an event whose looks were in vain too often writes its lines in the writer.
type writingDown struct {
	store   *Store
	written []writtenLines
}

type writtenLines struct {
	batch *revokedBatch
	lines []store.Revocation
}

// write writes lines. When it returns nil they are on the disk.
func (w *writingDown) write(lines []store.Revocation) error {
	s := w.store
	if err := s.checkPlace(); err != nil { // and so is that of the other file
		return err
	}
	batch, err := s.revoked.write(lines)
	if err == nil {
		w.written = append(w.written, writtenLines{batch, lines})
		if s.revoked.written != nil {
			s.revoked.written()
		}
	}
	return s.revokedLost(err)
}

// end cancels the lines if the event was not carried out.
func (w *writingDown) end(err error) error {
	if err == nil || errors.Is(err, delivery.ErrNotFound) || errors.Is(err, delivery.ErrOutcomeUnknown) {
		return err // where there was nothing to revoke, the line says nothing
	}
	for _, of := range slices.Backward(w.written) {
		if w.store.revoked.takeBack(of.batch, of.lines) != nil {
			return w.store.revokedLost(errRevokedLost)
		}
	}
	return err
}

// revokedLost ends the store if nobody knows what is in the file of revocations. The next start
// reads the file.
func (s *Store) revokedLost(err error) error {
	if errors.Is(err, errRevokedLost) {
		return s.writer.fail(fmt.Errorf("%w: %w; start again", delivery.ErrOutcomeUnknown, err))
	}
	return err
}

// open takes over the file at path, which has the lines of v and perhaps an unfinished end.
// With anew it writes the file anew.
func (f *revokedFile) open(v *Revoked, anew bool) (err error) {
	f.lines, f.least = len(v.lines), len(v.lines)
	if anew {
		return f.replace(v)
	}
	if f.file, err = safefile.Reopen(f.path); err != nil {
		return err
	}
	f.size = v.size
	return errors.Join(f.file.Truncate(f.size), f.file.Sync())
}

// replace writes the file anew. The old file stays until the new one is on the disk.
func (f *revokedFile) replace(v *Revoked) error {
	text := v.text()
	err := safefile.Write(f.path, safefile.Private, func(part *os.File) error {
		_, err := part.Write(text)
		return err
	})
	if err != nil {
		return err
	}
	file, err := safefile.Reopen(f.path)
	if err != nil {
		return err
	}
	if f.file != nil {
		_ = f.file.Close()
	}
	f.file, f.size, f.lines, f.least = file, int64(len(text)), len(v.lines), len(v.lines)
	return nil
}

// write appends lines. When it returns nil they are on the disk. ErrFull means that none of
// them is in the file. After any other error nobody knows.
func (f *revokedFile) write(lines []store.Revocation) (*revokedBatch, error) {
	f.mu.Lock()
	if f.next == nil {
		f.next = &revokedBatch{}
	}
	b := f.next
	b.callers++
	for _, r := range lines {
		b.text = appendRevoked(b.text, lineOf(r))
	}
	f.mu.Unlock()

	f.turn.Lock()
	defer f.turn.Unlock()
	b.once.Do(func() {
		f.mu.Lock()
		f.next = nil
		f.mu.Unlock()
		b.start = f.size
		if b.err = f.append(b.text); b.err == nil {
			f.lines += bytes.Count(b.text, []byte("\n"))
		}
		b.end = f.size
	})
	return b, b.err
}

// append appends text, unless an append has failed before.
func (f *revokedFile) append(text []byte) error {
	if f.file == nil {
		return delivery.ErrClosed
	}
	if err := f.comeBack(); err != nil {
		return err
	}
	_, err := f.file.WriteAt(text, f.size)
	if err == nil && f.fault != nil {
		err = f.fault()
	}
	if err == nil {
		err = f.file.Sync()
	}
	if err == nil {
		f.size += int64(len(text))
		f.notify()
		return nil
	}
	if cut := errors.Join(f.file.Truncate(f.size), f.file.Sync()); cut != nil || !noRoom(err) {
		return fmt.Errorf("%w: %s: %w", errRevokedLost, f.path, err)
	}
	return fmt.Errorf("%w: %s", delivery.ErrDiskFull, f.path)
}

// putRight appends that the clock was put right. If there is no room, only the database knows,
// until it is opened again.
func (f *revokedFile) putRight(b store.SetBack) error {
	f.turn.Lock()
	defer f.turn.Unlock()
	err := f.append(appendRevoked(nil, backLineOf(b)))
	switch {
	case err == nil:
		f.lines++
	case errors.Is(err, delivery.ErrDiskFull), errors.Is(err, delivery.ErrClosed): // of a store that is only filled, or begins
		err = nil
	}
	return err
}

// comeBack writes the file anew if somebody has removed or replaced it.
func (f *revokedFile) comeBack() error {
	named, err := os.Lstat(f.path)
	if err == nil {
		var mine os.FileInfo
		if mine, err = f.file.Stat(); err == nil && os.SameFile(named, mine) {
			return nil
		}
	}
	v, err := f.read()
	if err == nil {
		err = f.replace(v)
	}
	if err != nil && noRoom(err) {
		return fmt.Errorf("%w: %s", delivery.ErrDiskFull, f.path)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errRevokedLost, f.path, err)
	}
	return nil
}

// read reads the file. Only the caller whose turn it is may call it.
func (f *revokedFile) read() (*Revoked, error) {
	if f.file == nil {
		return nil, delivery.ErrClosed
	}
	return ReadRevoked(io.NewSectionReader(f.file, 0, f.size))
}

// takeBack cancels lines that were written in b, because their event was not carried out.
func (f *revokedFile) takeBack(b *revokedBatch, lines []store.Revocation) error {
	f.turn.Lock()
	defer f.turn.Unlock()
	if f.file == nil {
		return delivery.ErrClosed
	}
	if b.callers == 1 && f.size == b.end {
		f.size = b.start
		f.notify()
		return errors.Join(f.file.Truncate(f.size), f.file.Sync())
	}
	var text []byte
	for _, r := range lines {
		text = appendRevoked(text, voidLine+" "+lineOf(r))
	}
	return f.append(text)
}

// notify says that the file has new lines to copy.
func (f *revokedFile) notify() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// shorten writes the file anew, with fewer lines, when it has become twice as long.
func (f *revokedFile) shorten(now time.Time) error {
	f.turn.Lock()
	defer f.turn.Unlock()
	if f.file == nil || f.lines <= max(revokedMost, 2*f.least) {
		return nil
	}
	v, err := f.read()
	if err != nil {
		return err
	}
	v.shorten(now)
	return f.replace(v)
}

func (f *revokedFile) close() error {
	f.turn.Lock()
	defer f.turn.Unlock()
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file = nil
	return file.Close()
}
