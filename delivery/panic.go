package delivery

import (
	"fmt"
	"runtime/debug"
)

// A PanicError is a panic that was recovered from. Its text is one line, for whoever
// is told of it; the stack is for the log.
type PanicError struct {
	Value any
	Stack string
}

// NewPanicError is for the function that recovers.
func NewPanicError(value any) *PanicError {
	return &PanicError{Value: value, Stack: string(debug.Stack())}
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %.200v", e.Value) }
