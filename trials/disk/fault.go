package disk

import "syscall"

// A Failure is how a disk fails.
type Failure uint8

const (
	Never       Failure = iota
	ErrorOnce           // EIO, of one operation
	ShortWrite          // half of a write, ENOSPC for the rest
	NoSpaceOnce         // ENOSPC, of one operation
	NoSpace             // ENOSPC, of every write and allocation from then on
	Full                // the same, of those that need new blocks
	Dies                // EIO, of every operation from then on, reads too
)

// Failures are those that there are.
var Failures = []Failure{ErrorOnce, ShortWrite, NoSpaceOnce, NoSpace, Full, Dies}

func (f Failure) String() string {
	return [...]string{"nothing", "an I/O error", "a short write", "no space once", "no space from then on", "a full disk from then on", "a dead disk"}[f]
}

// A Fault is a failure that begins with an operation, counted from 1.
type Fault struct {
	Failure Failure
	At      int
}

// applies reports whether an operation of this kind can fail so.
func (f Failure) applies(k Kind) bool {
	space := k == Write || k == Allocate || k == Create
	switch f {
	case ShortWrite:
		return k == Write
	case NoSpaceOnce:
		return space || k == Sync || k == Truncate
	case NoSpace, Full:
		return space
	}
	return f != Never
}

// strike returns the error that operation number n gets, and whether a write is
// to be cut in half. fresh says that it needs new blocks.
func (f Fault) strike(n int, k Kind, fresh bool) (errno syscall.Errno, short bool) {
	switch f.Failure {
	case ErrorOnce:
		if n == f.At {
			return syscall.EIO, false
		}
	case NoSpaceOnce:
		if n == f.At && f.Failure.applies(k) {
			return syscall.ENOSPC, false
		}
	case ShortWrite:
		if n == f.At+1 && k == Write {
			return syscall.ENOSPC, false
		}
		return 0, n == f.At && k == Write
	case NoSpace, Full:
		if n >= f.At && f.Failure.applies(k) && (f.Failure == NoSpace || fresh) {
			return syscall.ENOSPC, false
		}
	case Dies:
		if n >= f.At {
			return syscall.EIO, false
		}
	}
	return 0, false
}
