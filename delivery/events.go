package delivery

import (
	"time"

	"welcomed/mls"
)

// Events are kept for EventsKept: whoever was away for less has missed none.
const EventsKept = 25 * time.Hour

// EventsPerPage is how many events a page has at most.
const EventsPerPage = 500

// An EventKind says what an [Event] tells.
type EventKind string

const (
	// EventWelcome: a Welcome for this device can be claimed. It was posted without a hold,
	// or its hold was released.
	EventWelcome EventKind = "welcome"
	// EventStock: what this device has on its shelf, last resorts not counted, fell below
	// the low watermark or was used up. The device's own doing is told too.
	EventStock EventKind = "stock"
	// EventKeyPackage: a last resort of this device was handed out, for the first time. The
	// device should rotate it.
	EventKeyPackage EventKind = "key_package"
	// EventOutcome: what became of a Welcome that this user has posted changed for one
	// recipient. It is told of every change after the post but the release, which changes
	// all that were held. Of a device that was removed, Outcome tells at once, and the
	// event comes with the next sweep.
	EventOutcome EventKind = "outcome"
)

// EventKinds lists every kind.
var EventKinds = []EventKind{EventWelcome, EventStock, EventKeyPackage, EventOutcome}

// An Event tells of one change. It was written by the transaction that made the change:
// none is lost by a crash, and none tells of what did not happen. It may be behind the
// times when it is read: by then the Welcome may be claimed, or the shelf full.
type Event struct {
	// ID is a cursor: EventQuery.After goes on behind this event. Two readers are told the
	// same event with the same ID.
	ID   string
	Kind EventKind
	At   time.Time
	// User is whose event it is: of EventOutcome who has posted, else the user of Device.
	// It is empty where a service has posted, or a caller without authentication.
	User   UserID
	Device string // of User; empty for EventOutcome

	Welcome WelcomeID         // EventWelcome, EventOutcome
	Ref     mls.KeyPackageRef // of the KeyPackage; not of EventStock. Empty if the store cannot read it

	Recipient DeviceID // EventOutcome: whose KeyPackage Ref is
	Status    Status   // EventOutcome: the new one
	Reason    Reason   // EventOutcome, if Status is StatusRejected

	// Stock is that of EventStock, as it was then: Available and NotYetValid.
	Stock Stock
}

// An EventQuery says whose events are read, and from where.
type EventQuery struct {
	// User is whose events are read. If it is empty, those of all users are, and those of
	// what the caller has posted for no user.
	User UserID
	// Device narrows those of User to what concerns this device: its own events, and the
	// outcomes of what the user has posted. Of an earlier device with that id it has none.
	Device string
	// After is where to go on: the ID of an Event, or the Next of a page. Empty: from now on.
	After string
	Limit int // events; 0, or more than that: EventsPerPage
}

// An EventGap says why events are missing in front of a page. Who has kept in step by
// events alone has to look at everything again.
type EventGap string

const (
	// GapExpired: After is older than what is kept. The page has all that is kept.
	GapExpired EventGap = "expired"
	// GapRestored: the store was put back to a backup since After, or After is of another
	// store. The page has all that has happened since it was put back.
	GapRestored EventGap = "restored"
	// GapDamaged: events that belong to this page cannot be read.
	GapDamaged EventGap = "damaged"
)

// EventGaps lists every reason.
var EventGaps = []EventGap{GapExpired, GapRestored, GapDamaged}

// An EventPage is a page of events, in their order.
type EventPage struct {
	Events []Event
	// Next is the After of the next page. It goes on also where no event was for this
	// reader, so that a cursor that is kept does not grow old.
	Next string
	Gap  EventGap // empty: none is missing between After and the first event
	More bool     // another page can be read at once
	// Exists: the device of the query has published something and was not removed since.
	Exists bool
}
