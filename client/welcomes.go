package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// A Posting is a Welcome for [Client.Post].
type Posting struct {
	Welcome     []byte `json:"welcome"`                // as the MLS library made it
	RatchetTree []byte `json:"ratchet_tree,omitempty"` // if it is not in the Welcome
	Context     []byte `json:"context,omitempty"`      // for the joiners; the server does not read it

	// Hold keeps the Welcome from the joiners until [Client.Release]: hold it until the
	// Commit is accepted (RFC 9420 §14).
	Hold bool `json:"-"`
	// RequireAll refuses the Welcome unless each recipient matches.
	RequireAll bool `json:"-"`
	// DryRun only asks what would become of it.
	DryRun bool `json:"-"`
}

// A RecipientStatus says what became of a Welcome for one recipient.
type RecipientStatus string

// What becomes of a Welcome that is accepted for a recipient.
const (
	RecipientHeld         RecipientStatus = "held"
	RecipientPending      RecipientStatus = "pending"   // waits for the device
	RecipientDelivered    RecipientStatus = "delivered" // claimed, not settled
	RecipientAcknowledged RecipientStatus = "acknowledged"
	RecipientRejected     RecipientStatus = "rejected"
	RecipientLapsed       RecipientStatus = "lapsed" // claimed, and never settled
	RecipientCancelled    RecipientStatus = "cancelled"
	RecipientWithdrawn    RecipientStatus = "withdrawn" // the device has taken its KeyPackage back
	RecipientExpired      RecipientStatus = "expired"
	RecipientDamaged      RecipientStatus = "damaged" // on the server: add the device again
)

// Why a Welcome is not accepted for a recipient, besides RecipientExpired and
// RecipientWithdrawn.
const (
	RecipientUnknown     RecipientStatus = "unknown"
	RecipientConsumed    RecipientStatus = "consumed"
	RecipientTaken       RecipientStatus = "taken"
	RecipientWrongSuite  RecipientStatus = "wrong_suite"
	RecipientMailboxFull RecipientStatus = "mailbox_full"
	RecipientNotReserved RecipientStatus = "not_reserved"
)

// A Recipient is what became of a Welcome for one recipient.
type Recipient struct {
	Ref              string          `json:"ref"`
	User             string          `json:"user"`
	Device           string          `json:"device"`
	Status           RecipientStatus `json:"status"`
	MatchedByWelcome string          `json:"matched_by_welcome"` // which one was faster
	ReleasedAt       time.Time       `json:"released_at"`
	DeliveredAt      time.Time       `json:"delivered_at"`
	WithheldAt       time.Time       `json:"withheld_at"`
	EndedAt          time.Time       `json:"ended_at"`
	Reason           Reason          `json:"reason"` // with which it was rejected
	Detail           string          `json:"detail"`
}

// A Posted answers [Client.Post].
type Posted struct {
	ID         string      `json:"id"`
	Recipients []Recipient `json:"recipients"` // in the order of the Welcome's secrets
}

// Post posts a Welcome for those of its recipients whose KeyPackages are here. To post the
// same again changes nothing, and the answer is what became of it since. If no recipient
// matches, or one does not with RequireAll, the error has CodeNoMatchingKeyPackage, and its
// Recipients say why.
func (c *Client) Post(ctx context.Context, p Posting) (a Posted, err error) {
	query := url.Values{}
	if p.Hold {
		query.Set("hold", "1")
	}
	if p.RequireAll {
		query.Set("require", "all")
	}
	if p.DryRun {
		query.Set("dry_run", "1")
	}
	return a, c.do(ctx, call{method: http.MethodPost, path: path("welcomes"), query: query}.withJSON(p), &a)
}

// An Outcome is what became of a Welcome, for the caller who posted it.
type Outcome struct {
	ID         string      `json:"id"`
	PostedAt   time.Time   `json:"posted_at"`
	Held       bool        `json:"held"`    // for any recipient
	Require    string      `json:"require"` // any or all
	Cancelled  bool        `json:"cancelled"`
	Recipients []Recipient `json:"recipients"`
}

// Outcome returns what became of a Welcome of the caller.
func (c *Client) Outcome(ctx context.Context, id string) (o Outcome, err error) {
	return o, c.do(ctx, call{method: http.MethodGet, path: path("welcomes", id)}, &o)
}

// Release lets the joiners have a Welcome that was posted with Hold: its Commit is accepted.
func (c *Client) Release(ctx context.Context, id string) (o Outcome, err error) {
	return o, c.do(ctx, call{method: http.MethodPost, path: path("welcomes", id, "release")}, &o)
}

