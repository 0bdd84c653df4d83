package actors

import (
	"fmt"
	"runtime/debug"
)

// PanicError is the error of a session or a service that panicked.
type PanicError struct {
	Value any
	Stack []byte
}

// NewPanicError makes the error of what was recovered just now.
func NewPanicError(v any) *PanicError { return &PanicError{Value: v, Stack: debug.Stack()} }

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }
