package notify

import (
	"errors"
	"math/rand/v2"
	"time"
)

// Attempts is how often a message is tried to be sent. The last attempt is about three days
// after the first one.
const Attempts = len(pauses) + 1

// pauses are between the attempts.
var pauses = [...]time.Duration{
	5 * time.Second,
	5 * time.Minute,
	30 * time.Minute,
	2 * time.Hour,
	5 * time.Hour,
	10 * time.Hour,
	14 * time.Hour,
	18 * time.Hour,
	20 * time.Hour,
}

const (
	// jitter is the part of a pause by which it is longer or shorter, so that the messages
	// which failed together are not all tried together.
	jitter = 0.2
	// longestWish is for how long a receiver may ask to be left alone.
	longestWish = 24 * time.Hour
)

// Pause returns how long to wait after an attempt that failed with err, the first one being
// 1, and false if it was the last one. A receiver that has said when to come back is not
// asked before.
func Pause(attempt int, err error) (time.Duration, bool) {
	return pause(attempt, err, rand.Float64())
}

// pause is Pause with a number from 0 to 1 that says how much jitter there is.
func pause(attempt int, err error, chance float64) (time.Duration, bool) {
	if attempt >= Attempts || errors.Is(err, ErrGone) {
		return 0, false
	}
	p := pauses[max(attempt, 1)-1]
	p += time.Duration(jitter * (2*chance - 1) * float64(p))
	if refused, ok := errors.AsType[*Refused](err); ok && refused.RetryAfter > p {
		wish := min(refused.RetryAfter, longestWish)
		// Only later, never earlier than asked for.
		p = wish + time.Duration(jitter*chance*float64(min(wish, time.Hour)))
	}
	return p, true
}
