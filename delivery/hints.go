package delivery

import (
	"context"
	"time"
)

// HintAbandoned is how long after it was due a hint is dropped that nobody has taken: whoever
// sends hints is not there any more.
const HintAbandoned = 3 * day

// A HintChannel is a way on which hints leave.
type HintChannel string

// HintWebhook: hints go to the operator's back end.
const HintWebhook HintChannel = "webhook"

// HintChannels lists every channel.
var HintChannels = []HintChannel{HintWebhook}

// HintKinds lists what hints are about.
var HintKinds = []EventKind{EventWelcome, EventStock, EventKeyPackage}

// A Hint waits until somebody was told that there is something for a device. It was written
// by the transaction of the event, and there is at most one of each channel, device and
// kind: how often something has happened is not told.
type Hint struct {
	Channel HintChannel
	Device  DeviceID
	Kind    EventKind // one of HintKinds
	// ID is the same in each attempt. A hint of what happens later has another.
	ID      string
	At      time.Time // of the event, the first one
	Attempt int       // how often it was taken
	Due     time.Time // when it can be taken; if it is, when it can be taken again
	Taken   bool
}

// TakenHints are what somebody has to send.
type TakenHints struct {
	Hints []Hint
	// Next is when the next one of the channel is due; zero if there is none.
	Next time.Time
	// Over is how many were dropped because what they are about is over: the device has
	// claimed, has published, or was removed.
	Over int
	// Full is how many were not kept since the last call to this process, because there
	// were as many as are allowed.
	Full int
}

// A SettledHint says what became of one that was taken.
type SettledHint struct {
	Hint
	// Again is after how long to try again; 0: never.
	Again time.Duration
}

// Hints are those of a [Store] that wait. They are no promise to a device, which is given
// its Welcomes when it asks: what keeps hints from being kept or sent keeps nothing else.
type Hints interface {
	// KeepHints has this process keep hints for a channel from now on, or no more of them.
	// It keeps none when it was opened. As many as the limits allow are kept.
	KeepHints(channel HintChannel, keep bool)

	// TakeHints gives the caller at most most hints that are due, those that are due for
	// longest first. Nobody else is given them before lease has passed, or they were
	// settled: whoever ends in between costs a hint an attempt.
	TakeHints(ctx context.Context, channel HintChannel, most int, lease time.Duration) (TakenHints, error)

	// SettleHint ends a hint that was taken, or has it wait. If the same has happened again
	// since it was taken, an end makes another of it, which is due at once. What is not
	// there any more is settled.
	SettleHint(ctx context.Context, hint SettledHint) error

	// WaitingHints returns hints of a channel, those that are due first.
	WaitingHints(ctx context.Context, channel HintChannel, most int) ([]Hint, error)

	// RetryHints has all hints of a channel that wait be due now, as if they had not been
	// tried, and returns how many.
	RetryHints(ctx context.Context, channel HintChannel) (int, error)

	// WatchHints returns a channel that receives after each commit of this process that has
	// made a hint due, and within a few seconds after one of another process. It may
	// receive without a reason. It is never closed; stop ends the watch.
	WatchHints(channel HintChannel) (wake <-chan struct{}, stop func())
}
