package admission

import (
	"errors"
	"math"
	"time"
)

// Errors for clients that take too much at the same time.
var (
	ErrOverloaded      = errors.New("the server has as much to do as it takes on")
	ErrTooManyRequests = errors.New("too many requests at the same time")
	ErrTooManyWaits    = errors.New("too many claims wait")
)

// Errors for clients whose budget has nothing left. Each comes in a [RetryError].
var (
	ErrCallerBudget = errors.New("you have taken as many KeyPackages as you may for now")
	ErrTooManyNames = errors.New("you have asked for the KeyPackages of as many users as you may for now")
	ErrPairBudget   = errors.New("you have taken as many KeyPackages of this user as you may for now")
	ErrTargetBudget = errors.New("as many KeyPackages of this user were taken as may be for now")
	ErrListBudget   = errors.New("you have listed as many KeyPackages as you may for now")

	ErrTooManyChecks       = errors.New("what this caller has sent took too much time to read and to check")
	ErrTooManyPublications = errors.New("too many KeyPackages were published for this user")
	ErrTooMuchStored       = errors.New("this user has had as many bytes stored as may be for now")
)

// A RetryError is a refusal that ends by itself after some time.
type RetryError struct {
	Err  error
	Wait time.Duration
}

// Error implements error.
func (e *RetryError) Error() string { return e.Err.Error() }

// Unwrap returns the reason of the refusal.
func (e *RetryError) Unwrap() error { return e.Err }

// RetryAfter returns the value of the header of that name: whole seconds, at least one.
func (e *RetryError) RetryAfter() int {
	return max(1, int(math.Ceil(min(e.Wait, 24*time.Hour).Seconds())))
}
