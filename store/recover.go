package store

import (
	"errors"
	"fmt"
	"runtime/debug"

	"welcomed/delivery"
)

// ErrUnreadable: a page of the file could not be read. The file is mapped into memory, so an
// error of the disk comes as a fault.
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

// readable runs read, and reports whether read did not panic.
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

// IsDamage reports whether err means that a row is damaged. A crafted row may have any defect,
// so a panic counts too.
func IsDamage(err error) bool {
	_, odd := errors.AsType[*delivery.PanicError](err)
	return odd || errors.Is(err, ErrCorrupt)
}

// wrong returns an error that says which part of a file contradicts the rest.
func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}
