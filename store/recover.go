package store

import (
	"errors"
	"fmt"
	"runtime/debug"

	"welcomed/delivery"
)

// ErrUnreadable: a page of the file could not be read. The file is mapped, so
// what would be an error of a read comes as a fault.
var ErrUnreadable = errors.New("the disk failed to read, or the file was cut short")

// Recovering calls fn and returns its panic as an error.
func Recovering(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover(); p {
		case nil:
		case ErrCorrupt:
			err = ErrCorrupt
		default:
			if _, fault := p.(interface{ Addr() uintptr }); fault {
				err = ErrUnreadable
				return
			}
			err = delivery.NewPanicError(p)
		}
	}()
	return fn()
}

// readable runs read and reports whether what it reads can be read.
func readable(read func()) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			if err, is := p.(error); !is || !errors.Is(err, ErrCorrupt) {
				panic(p)
			}
			ok = false
		}
	}()
	read()
	return true
}

// IsDamage reports whether err says that a row is not what it should be: crafted ones
// may have any defect, so that a panic is one too.
func IsDamage(err error) bool {
	_, odd := errors.AsType[*delivery.PanicError](err)
	return odd || errors.Is(err, ErrCorrupt)
}

// wrong is an error that says what of a file contradicts the rest.
func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}
