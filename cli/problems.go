package cli

import (
	"errors"
	"fmt"
)

// problems has everything that is wrong with something, each as a sentence.
type problems []error

// when notes a problem if there is one.
func (p *problems) when(wrong bool, format string, args ...any) {
	if wrong {
		*p = append(*p, fmt.Errorf(format, args...))
	}
}

// note adds an error, if it is not nil, or each of the problems that it joins.
func (p *problems) note(err error) {
	if several, ok := err.(problems); ok {
		*p = append(*p, several...)
	} else if err != nil {
		*p = append(*p, err)
	}
}

// all returns them as one error, or nil.
func (p problems) all() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

func (p problems) Error() string   { return errors.Join(p...).Error() }
func (p problems) Unwrap() []error { return p }