// Cancel ends a Welcome for those who were not given it: its Commit is refused. Their
// KeyPackages are reserved for the caller again.
func (c *Client) Cancel(ctx context.Context, id string) (o Outcome, err error) {
	return o, c.do(ctx, call{method: http.MethodDelete, path: path("welcomes", id)}, &o)
}

// Claiming says what [Client.Claim] claims. The zero value claims what is there now.
type Claiming struct {
	// Wait is how long the server waits if there is nothing. Proxies end requests that are
	// silent for too long, often after 30 or 60 seconds.
	Wait time.Duration
	Refs []string // only Welcomes for these KeyPackages; nil: for any, empty: for none
	Skip []string // ids of Welcomes that are in hand
	Max  int      // Welcomes in one answer; 0: the server's
}

// A Welcome is one that a device has claimed.
type Welcome struct {
	ID               string    `json:"id"`
	Ref              string    `json:"ref"`     // of the KeyPackage that it is for
	Welcome          []byte    `json:"welcome"` // with the entry of this device only
	PostedBy         string    `json:"posted_by"`
	PostedAt         time.Time `json:"posted_at"`
	RedeliveredUntil time.Time `json:"redelivered_until"` // unless it is settled before
	Context          []byte    `json:"context"`
	RatchetTree      []byte    `json:"ratchet_tree"`      // up to 64 KiB, else see [Client.RatchetTree]
	RatchetTreeSize  int       `json:"ratchet_tree_size"` // 0: none was posted
	Redelivered      bool      `json:"redelivered"`       // the device was given it before
}

// A Claimed answers [Client.Claim].
type Claimed struct {
	Welcomes []Welcome `json:"welcomes"`
	More     bool      `json:"more"`     // claim again: there are others
	Withheld int       `json:"withheld"` // were left out because of Claiming.Refs
	Stock    Stock     `json:"stock"`
}

// Claim gives a device the Welcomes that wait for it. Each is consumed together with its
// KeyPackage, and is given again until it is acknowledged or rejected. [Device] does all
// that has to be done with them.
func (c *Client) Claim(ctx context.Context, device DeviceID, what Claiming) (a Claimed, err error) {
	r := call{method: http.MethodPost, path: device.path("claim"), wait: what.Wait}
	if what.Wait > 0 {
		r.query = url.Values{"wait": {what.Wait.String()}}
	}
	body := struct {
		Refs *[]string `json:"refs,omitempty"`
		Skip []string  `json:"skip,omitempty"`
		Max  int       `json:"max,omitempty"`
	}{Skip: what.Skip, Max: what.Max}
	if what.Refs != nil {
		body.Refs = &what.Refs
	}
	return a, c.do(ctx, r.withJSON(body), &a)
}

// RatchetTree returns the ratchet tree that was posted with a Welcome that the device has
// claimed.
func (c *Client) RatchetTree(ctx context.Context, device DeviceID, id string) (tree []byte, err error) {
	return tree, c.do(ctx, call{method: http.MethodGet, path: device.path("welcomes", id, "ratchet-tree")}, &tree)
}

type settling struct {
	Ref    string `json:"ref,omitempty"`
	Reason Reason `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Acknowledge says that the device has joined with a Welcome and has saved the group. It is
// final. With an empty ref it is said of each KeyPackage for which the device was given it.
func (c *Client) Acknowledge(ctx context.Context, device DeviceID, id, ref string) error {
	return c.settle(ctx, device, id, "ack", settling{Ref: ref})
}

// A Reason says why a device cannot join with a Welcome.
type Reason string

// Why a device cannot join with a Welcome.
const (
	ReasonNoMatchingKeyPackage Reason = "no_matching_key_package" // it has no private key for it
	ReasonUndecryptable        Reason = "undecryptable"
	ReasonDeclined             Reason = "declined"
	ReasonUnsupported          Reason = "unsupported"
	ReasonOther                Reason = "other"
)

// Reject says that the device cannot join with a Welcome. Detail is up to 256 printable
// characters, which the adder sees.
func (c *Client) Reject(ctx context.Context, device DeviceID, id, ref string, reason Reason, detail string) error {
	return c.settle(ctx, device, id, "reject", settling{ref, reason, detail})
}

func (c *Client) settle(ctx context.Context, device DeviceID, id, how string, body settling) error {
	r := call{method: http.MethodPost, path: device.path("welcomes", id, how)}
	return c.do(ctx, r.withJSON(body), nil)
}
