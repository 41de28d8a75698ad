package delivery

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"welcomed/mls"
)

// A WelcomeState is where one recipient's part of a Welcome is in its life:
//
//	post ─hold▶ held ─release▶ pending ──claim──▶ delivered ──ack──▶ acknowledged
//	             │               │                    ├──reject──▶ rejected
//	             └── cancel ─────┴▶ cancelled         └── redelivery over ▶ lapsed
//	 held, pending: KeyPackage withdrawn or device removed ▶ withdrawn;  kept long enough ▶ expired;
//	                the store's copy is found damaged ▶ damaged
//
// Acknowledged is final and wins: a rejected or lapsed recipient that
// acknowledges after all becomes acknowledged.
type WelcomeState uint8

const (
	Held WelcomeState = iota + 1
	Pending
	Delivered
	Acknowledged
	Rejected
	Lapsed
	Cancelled
	WelcomeWithdrawn
	WelcomeExpired
	Damaged // the store found its copy damaged before the device was given it
)

// WelcomeStates lists every state, in the order of a life.
var WelcomeStates = []WelcomeState{Held, Pending, Delivered, Acknowledged, Rejected, Lapsed, Cancelled, WelcomeWithdrawn, WelcomeExpired, Damaged}

var welcomeStateNames = [...]Status{"", StatusHeld, StatusPending, StatusDelivered, StatusAcknowledged,
	StatusRejected, StatusLapsed, StatusCancelled, StatusWithdrawn, StatusExpired, StatusDamaged}

// Status returns the state as a recipient's status.
func (s WelcomeState) Status() Status {
	if int(s) < len(welcomeStateNames) {
		return welcomeStateNames[s]
	}
	return "invalid"
}

// String returns the name used in the API and in metrics.
func (s WelcomeState) String() string { return string(s.Status()) }

// Ended reports whether the recipient can no longer be given the Welcome.
func (s WelcomeState) Ended() bool { return s > Delivered }

// A Status is what a poster is told of one recipient: the state of a Welcome
// that matched, or the mismatch for which it did not.
type Status string

const (
	StatusHeld         Status = "held"
	StatusPending      Status = "pending"
	StatusDelivered    Status = "delivered"
	StatusAcknowledged Status = "acknowledged"
	StatusRejected     Status = "rejected"
	StatusLapsed       Status = "lapsed"
	StatusCancelled    Status = "cancelled"
	StatusWithdrawn    Status = "withdrawn" // also a mismatch
	StatusExpired      Status = "expired"   // also a mismatch
	StatusDamaged      Status = "damaged"

	StatusUnknown     Status = "unknown"
	StatusConsumed    Status = "consumed"
	StatusTaken       Status = "taken"
	StatusWrongSuite  Status = "wrong_suite"
	StatusMailboxFull Status = "mailbox_full"
	StatusNotReserved Status = "not_reserved" // only with Limits.MatchReserved
)

// Mismatches lists every verdict for which a Welcome is not accepted for a
// recipient.
var Mismatches = []Status{StatusUnknown, StatusConsumed, StatusTaken, StatusExpired, StatusWithdrawn, StatusWrongSuite, StatusMailboxFull,
	StatusNotReserved}

// A WelcomeID is the SHA-256 of the poster and the Welcome, so that a client
// that lost the reply can compute it. 32 bytes.
type WelcomeID [sha256.Size]byte

// IDOf returns the id of a bare Welcome posted by caller.
func IDOf(caller Caller, bare []byte) WelcomeID {
	h := sha256.New()
	h.Write([]byte(caller.ID()))
	h.Write([]byte{0})
	h.Write(bare)
	return WelcomeID(h.Sum(nil))
}

// String returns the id as lower-case hex.
func (id WelcomeID) String() string { return hex.EncodeToString(id[:]) }

// ParseWelcomeID reads what String returns. Anything else names no Welcome:
// the error is [ErrNotFound].
func ParseWelcomeID(s string) (WelcomeID, error) {
	var id WelcomeID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) || hex.EncodeToString(b) != s {
		return id, fmt.Errorf("%w: %q is not the id of a Welcome", ErrNotFound, s)
	}
	return WelcomeID(b), nil
}

// A Reason says why a device could not join.
type Reason string

const (
	ReasonNoMatchingKeyPackage Reason = "no_matching_key_package"
	ReasonUndecryptable        Reason = "undecryptable"
	ReasonDeclined             Reason = "declined"
	ReasonUnsupported          Reason = "unsupported"
	ReasonOther                Reason = "other"
)

// Reasons lists every reason.
var Reasons = []Reason{ReasonNoMatchingKeyPackage, ReasonUndecryptable, ReasonDeclined, ReasonUnsupported, ReasonOther}

// A Recipient is what became of a Welcome for one KeyPackage.
type Recipient struct {
	Ref mls.KeyPackageRef
	// Device is set only where the Welcome matched, or where the poster had
	// reserved the KeyPackage.
	Device *DeviceID
	// Owner is whose KeyPackage did not match, as far as that is known: for who runs the
	// server, and not for the poster. Only Post says it.
	Owner  *DeviceID
	Status Status
	// Matched tells a state from a mismatch of the same name.
	Matched bool
	// By is the Welcome that took the KeyPackage, if the same caller posted it.
	By *WelcomeID

	ReleasedAt  time.Time // zero while held
	DeliveredAt time.Time
	// WithheldAt is when the device first said that it holds no key for it.
	WithheldAt time.Time
	EndedAt    time.Time
	Reason     Reason
	Detail     string // the device's words, untrusted
}

// A RecipientRecord is the state row of one (Welcome, ref). Its methods decide every
// transition; a store only keeps the result.
type RecipientRecord struct {
	State       WelcomeState // as last written
	PostedAt    time.Time
	ReleasedAt  time.Time
	DeliveredAt time.Time
	WithheldAt  time.Time
	EndedAt     time.Time
	Until       time.Time // when a held or pending one expires and a delivered one lapses
	Reason      Reason
	Detail      string
}

// NewRecipientRecord returns the row of a recipient whose Welcome is posted at now.
func (l Limits) NewRecipientRecord(hold bool, now time.Time) RecipientRecord {
	m := RecipientRecord{State: Held, PostedAt: now, Until: now.Add(l.WelcomeKept)}
	if !hold {
		m.Release(now)
	}
	return m
}

// StateAt returns the state that a sweep at now writes. Nothing else ends a
// recipient's part by time: until then it is given to its device and can be
// released, cancelled and settled.
func (m *RecipientRecord) StateAt(now time.Time) WelcomeState {
	if now.Before(m.Until) {
		return m.State
	}
	switch m.State {
	case Held, Pending:
		return WelcomeExpired
	case Delivered:
		return Lapsed
	}
	return m.State
}

// Release ends the hold.
func (m *RecipientRecord) Release(now time.Time) { m.State, m.ReleasedAt = Pending, now }

// Deliver records the claim that consumes the KeyPackage.
func (m *RecipientRecord) Deliver(l Limits, now time.Time) {
	m.State, m.DeliveredAt, m.Until = Delivered, now, now.Add(l.Redelivery)
}

// End moves the recipient to a state that has Ended.
func (m *RecipientRecord) End(s WelcomeState, now time.Time) { m.State, m.EndedAt = s, now }

// Settle applies an acknowledgement or a rejection at now: s is Acknowledged or
// Rejected. It reports whether anything changed, and returns [ErrNotDelivered]
// for a recipient that was never given the Welcome.
func (m *RecipientRecord) Settle(s WelcomeState, now time.Time) (changed bool, err error) {
	switch {
	case m.DeliveredAt.IsZero():
		return false, ErrNotDelivered
	case m.State == Delivered, s == Acknowledged && m.State != Acknowledged:
		m.End(s, now)
		return true, nil
	}
	return false, nil
}
